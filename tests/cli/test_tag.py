"""The command audiomamba-tag."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from audiomamba.cli.tag import main

from ..inference.conftest import LABELS


@pytest.fixture
def tag(run, capsys):
    """Run the command: arguments -> status and both outputs."""

    def call(*arguments):
        options = ["--model", run.exported, "--device", "cpu"]
        status = main([*map(str, [*arguments, *options])])
        return status, *capsys.readouterr()

    return call


def test_text_shows_labels_and_probabilities(tag, run):
    status, output, _ = tag(run.paths[0], "--top", 2)
    name, *lines = output.splitlines()
    best = run.scores[0].max()
    assert status == 0 and name == str(run.paths[0])
    assert lines[0] == f"  {best:5.1%}  {LABELS[run.scores[0].argmax()]}"
    assert len(lines) == 2


def test_a_clip_is_tagged_without_what_only_training_needs(run):
    """PyTorch's compiler and pandas take longer to load than a clip to tag."""
    program = f"""
import sys
from audiomamba.cli.tag import main
main([{str(run.paths[0])!r}, "--model", {str(run.exported)!r}])
print({{"torch._dynamo", "pandas", "matplotlib"}} & set(sys.modules))
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "set()"


def test_json_has_one_line_per_file(tag, run):
    status, output, _ = tag(*run.paths[:3], "--json", "--top", 3)
    results = [json.loads(line) for line in output.splitlines()]
    assert status == 0
    assert [r["file"] for r in results] == [str(p) for p in run.paths[:3]]
    for result, scores in zip(results, run.scores):
        found = {t["label"]: t["probability"] for t in result["tags"]}
        assert found == pytest.approx(
            dict(zip(LABELS, scores.tolist())), abs=1e-5
        )


def test_windows_have_start_and_stop_times(tag, run):
    options = ("--window", 0.2, "--hop", 0.1, "--json", "--top", 1)
    _, output, _ = tag(run.paths[5], *options)
    windows = json.loads(output)["windows"]
    assert [w["start"] for w in windows] == [0, 0.1, 0.2, 0.3, 0.35]
    assert windows[-1]["stop"] == 0.55
    _, output, _ = tag(run.paths[5], *options[:4])
    assert "0.3 - 0.5 s" in output.replace("  ", " ")


def test_windows_are_printed_as_they_come(tag, run, monkeypatch):
    from audiomamba.inference.tagger import AudioTagger, TaggedWindow

    def broken(self, *options):
        yield TaggedWindow(0.0, 0.2, [("noise", 0.75)], None)
        raise OSError("the end is missing")

    monkeypatch.setattr(AudioTagger, "tag_stream", broken)
    status, output, errors = tag(run.paths[0], "--window", 0.2)
    assert status == 1 and "the end is missing" in errors
    assert "0.0 - 0.2 s  noise 75.0%" in output


def test_bad_files_are_named_and_the_others_tagged(tag, run, tmp_path):
    text = tmp_path / "text.wav"
    text.write_text("no sound")
    missing = tmp_path / "missing.wav"
    files = (text, run.paths[0], missing, run.paths[1])
    status, output, errors = tag(*files, "--top", 1)
    assert status == 1
    assert str(run.paths[0]) in output and str(run.paths[1]) in output
    assert f"{text}: is not an audio" in errors
    assert f"{missing}: is missing" in errors
    assert "2 of 4 files failed" in errors


def test_pictures_are_drawn(tag, run, tmp_path):
    matplotlib = pytest.importorskip("matplotlib.image")
    status, *_ = tag(run.paths[5], "--plot", tmp_path / "new" / "out.png")
    picture = matplotlib.imread(tmp_path / "new" / "out.png")
    assert status == 0 and picture.shape[0] > 400 and picture.shape[1] > 1000
    # Neither blank nor of one colour
    assert picture[..., :3].std() > 0.1
    tag(*run.paths[:2], "--plot", tmp_path / "folder")
    names = [path.name for path in sorted((tmp_path / "folder").iterdir())]
    assert names == ["00.wav.png", "01.wav.png"]


def test_one_picture_for_several_files_is_refused(tag, run):
    with pytest.raises(SystemExit, match="2"):
        tag(*run.paths[:2], "--plot", "out.png")


def test_a_recording_is_never_overwritten_by_its_picture(tag, run, tmp_path):
    copy = shutil.copy(run.paths[0], tmp_path / "a.wav")
    with pytest.raises(SystemExit, match="2"):
        tag(copy, "--plot", copy)
    assert copy.read_bytes() == run.paths[0].read_bytes()


def test_files_of_one_name_get_a_picture_each(tag, run, tmp_path):
    pytest.importorskip("matplotlib")
    for folder, source in zip("ab", run.paths):
        (tmp_path / folder).mkdir()
        shutil.copy(source, tmp_path / folder / "x.wav")
    files = [tmp_path / "a" / "x.wav", tmp_path / "b" / "x.wav"]
    assert tag(*files, "--plot", tmp_path / "out")[0] == 0
    for folder in "ab":
        assert (tmp_path / "out" / folder / "x.wav.png").is_file()
    # the same file twice is one file
    tag(files[0], files[0], "--plot", tmp_path / "one")
    assert [p.name for p in (tmp_path / "one").iterdir()] == ["x.wav.png"]


def test_pictures_of_files_with_signs_in_their_names(tag, run, tmp_path):
    pytest.importorskip("matplotlib")
    path = shutil.copy(run.paths[0], tmp_path / "$^{$.wav")
    status, output, _ = tag(path, "--plot", tmp_path / "out.png")
    assert status == 0 and str(path) in output
    assert (tmp_path / "out.png").is_file()


def test_results_are_printed_before_pictures(tag, run, tmp_path):
    pytest.importorskip("matplotlib")
    (tmp_path / "file").write_text("no folder")
    target = tmp_path / "file" / "out.png"
    status, output, errors = tag(run.paths[0], "--plot", target)
    assert status == 1 and str(run.paths[0]) in output and "%" in output
    assert "1 of 1 files failed" in errors


def test_names_that_are_not_utf8_are_printed(tag, run, tmp_path):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.wav")
    shutil.copy(run.paths[0], path)
    status, output, _ = tag(path, "--json")
    assert status == 0
    assert json.loads(output)["file"] == path


def test_missing_matplotlib_is_reported_before_tagging_starts(
    tag, run, monkeypatch, tmp_path
):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SystemExit, match=r"audiomamba\[plots\]"):
        tag(run.paths[0], "--plot", tmp_path / "out.png")


def test_audiomamba_lite_says_which_models_it_takes(tag, run, monkeypatch):
    """It has no package `inference`, whatever the options."""
    monkeypatch.setitem(sys.modules, "audiomamba.inference.plot", None)
    monkeypatch.setattr("audiomamba.cli.model.find_spec", lambda name: None)
    with pytest.raises(SystemExit, match="audiomamba-lite takes a model in"):
        tag(run.paths[0], "--plot", "out.png")


def test_a_run_is_a_model(run, capsys):
    options = ["--top", "3", "--json", "--device", "cpu"]
    for model in (run.folder, run.exported):
        main([str(run.paths[0]), "--model", str(model), *options])
    first, second = capsys.readouterr().out.splitlines()
    assert first == second


@pytest.mark.parametrize(
    "name, words",
    [
        ("best.pth", "is a file.*convert_checkpoint.py"),
        ("none.pth", "There is no checkpoint"),
        ("none", "There is no checkpoint"),
    ],
)
def test_paths_are_not_asked_for_on_the_hub(
    run, tmp_path, monkeypatch, name, words
):
    def refuse(*arguments, **options):
        raise AssertionError("the hub was asked")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", refuse)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "best.pth").touch()
    with pytest.raises(SystemExit, match=words):
        main([str(run.paths[0]), "--model", name])


def test_a_run_that_is_not_finished_is_explained(run, tmp_path):
    folder = shutil.copytree(run.folder, tmp_path / "run")
    (folder / "results.json").unlink()
    with pytest.raises(SystemExit, match="Let train.py finish"):
        main([str(run.paths[0]), "--model", str(folder)])


def test_wrong_windows_and_models_are_explained(tag, run, tmp_path):
    with pytest.raises(SystemExit, match="hears 0.615"):
        tag(run.paths[0], "--window", 10)
    with pytest.raises(SystemExit, match="not an exported model"):
        main([str(run.paths[0]), "--model", str(tmp_path)])
    with pytest.raises(SystemExit, match="2"):
        main([str(run.paths[0]), "--model", str(tmp_path), "--top", "0"])


def test_decisions_are_yes_or_no(tag, run, monkeypatch):
    from audiomamba.inference.tagger import AudioTagger, Decision

    with pytest.raises(SystemExit, match="no thresholds"):
        tag(run.paths[0], "--decide")
    found = [Decision(LABELS[2], 0.4, True), Decision(LABELS[0], 0.6, False)]
    monkeypatch.setattr(AudioTagger, "decide_batch", lambda *x: [found])
    _, output, _ = tag(run.paths[0], "--decide")
    wanted = ["  yes   40.0%  noise", "  no    60.0%  low tone"]
    assert output.splitlines()[1:] == wanted
    _, output, _ = tag(run.paths[0], "--decide", "--json", "--top", "1")
    (row,) = json.loads(output)["tags"]
    assert row == {"label": "noise", "probability": 0.4, "yes": True}
    with pytest.raises(SystemExit, match="2"):
        tag(run.paths[0], "--decide", "--window", "1")
