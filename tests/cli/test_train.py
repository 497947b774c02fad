"""From a folder of sounds to a tagger: the whole way, with a tiny model."""

import json
import shutil
import sys

import numpy as np
import pytest
import soundfile

from audiomamba.cli.tag import main as tag
from audiomamba.cli.train import main, parse_arguments, prepare
from audiomamba.training.runs.hparams import read_settings

TINY = ["--embed_dim=16", "--depth=1", "--number_of_epochs=1"]
TINY += ["--num_workers=0", "--device=cpu", "--noprogressbar"]


@pytest.fixture(scope="module", autouse=True)
def hooks():
    """A run sets the hook for exceptions, and copies the script."""
    before, argv = sys.excepthook, sys.argv
    sys.argv = [__file__]
    yield
    sys.excepthook, sys.argv = before, argv


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    """Write twenty clips of two tones, each of its own pitch."""
    folder = tmp_path_factory.mktemp("sounds")
    for index in range(20):
        label = ("low", "high # 2")[index % 2]
        pitch = (300, 2500)[index % 2] + 10 * index
        wave = np.sin(np.arange(6400) * 2 * np.pi * pitch / 16000)
        path = folder / label / f"{index}.wav"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, 0.3 * wave, 16000)
    return folder


@pytest.fixture(scope="module")
def trained(sounds, tmp_path_factory):
    """The output folder of a run from scratch."""
    out = tmp_path_factory.mktemp("out") / "tones"
    main([str(sounds), "--out", str(out), *TINY])
    return out


def test_a_folder_becomes_a_model_that_tags(trained, sounds, capsys):
    record = json.loads((trained / "results.json").read_text())
    assert record["clips"] == {"train": 13, "valid": 3, "test": 4}
    assert record["dataset"] == sounds.name and record["n_classes"] == 2
    assert (trained / "confusion.png").exists()
    model = ["--model", str(trained), "--device", "cpu"]
    assert tag([str(sounds / "low" / "0.wav"), *model]) == 0
    assert "high # 2" in capsys.readouterr().out


def test_the_yaml_says_what_was_decided_and_why(trained):
    text = (trained / "train.yaml").read_text()
    assert "max_duration: 0.4  # s; the longest clip" in text
    settings = read_settings(str(trained / "train.yaml"))
    assert settings["patch_size"] == [128, 4] and settings["batch_size"] == 4


def test_the_yaml_is_taken_as_well(trained, tmp_path, capsys):
    """By the command here; recipes/Custom/train.py calls the same functions."""
    options = ["--out", str(tmp_path / "again"), *TINY]
    main([str(trained / "train.yaml"), *options])
    first, again = (
        json.loads((folder / "results.json").read_text())["metrics"]
        for folder in (trained, tmp_path / "again")
    )
    assert first == again
    printed = capsys.readouterr().out
    assert f"audiomamba-tag FILE --model {tmp_path / 'again'}" in printed


def test_the_same_command_resumes(trained, sounds):
    before = (trained / "curve.csv").read_text()
    arguments = [str(sounds), "--out", str(trained), *TINY]
    main([*arguments, "--number_of_epochs=2"])
    after = (trained / "curve.csv").read_text()
    assert len(after.splitlines()) == 3 and after.splitlines()[1] in before


def test_fine_tuning_takes_the_model_as_it_is(trained, sounds, tmp_path):
    out = tmp_path / "tuned"
    main(
        [str(sounds), "--out", str(out), "--init_from", str(trained)]
        + ["--number_of_epochs=1", "--num_workers=0", "--device=cpu"]
    )
    settings = read_settings(str(out / "train.yaml"))
    (encoder,) = settings["embedding_model"].values()
    assert (encoder["embed_dim"], encoder["depth"]) == (16, 1)
    assert settings["init_from"] == str(trained) and "depth" not in settings
    log = (out / "log.txt").read_text()
    assert "tensors loaded" in log and "classifier loaded" in log


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["nowhere"], "no folder and no file nowhere"),
        (["{sounds}", "--group", "x"], "parentheses"),
        (["{sounds}", "--init_from", "no/such.pth"], "no checkpoint"),
    ],
)
def test_mistakes_end_in_one_line(
    sounds, tmp_path, monkeypatch, arguments, message
):
    monkeypatch.chdir(tmp_path)
    arguments = [text.format(sounds=sounds) for text in arguments]
    with pytest.raises(SystemExit, match=f"audiomamba-train: .*{message}"):
        main(arguments)


def test_another_collection_does_not_replace_lists_and_settings(
    trained, tmp_path
):
    before = {path: path.read_bytes() for path in trained.rglob("*.csv")}
    others = tmp_path / "others"
    for name in ("a/1.wav", "a/2.wav", "b/3.wav", "b/4.wav"):
        (others / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(others / name, np.full(1600, 0.1), 16000)
    with pytest.raises(SystemExit, match="train.yaml is of .*--out"):
        main([str(others), "--out", str(trained), *TINY])
    assert before == {path: path.read_bytes() for path in before}


def test_a_folder_with_a_dot_keeps_its_name(sounds, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    copy = tmp_path / "birds-1.1"
    shutil.copytree(sounds, copy)
    prepare(parse_arguments([str(copy)])[0])
    settings = read_settings(tmp_path / "results/birds-1.1/train.yaml")
    assert settings["dataset_name"] == "birds-1.1"


def test_the_commands_options_reach_a_yaml(trained, tmp_path, capsys):
    options = ["--init_from", "no/such.pth", "--out", str(tmp_path / "new")]
    with pytest.raises(SystemExit):
        main([str(trained / "train.yaml"), *options, *TINY])
    assert "no/such.pth" in "".join(capsys.readouterr())
    assert (tmp_path / "new").is_dir()


def test_lists_of_a_yaml_cannot_be_grouped_again(trained, capsys):
    with pytest.raises(SystemExit):
        main([str(trained / "train.yaml"), "--group", "(x)"])
    assert "a YAML has its lists" in capsys.readouterr().err
