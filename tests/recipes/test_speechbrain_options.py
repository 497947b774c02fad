"""SpeechBrain's options and keys in the recipes here: used or refused."""

import json
from pathlib import Path

import pytest
import torch

from audiomamba.dataio.problems import PreparationError
from audiomamba.training.runs.hparams import read_settings
from audiomamba.training.runs.options import check_options, parse_arguments

from .conftest import TINY

ROOT = Path(__file__).parents[2]
HPARAMS = ROOT / "recipes" / "ESC50" / "hparams" / "aum_tiny.yaml"
SMALL = {"n_frames": 64, "max_duration": 0.655, "number_of_epochs": 1}
EXTRA = """
train_logger: !new:speechbrain.utils.train_logger.FileTrainLogger
    save_file: !ref <output_folder>/theirs.txt
pretrainer: !new:speechbrain.utils.parameter_transfer.Pretrainer
    collect_in: !ref <output_folder>
    loadables: {{embedding_model: !ref <embedding_model>}}
    paths: {{embedding_model: {weights}}}
"""


def check(*options, more=""):
    """Parse a command line and check it, as a recipe does first."""
    path, run_opts, overrides = parse_arguments([str(HPARAMS), *options])
    settings = read_settings(path, overrides)
    check_options({**settings, **({more: {}} if more else {})}, run_opts)


@pytest.mark.parametrize(
    "option, instead",
    [
        ("--distributed_launch", "torchrun"),
        ("--data_parallel_backend", "torchrun"),
        ("--auto_mix_prec", "precision: fp16"),
        ("--remove_vector_weight_decay", "_no_weight_decay"),
        ("--compile_module_keys=embedding_model", "without --compile"),
        ("--jit_module_keys=classifier", "without --jit"),
        ("--jit", "--jit_module_keys"),
    ],
)
def test_options_without_effect_are_refused(option, instead):
    name = option.partition("=")[0]
    with pytest.raises(PreparationError, match=f"{name}.*{instead}"):
        check(option)


@pytest.mark.parametrize(
    "key, instead",
    [
        ("hpopt", "on the command line"),
        ("lr_annealing", "lr_schedule"),
        ("compute_cost", "compute_loss"),
        ("error_stats", "metrics"),
        ("dataloader_options", "train_loader"),
    ],
)
def test_keys_that_only_speechbrains_scripts_read_are_refused(key, instead):
    with pytest.raises(PreparationError, match=f"{key}.*{instead}"):
        check(more=key)


@pytest.mark.parametrize("kind", ["compile", "jit"])
def test_modules_that_are_not_there_are_refused(kind):
    with pytest.raises(PreparationError, match="keys encoder.*embedding_model"):
        check(f"--{kind}", f"--{kind}_module_keys", "classifier", "encoder")


def test_options_with_effect_pass():
    check("--compile", "--compile_module_keys", "embedding_model")
    check("--jit", "--jit_module_keys", "classifier")
    check("--skip_nonfinite_grads")
    _, run_opts, _ = parse_arguments([str(HPARAMS), "--optimizer_step_limit=3"])
    assert run_opts["optimizer_step_limit"] == 3


@pytest.fixture(scope="module")
def start(make_corpus, run_recipe):
    """Start the recipe: output folder, YAML, flags, overrides -> its output."""
    corpus = make_corpus("ESC50", n_clips=1, seconds=1.0).folder

    def start(folder, *flags, hparams=HPARAMS, **options):
        options = {**TINY, **SMALL, "data_folder": corpus, **options}
        return run_recipe(
            "ESC50", hparams, *flags, output_folder=folder, **options
        )

    return start


def test_a_pretrainer_and_a_train_logger_do_their_work(
    start, read_results, tmp_path
):
    start(tmp_path / "first")
    (checkpoint,) = (tmp_path / "first" / "save").glob("CKPT+*")
    weights = checkpoint / "embedding_model.ckpt"
    changed = tmp_path / "changed.yaml"
    changed.write_text(HPARAMS.read_text() + EXTRA.format(weights=weights))
    # No step is taken: the weights that are tested are the pretrainer's
    options = ("--jit", "--jit_module_keys", "classifier")
    output = start(tmp_path / "run", *options, hparams=changed, lr=0.0)
    assert "cannot be counted" in output
    log = (tmp_path / "run" / "theirs.txt").read_text().splitlines()
    assert log[0].startswith("epoch: 1 - train loss: ")
    assert len(log) >= 2 and "test accuracy: " in log[-1]
    assert read_results(tmp_path / "run")["metric"]["name"] == "accuracy"
    (again,) = (tmp_path / "run" / "save").glob("CKPT+*")
    first, second = (
        torch.load(path / "embedding_model.ckpt", weights_only=True)
        for path in (checkpoint, again)
    )
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_a_search_does_not_choose_by_the_test_clips(start, tmp_path):
    output = start(tmp_path, "--hpopt=True", fails=True)
    assert "--hpopt needs a validation split" in output.splitlines()[-1]


def test_a_trial_prints_its_result_and_does_not_test(
    make_corpus, run_recipe, tmp_path
):
    corpus = make_corpus("VoxCeleb", n_speakers=3, seconds=1.0).folder
    search = tmp_path / "search.yaml"
    search.write_text("number_of_epochs: 1\n")
    output = run_recipe(
        "VoxCeleb",
        "hparams/aum_tiny.yaml",
        f"--hpopt={search}",
        data_folder=corpus,
        output_folder=tmp_path / "out",
        embedding_model="{embed_dim: 16, depth: 1, drop_path: 0.0}",
        classifier="{input_size: 16}",
        num_workers=0,
    )
    result = json.loads(output.splitlines()[-1])
    assert result["objective"] == pytest.approx(1 - result["accuracy"])
    (trial,) = (tmp_path / "out").iterdir()
    curve = (trial / "curve.csv").read_text().splitlines()
    assert len(curve) == 2
    assert not (trial / "results.json").exists()


def test_a_module_that_cannot_be_scripted_is_said(start, tmp_path):
    options = ("--jit", "--jit_module_keys", "embedding_model")
    output = start(tmp_path, *options, fails=True)
    assert "give --compile instead" in output.splitlines()[-1]
