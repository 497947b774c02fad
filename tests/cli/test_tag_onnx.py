"""audiomamba-tag with a model in ONNX: `audiomamba.lite`, without PyTorch."""

import subprocess
import sys

import numpy as np
import pytest

from audiomamba.cli.tag import main
from audiomamba.inference import AudioTagger

pytest.importorskip("onnxruntime")
LiteTagger = pytest.importorskip("audiomamba.lite").LiteTagger

pytestmark = pytest.mark.parametrize("run", [True], indirect=True)


@pytest.fixture
def taggers(run, onnx_model):
    whole = AudioTagger.from_hparams(run.exported, run_opts={"device": "cpu"})
    return whole, LiteTagger(onnx_model, threads=1)


def test_files_of_any_rate_have_the_taggers_results(taggers, run):
    whole, lite = taggers
    assert lite.labels == whole.labels
    assert lite.max_duration == whole.max_duration
    wanted = whole.score_batch(run.paths)
    for path, row in zip(run.paths, wanted):
        found = dict(lite.tag_file(path, top_k=None))
        scores = [found[label] for label in lite.labels]
        np.testing.assert_allclose(scores, row, atol=1e-4)
        emb = whole.embed_file(path)
        np.testing.assert_allclose(lite.embed_file(path), emb, atol=1e-3)
    assert lite.tag_file(path, 1)[0][0] == whole.tag_file(path, 1)[0][0]


@pytest.mark.parametrize("window, hop", [(0.2, 0.1), (0.5, None), (None, None)])
def test_windows_are_those_of_the_tagger(taggers, run, window, hop):
    # Clips of 0.25 and of 0.91 s
    for path in (run.paths[0], run.paths[-1]):
        wanted, found = (
            list(tagger.tag_stream(path, window, hop)) for tagger in taggers
        )
        assert [w[:2] for w in found] == [w[:2] for w in wanted]
        for a, b in zip(found, wanted):
            np.testing.assert_allclose(
                a.probabilities, b.probabilities, atol=1e-4
            )


def test_a_window_under_one_sample_is_refused(taggers, run):
    for tagger in taggers:
        with pytest.raises(ValueError, match="5e-06 s, less than a sample"):
            next(tagger.tag_stream(run.paths[0], 1e-5))


def test_clips_of_a_batch_have_the_results_they_have_alone(taggers, run):
    _, lite = taggers
    wavs = [lite.read(path) for path in run.paths[:4]]
    for row, wav in zip(lite.run(wavs)[0], wavs):
        np.testing.assert_allclose(lite.run([wav])[0][0], row, atol=1e-5)


def test_the_command_prints_the_same_without_pytorch(run, onnx_model, capsys):
    options = [str(run.paths[1]), "--window", "0.5", "--json", "--top", "1"]
    main([*options, "--model", str(run.exported), "--device", "cpu"])
    wanted = capsys.readouterr().out
    code = (
        "import sys\n"
        "for name in ('torch', 'torchaudio', 'speechbrain', 'pandas'):\n"
        "    sys.modules[name] = None\n"  # importing it is an error
        "from audiomamba.cli.tag import main\n"
        f"sys.exit(main({[*options, '--model', str(onnx_model)]}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    # Up to the last digits of the probability
    assert done.stdout[:-12] == wanted[:-12]


def test_what_onnx_cannot_do_is_refused(run, onnx_model, capsys):
    options = [str(run.paths[0]), "--model", str(onnx_model)]
    for more in (["--plot", "a.png"], ["--events", "a.csv"]):
        with pytest.raises(SystemExit, match="2"):
            main([*options, *more])
        assert f"{more[0]}: not with a model in ONNX" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main(["-", *options[1:]])
    with pytest.raises(SystemExit, match="0.615"):
        main([*options, "--window", "10"])


@pytest.mark.parametrize(
    "content, words", [("no model", "export it again"), (None, "There is no")]
)
def test_files_that_are_no_models_are_explained(run, tmp_path, content, words):
    path = tmp_path / "bad.onnx"
    if content:
        path.write_text(content)
    with pytest.raises(SystemExit, match=words):
        main([str(run.paths[0]), "--model", str(path)])


def test_no_bit_of_the_file_changes_unseen(onnx_model, run, tmp_path, capsys):
    whole = onnx_model.read_bytes()
    damaged = tmp_path / "model.onnx"
    labels = whole.rfind(b"low tone")
    for place in (100, len(whole) // 3, len(whole) // 2, labels):
        content = bytearray(whole)
        content[place] ^= 1
        damaged.write_bytes(content)
        with pytest.raises(SystemExit) as end:
            main([str(run.paths[1]), "--model", str(damaged)])
        assert f"{damaged} is" in end.value.code
        assert "export it again" in end.value.code
    damaged.write_bytes(whole[:-10])
    with pytest.raises(SystemExit):
        main([str(run.paths[1]), "--model", str(damaged)])


def test_files_of_older_versions_have_their_labels_counted(
    onnx_model, tmp_path
):
    onnx = pytest.importorskip("onnx")
    model = onnx.load(onnx_model)
    kept = [e for e in model.metadata_props if e.key != "sha256"]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    assert len(LiteTagger(path).labels) == 3
    (entry,) = [e for e in model.metadata_props if e.key == "labels"]
    entry.value = '["low tone", "noise"]'
    onnx.save(model, path)
    with pytest.raises(ValueError, match="2 labels for 3 outputs"):
        LiteTagger(path)
