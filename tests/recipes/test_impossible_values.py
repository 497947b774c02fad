"""An impossible value of any key is one message that names it.

``AUDIOMAMBA_FUZZ=1 pytest tests/recipes/test_impossible_values.py`` tries every
value on every key of every recipe; this takes half an hour.
"""

import logging
import os
import re
import runpy
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from audiomamba.dataio.problems import PreparationError
from audiomamba.training.brain import RecipeBrain
from audiomamba.training.runs.hparams import read_settings
from audiomamba.training.runs.options import as_yaml, parse_arguments
from audiomamba.training.runs.ranges import RANGES, check_ranges

RECIPES = Path(__file__).parents[2] / "recipes"
YAMLS = [
    path
    for path in sorted(RECIPES.glob("*/hparams/*.yaml"))
    if "_set_seed" in path.read_text()
]
VALUES = ["-1", "0", ".nan", ".inf", "-.inf", "abc", "[]", "null", "{a: 1}"]
VALUES += ["1.5", "True", "inf"]
# In a recipe, with the miniature of a corpus
STARTS = [
    ("ESC50", "train.py", "aum_tiny", "ESC50"),
    ("AudioSet", "train.py", "aum_frames_tiny", "AudioSet"),
    ("VGGSound", "train.py", "dass_small_audioset", "VGGSound"),
    ("EPIC-Sounds", "train.py", "aum_base", "EPIC-Sounds"),
    ("SpeechCommands", "train.py", "dass_tiny", "SpeechCommands"),
    ("VoxCeleb", "train_embeddings.py", "aum_embeddings_tiny", "VoxCeleb"),
    ("LibriSpeech", "train.py", "aum_tiny_ctc", "LibriSpeech"),
    ("Pretraining", "train.py", "aum_tiny", "ESC50"),
]
# Any text is a path
PATHS = {key for key, known in RANGES.items() if known.holds("a/b.csv")}
LONG = pytest.mark.skipif(
    "AUDIOMAMBA_FUZZ" not in os.environ, reason="AUDIOMAMBA_FUZZ is not set"
)


def keys_of(path):
    found = re.findall(r"^(\w+):", path.read_text(), re.MULTILINE)
    return [key for key in found if key != "__set_seed"]


def read(path, **options):
    given = {"init_from": "null", **options}
    given = {key: given[key] for key in given if key in keys_of(path)}
    return read_settings(
        path, {key: as_yaml(key, str(text)) for key, text in given.items()}
    )


@pytest.mark.parametrize("path", YAMLS, ids=lambda p: "/".join(p.parts[-3:]))
def test_every_key_has_a_range_and_is_within(path):
    assert not set(keys_of(path)) - set(RANGES)
    check_ranges(read(path))


def test_the_table_has_no_key_that_no_recipe_has():
    within = {"max_batch_length", "num_buckets", "max_batch_ex", "shuffle"}
    text = "\n".join(path.read_text() for path in YAMLS)
    assert within == {x for x in within if re.search(rf"\b{x}: ", text)}
    used = {key for path in YAMLS for key in keys_of(path)}
    assert set(RANGES) - within <= used | {"model_folder", "cohort_manifest"}


def is_possible(path, key, value):
    try:
        check_ranges(read(path, **{key: value}))
    except PreparationError:
        return False
    return True


def start(recipe, script, hparams, *options):
    """Run a recipe up to its training, in this process.

    Returns what it said; None if it would have trained.
    """
    options = [script, f"hparams/{hparams}.yaml", "--device=cpu", *options]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(RECIPES / recipe)
        patch.syspath_prepend(str(RECIPES / recipe))
        patch.setattr(sys, "argv", options)
        patch.setattr(RecipeBrain, "fit", lambda self, *_, **__: sys.exit(99))
        try:
            runpy.run_path(script, run_name="__main__")
        except SystemExit as end:
            return end.code
        finally:
            for handler in list(logging.getLogger().handlers):
                if isinstance(handler, logging.FileHandler):
                    logging.getLogger().removeHandler(handler)


def test_each_is_refused_by_name():
    for key, known in RANGES.items():
        values = [YAML(typ="safe").load(as_yaml(key, v)) for v in VALUES]
        bad = [value for value in values if not known.holds(value)]
        assert bad or key in PATHS, key
        for value in bad:
            with pytest.raises(PreparationError) as error:
                check_ranges({key: value})
            assert re.match(rf"{key} is .+; it must be .+\.$", str(error.value))


def test_a_run_refuses_them_before_it_makes_anything(tmp_path, caplog):
    for option in (
        "--seed=-1",
        "--max_grad_norm=-.inf",
        "--precision=abc",
        "--modules=null",
        "--max_duration=.nan",
        "--optimizer_step_limit=0.5",
    ):
        caplog.clear()
        folder = f"--output_folder={tmp_path / 'run'}"
        assert start("ESC50", "train.py", "aum_tiny", folder, option) == 1
        (message,) = [r.message for r in caplog.records if r.levelno >= 40]
        key = option.partition("=")[0]
        assert message.removeprefix("--").startswith(f"{key[2:]} is ")
        assert "; it must be " in message and "\n" not in message
        assert not (tmp_path / "run").exists()


def test_infinity_is_written_as_in_the_yaml():
    path = str(RECIPES / "ESC50" / "hparams" / "aum_tiny.yaml")
    for option in (["--max_grad_norm=.inf"], ["--max_grad_norm", ".inf"]):
        _, _, given = parse_arguments([path, *option])
        assert read_settings(path, given)["max_grad_norm"] == float("inf")


@pytest.mark.parametrize(
    "key, value, words",
    [
        ("head_lr_scale", "-1", "is -1; it must be a positive number."),
        ("max_grad_norm", "inf", r"YAML writes infinity as \.inf"),
        ("lr", "0.1.2", "is '0.1.2'; it must be 0 or a positive number"),
        ("batch_size", "True", "is True; it must be a whole number"),
        ("train_loader", "{batch_size: 0}", r"^train_loader.batch_size is 0"),
        ("train_loader", "{a: 1}", "torch.utils.data.DataLoader"),
        ("seed", "4294967296", "from 0 to 4294967295"),
    ],
)
def test_messages_say_what_is_wrong(key, value, words):
    path = RECIPES / "ESC50" / "hparams" / "aum_tiny.yaml"
    with pytest.raises(PreparationError, match=words):
        check_ranges(read(path, **{key: value}))


@LONG
@pytest.mark.parametrize("recipe, script, hparams, corpus", STARTS)
def test_no_value_of_a_recipe_ends_in_a_traceback(
    recipe, script, hparams, corpus, make_corpus, tmp_path, caplog
):
    path = RECIPES / recipe / "hparams" / f"{hparams}.yaml"
    folder = make_corpus(corpus).folder
    small = {"init_from": "null", "embed_dim": "16", "depth": "1"}
    small |= {"depths": "[1, 1, 1, 1]", "teachers": "[]"}
    small = [f"--{k}={v}" for k, v in small.items() if k in keys_of(path)]
    for key in keys_of(path):
        for number, value in enumerate(VALUES):
            caplog.clear()
            code = start(
                recipe,
                script,
                hparams,
                f"--data_folder={folder}",
                f"--output_folder={tmp_path / f'{key}{number}'}",
                "--noprogressbar",
                *small,
                f"--{key}={value}",
            )
            errors = [r.message for r in caplog.records if r.levelno >= 40]
            # Values that are possible may lack something else
            accepted = is_possible(path, key, value)
            assert code in ((1, 99) if accepted else (1,)), (key, value)
            assert (code == 1) == (len(errors) == 1), (key, value, errors)
