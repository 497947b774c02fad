"""Settings chosen from durations, and the YAML that gets them."""

import pandas as pd
import pytest

from audiomamba.dataio.problems import PreparationError
from audiomamba.training.runs.choices import Choice, choose_settings, write_yaml
from audiomamba.training.runs.hparams import read_settings


def choose(durations, label="a"):
    """Choices for clips of these durations, without their reasons."""
    clips = pd.DataFrame({"duration": durations, "label": label})
    return {k: c.value for k, c in choose_settings({"train": clips}).items()}


@pytest.mark.parametrize(
    "seconds, patch, kept",
    [
        (0.2, "[128, 2]", "0.2"),
        (1.004, "[128, 4]", "1.01"),
        (5.0, "[32, 16]", "5.0"),
        (10.24, "[32, 16]", "10.24"),
        (25.0, "[32, 32]", "25.0"),
    ],
)
def test_clips_of_one_duration_are_heard_whole(seconds, patch, kept):
    chosen = choose([seconds] * 100)
    assert chosen["patch_size"] == chosen["stride"] == patch
    assert chosen["max_duration"] == kept and chosen["crop"] == "null"
    width = int(patch.split()[1].rstrip("]"))
    frames = int(chosen["n_frames"])
    assert frames % width == 0
    assert abs(frames - 100 * seconds) <= max(width, 1.1)


def test_a_few_long_clips_are_cropped():
    chosen = choose([4.0] * 98 + [300.0, 400.0])
    assert chosen["max_duration"] == "10.24" and "RandomCrop" in chosen["crop"]
    assert choose([60.0] * 9)["max_duration"] == "30.72"


def test_small_lists_are_gone_through_more_often():
    assert choose([1.0] * 20)["batch_size"] == "4"
    assert choose([1.0] * 20)["number_of_epochs"] == "50"
    assert choose([1.0] * 5000)["number_of_epochs"] == "10"


def test_one_separator_makes_clips_of_several_labels():
    assert choose([1.0] * 3, ["a", "a;b", "b"])["multi_label"] == "True"
    assert choose([1.0] * 3)["multi_label"] == "False"


def test_a_yaml_gets_values_of_any_form(tmp_path):
    source = tmp_path / "a.yaml"
    source.write_text(
        "# Of a recipe\n# for all\n\n# Data\nfolder: data\n"
        "crop: null\nmodel: !new:torch.nn.Linear\n    in_features: 1\n"
        "    out_features: 2\nold: 3\n"
    )
    choices = {
        "folder": Choice('"a \\\\ \\" #b"', "as given"),
        "model": Choice("!new:torch.nn.ReLU\n    inplace: true", "smaller"),
        "old": Choice(None),
    }
    write_yaml(source, choices, tmp_path / "b.yaml", "of a command")
    text = (tmp_path / "b.yaml").read_text()
    assert text.startswith("# of a command\n\n# Data\n")
    assert "model: !new:torch.nn.ReLU  # smaller\n    inplace: true\n" in text
    assert read_settings(tmp_path / "b.yaml") == {
        "folder": 'a \\ " #b',
        "crop": None,
        "model": {"!new:torch.nn.ReLU": {"inplace": True}},
    }
    with pytest.raises(PreparationError, match="no key lr"):
        write_yaml(source, {"lr": Choice("1")}, tmp_path / "c.yaml", "")
