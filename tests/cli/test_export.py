"""The command audiomamba-export."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from audiomamba import inference
from audiomamba.cli.export import main
from audiomamba.inference.programs import website


@pytest.mark.parametrize("run", [True], indirect=True)
def test_a_model_is_one_file(onnx_model):
    assert [path.name for path in onnx_model.parent.iterdir()] == ["model.onnx"]


def test_a_model_that_is_not_there_is_explained(tmp_path):
    with pytest.raises(SystemExit, match="not an exported model"):
        main([str(tmp_path), str(tmp_path / "model.onnx")])


@pytest.mark.parametrize("run", [True], indirect=True)
def test_eight_bits_are_compared_with_float32(
    run, clips, onnx_model, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(
        inference,
        "export_onnx",
        lambda tagger, path: shutil.copy(onnx_model, path),
    )
    target = tmp_path / "new" / "small.onnx"
    listed = ["--list", str(clips / "train.csv"), "--data_folder", str(clips)]
    assert main([str(run.exported), str(target), "--int8", *listed]) == 0
    printed = capsys.readouterr().out
    truth = np.arange(12) % 3
    wanted = 100 * np.mean(run.scores.numpy().argmax(1) == truth)
    assert f"12 clips: accuracy {wanted:.2f} % in float32" in printed
    # A probability, so that something did change, but not much
    largest = float(re.search(r"differ by up to (0\.\d+)", printed)[1])
    assert 0 < largest < 0.1
    assert target.stat().st_size < onnx_model.stat().st_size


@pytest.mark.parametrize(
    "options, words",
    [
        (["--list", "a.csv", "--data_folder", "."], "--list is for --int8"),
        (["--int8", "--list", "a.csv"], "belong together"),
        (["--int8", "--web"], "no --int8"),
        (
            ["--int8", "--list", "none.csv", "--data_folder", "."],
            "--list none.csv is no file",
        ),
    ],
)
def test_options_that_say_nothing_are_refused(options, words, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["model", "model.onnx", *options])
    assert words in capsys.readouterr().err


def test_a_target_is_named_as_audiomamba_tag_asks(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["model", "out.model"])
    assert "out.model: its name ends in .onnx" in capsys.readouterr().err


@pytest.mark.parametrize("run", [True], indirect=True)
def test_a_page_is_written_for_a_static_host(
    run, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(website, "fetch_runtime", lambda folder: None)
    monkeypatch.setattr(
        website, "export_onnx", lambda tagger, path: path.write_text("model")
    )
    assert main([str(run.exported), str(tmp_path / "site"), "--web"]) == 0
    page = Path(capsys.readouterr().out.strip())
    assert page.is_file() and page.parent == tmp_path / "site"
    with pytest.raises(SystemExit, match="choose another folder"):
        main([str(run.exported), str(tmp_path / "site"), "--web"])
