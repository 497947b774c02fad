"""Rules for the YAMLs of every recipe."""

import functools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
YAMLS = sorted(path for path in ROOT.glob("recipes/*/hparams/*.yaml"))
# The sections of a training YAML, in this order.
SECTIONS = [
    "Seed",
    "Folders",
    "Data",
    "Training",
    "Features",
    "Loaders",
    "Objects",
    "Modules",
    "Loss and optimiser",
    "Logging",
    "Checkpointer",
]
# Keys that users and other tools rely on.
PUBLIC = [
    "data_folder",
    "output_folder",
    "seed",
    "number_of_epochs",
    "batch_size",
    "lr",
    "num_workers",
    "skip_prep",
]
# Keys of the model, which people change first.
MODEL = {
    "aum": ["embed_dim", "depth", "patch_size", "stride"],
    "dass": ["widths", "depths"],
}
MODEL["ast"] = MODEL["aum"]
MODEL["ecapa"] = ["channels"]
TRAINING = [path for path in YAMLS if "number_of_epochs:" in path.read_text()]
# SpeechBrain's Brain reads these by name.
SPEECHBRAIN = {
    "precision",
    "max_grad_norm",
    "nonfinite_patience",
    "grad_accumulation_factor",
    "ckpt_interval_minutes",
    "__set_seed",
}


def keys(path):
    """Return the top-level keys of a YAML in order."""
    return re.findall(r"^(\w+):", path.read_text(), re.MULTILINE)


@functools.cache
def words_of_code(recipe):
    """Return what the code of a recipe and of the package may read by name."""
    readers = [*recipe.glob("*.py"), *ROOT.glob("audiomamba/**/*.py")]
    code = "\n".join(reader.read_text() for reader in readers)
    quoted = re.findall(r"""(?<=["'])\w+(?=["'])""", code)
    return {*quoted, *re.findall(r"hparams\.(\w+)", code)}


def test_there_are_recipes():
    assert len(TRAINING) >= 12


@pytest.mark.parametrize("path", TRAINING, ids=lambda p: "/".join(p.parts[-3:]))
def test_sections_are_in_one_order(path):
    sections = re.findall(r"^# ([A-Z][\w ]+)$", path.read_text(), re.MULTILINE)
    assert [s for s in sections if s in SECTIONS] == SECTIONS


@pytest.mark.parametrize("path", TRAINING, ids=lambda p: "/".join(p.parts[-3:]))
def test_a_yaml_is_complete_and_short(path):
    (model,) = [MODEL[name] for name in MODEL if name in path.stem.split("_")]
    assert not set(PUBLIC + model) - set(keys(path))
    for key in model:  # each is used, not only defined
        assert f"{key}: !ref <{key}>" in path.read_text(), key
    assert len(set(keys(path))) == len(keys(path))
    assert len(path.read_text().splitlines()) <= 145


@pytest.mark.parametrize("path", YAMLS, ids=lambda p: "/".join(p.parts[-3:]))
def test_every_key_is_used(path):
    text = path.read_text()
    read = words_of_code(path.parents[1])
    for key in set(keys(path)) - SPEECHBRAIN - read:
        assert re.search(rf"<{key}[>\[]", text), key


@pytest.mark.parametrize("path", YAMLS, ids=lambda p: "/".join(p.parts[-3:]))
def test_no_key_abbreviates_a_flag(path):
    # argparse takes an abbreviated flag for the flag.
    abbreviations = {"skip", "eval", "log", "opt", "remove", "debug", "device"}
    assert not abbreviations & set(keys(path))
