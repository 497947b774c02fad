"""Command line and YAML of a run: what is read, refused and recorded."""

import os

import pytest
import torch
from speechbrain.utils.run_opts import RunOptions

from audiomamba.dataio.problems import PreparationError
from audiomamba.training.runs import environment
from audiomamba.training.runs.hparams import (
    fit_precision,
    load_hparams,
    read_settings,
)
from audiomamba.training.runs.options import parse_arguments


def test_the_last_of_repeated_options_counts(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("lr: 1\nbatch_size: 2\n")
    given = ["--lr", "2", "--batch_size=4", "--lr=3"]
    _, _, overrides = parse_arguments([str(path), *given])
    assert load_hparams(path, overrides) == {"lr": 3, "batch_size": 4}


@pytest.mark.parametrize("name", ["20240101", "take #2", "a=b", "yes", "1e3"])
@pytest.mark.parametrize("in_one", [True, False])
def test_folder_names_are_not_read_as_yaml(tmp_path, name, in_one):
    path = tmp_path / "a.yaml"
    path.write_text("data_folder: data\ntrain_csv: !ref <data_folder>/t.csv\n")
    arguments = ["--data_folder", name]
    if in_one:
        arguments = ["=".join(arguments)]
    _, _, overrides = parse_arguments([str(path), *arguments])
    assert load_hparams(path, overrides) == {
        "data_folder": name,
        "train_csv": f"{name}/t.csv",
    }
    assert read_settings(path, overrides)["data_folder"] == name


def test_a_path_can_be_null(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("init_from: a.pth\n")
    _, _, overrides = parse_arguments([str(path), "--init_from=null"])
    assert load_hparams(path, overrides) == {"init_from": None}


@pytest.mark.parametrize("form", [["=model"], ["", "model"]])
def test_a_run_starts_from_its_pretrained_folder(tmp_path, form):
    path = tmp_path / "a.yaml"
    path.write_text("seed: 1\ninit_from: null\n")
    flag = f"--pretrained_folder{form[0]}"
    found = parse_arguments([str(path), flag, *form[1:], "--seed", "2"])
    assert found[0] == str(path)
    assert load_hparams(*found[::2]) == {"seed": 2, "init_from": "model"}


def test_for_an_unknown_key_the_closest_key_is_suggested(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("data_folder: x\nseed: 1\n")
    with pytest.raises(PreparationError, match="did you mean data_folder"):
        parse_arguments([str(path), "--data_foler", "y"])
    with pytest.raises(PreparationError, match="keys: .*data_folder.*seed"):
        parse_arguments([str(path), "--zzz=1"])


def test_for_a_missing_yaml_the_existing_ones_are_listed(tmp_path):
    (tmp_path / "aum_tiny.yaml").touch()
    with pytest.raises(PreparationError, match=r"has .*aum_tiny\.yaml"):
        parse_arguments([str(tmp_path / "aum_base.yaml")])
    with pytest.raises(PreparationError, match="has no YAML"):
        load_hparams(tmp_path / "nowhere" / "aum_base.yaml")


def test_an_object_that_cannot_be_made_says_why(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("logger: !name:no_such_package.init\n")
    with pytest.raises(PreparationError, match="no_such_package.*Install the"):
        load_hparams(path)
    path.write_text(
        "logger: !new:speechbrain.utils.train_logger.WandBLogger\n"
        "    initializer: !name:operator.truediv [1, 0]\n"
    )
    with pytest.raises(PreparationError, match="WandBLogger: division by zero"):
        load_hparams(path)
    path.write_text("layer: !new:torch.nn.Linear {width: 3}\n")
    with pytest.raises(PreparationError, match="unexpected keyword.*width"):
        load_hparams(path)


def test_a_placeholder_explains_what_is_needed(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("init_from: !PLACEHOLDER  # weights of AudioSet\n")
    with pytest.raises(PreparationError, match="--init_from.*AudioSet"):
        read_settings(path)
    assert read_settings(path, {"init_from": "a"}) == {"init_from": "a"}


@pytest.mark.parametrize(
    "device, asked, used",
    [
        ("cpu", "fp16", "fp32"),
        ("cpu", "bf16", "bf16"),
        ("cuda:0", "fp16", "fp16"),
    ],
)
def test_fp16_becomes_fp32_without_a_gpu(device, asked, used):
    in_yaml = RunOptions.from_dictionary({"device": device})
    assert fit_precision({"precision": asked}, in_yaml)["precision"] == used
    typed = RunOptions.from_dictionary({"device": device, "precision": asked})
    assert fit_precision({"precision": "fp32"}, typed)["precision"] == used


@pytest.mark.parametrize("fast", [True, False])
def test_bf16_without_instructions_for_it_is_warned_of(
    monkeypatch, caplog, fast
):
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    known = "_is_mkldnn_bf16_supported"
    monkeypatch.setattr(torch.ops.mkldnn, known, lambda: fast, raising=False)
    on_cpu = RunOptions.from_dictionary({"device": "cpu"})
    assert fit_precision({"precision": "bf16"}, on_cpu)["precision"] == "bf16"
    assert ("give --precision fp32" in caplog.text) != fast


@pytest.mark.parametrize(
    "machines, command",
    [
        (None, "python train.py a.yaml"),
        (1, "torchrun --standalone --nproc_per_node=4 train.py a.yaml"),
        (
            2,
            "torchrun --nnodes=2 --rdzv_backend=c10d --rdzv_endpoint=host:29500"
            " --nproc_per_node=4 train.py a.yaml",
        ),
    ],
)
def test_the_recorded_command_runs(monkeypatch, machines, command):
    monkeypatch.setattr("sys.argv", ["train.py", "a.yaml"])
    monkeypatch.delitem(os.environ, "TORCHELASTIC_RUN_ID", raising=False)
    if machines:
        for name, value in {
            "TORCHELASTIC_RUN_ID": "1",
            "WORLD_SIZE": str(4 * machines),
            "LOCAL_WORLD_SIZE": "4",
            "MASTER_ADDR": "host",
        }.items():
            monkeypatch.setenv(name, value)
    assert environment.command_line() == command
