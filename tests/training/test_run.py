"""A folder belongs to one set of settings, which every start compares."""

import json
import os
import subprocess
import sys

import pytest
from speechbrain.utils.run_opts import RunOptions

from audiomamba.dataio.audio import AudioError
from audiomamba.dataio.manifest import write_labels
from audiomamba.dataio.problems import PreparationError
from audiomamba.training.recipe import process_group
from audiomamba.training.runs import environment, folder, run
from audiomamba.training.runs.hparams import (
    load_hparams,
    read_settings,
)
from audiomamba.training.runs.run import Run, RunError

YAML = """\
seed: 1
data_folder: data
output_folder: {folder}
manifest_folder: !ref <output_folder>/manifests
save_folder: !ref <output_folder>/save
label_file: !ref <manifest_folder>/labels.csv
n_classes: 7
number_of_epochs: 10
batch_size: 4
lr: 0.1
max_grad_norm: 1.0
precision: fp32
num_workers: 1
init_from: null
embedding_model: !new:torch.nn.Linear {{in_features: 2, out_features: 3}}
opt_class: !name:torch.optim.Adam
    lr: !ref <lr>
lr_schedule: !new:audiomamba.training.optim.WarmupCosine
    n_epochs: !ref <number_of_epochs>
"""
LABELS = ["cat", "dog"]


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Start a run with overrides; ``trains`` makes it leave a checkpoint."""
    path = tmp_path / "a.yaml"
    path.write_text(YAML.format(folder=tmp_path / "out"))
    monkeypatch.setattr("sys.argv", [str(path)])

    def start(labels=LABELS, trains=True, options=None, **overrides):
        overrides = {key: str(value) for key, value in overrides.items()}
        options = {"device": "cpu", **(options or {})}
        run_opts = RunOptions.from_dictionary(options)
        run = Run(path, overrides, run_opts)
        run.folder.mkdir(parents=True, exist_ok=True)
        write_labels(run.settings["label_file"], labels)
        run.bind(labels, "cpu", run_opts["precision"])
        if trains:
            folder = tmp_path / "out" / "save" / "CKPT+1"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "CKPT.yaml").touch()
        return run

    return start


def test_the_first_start_writes_settings_labels_and_manifests(start, tmp_path):
    start(seed=3)
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["settings"]["seed"] == record["seed"] == 3
    assert record["labels"] == LABELS
    assert record["settings"]["n_classes"] == 2
    assert record["engine"] == "cpu"
    assert set(record["manifests"]) == {"labels.csv"}
    for key in ("versions", "commit", "command", "hardware"):
        assert key in record
    text = (tmp_path / "out" / "hyperparams.yaml").read_text()
    assert "n_classes: 2" in text and "seed: 3" in text


def test_equal_settings_resume(start, tmp_path):
    start()
    before = (tmp_path / "out" / "run.json").read_text()
    start()
    assert (tmp_path / "out" / "run.json").read_text() == before


def test_settings_that_are_infinite_resume(start):
    """Once `null` in the record: most of the paper's YAMLs could not resume."""
    start(max_grad_norm=".inf")
    start(max_grad_norm=".inf")
    with pytest.raises(RunError, match="max_grad_norm: None -> 1.0"):
        start()


@pytest.mark.parametrize("load", [load_hparams, read_settings])
def test_a_key_that_the_yaml_lacks_is_named(tmp_path, load):
    """As with the YAML of another script."""
    path = tmp_path / "a.yaml"
    path.write_text("seed: 1\n")
    values = load(path)
    assert values.get("held_out", 2) == 2
    with pytest.raises(PreparationError, match="a.yaml has no held_out"):
        values["held_out"]


@pytest.mark.parametrize("load", [load_hparams, read_settings])
def test_keys_for_a_value_without_keys_are_refused(tmp_path, load):
    path = tmp_path / "a.yaml"
    path.write_text("trials: [a.txt]\n")
    complaint = r"a.yaml: .*\{'trials': \{'mine': 'b.txt'\}\} gives keys"
    with pytest.raises(PreparationError, match=complaint):
        load(path, {"trials": "{mine: b.txt}"})


def test_a_newer_key_that_does_not_change_the_training_resumes(start, tmp_path):
    start()
    path = tmp_path / "a.yaml"
    path.write_text(path.read_text() + "test_scores: csv\n")
    start()


@pytest.mark.parametrize(
    "overrides, named",
    [
        ({"lr": 0.2}, "lr: 0.1 -> 0.2"),
        ({"seed": 2}, "seed: 1 -> 2"),
        ({"opt_class": "{weight_decay: 1}"}, "opt_class.*weight_decay"),
        ({"number_of_epochs": 9}, r"number_of_epochs \(may only grow\): 10"),
    ],
)
def test_other_settings_are_refused_and_named(
    start, tmp_path, overrides, named
):
    start()
    files = ("run.json", "hyperparams.yaml")
    before = [(tmp_path / "out" / name).read_text() for name in files]
    with pytest.raises(RunError, match=named) as raised:
        start(**overrides)
    assert "--output_folder" in str(raised.value)
    assert "--number_of_epochs" in str(raised.value)
    # once: values that follow from a key are not listed
    assert str(raised.value).count("->") == 1
    after = [(tmp_path / "out" / name).read_text() for name in files]
    assert after == before


def test_all_differences_are_named_at_once(start):
    start()
    with pytest.raises(RunError, match="(?s)lr: .*seed: |seed: .*lr: "):
        start(lr=0.2, seed=8)


def test_the_epochs_may_grow_and_settings_of_speed_may_change(start, tmp_path):
    start()
    start(number_of_epochs=20, num_workers=4, data_folder="elsewhere")
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["settings"]["number_of_epochs"] == 20
    start(number_of_epochs=20)
    with pytest.raises(RunError, match="may only grow"):
        start(number_of_epochs=10)


def test_batches_may_be_larger_and_processes_more(start, monkeypatch):
    start()
    monkeypatch.setattr(run, "all_gather", lambda value: [value, value])
    assert start(batch_size=8).settings["batch_size"] == 8


def test_other_data_or_engines_are_refused(start, monkeypatch):
    start()
    with monkeypatch.context() as patch:
        patch.setattr(run, "current_engine", lambda device: "reference")
        with pytest.raises(RunError, match="engine: cpu -> reference"):
            start()
    with monkeypatch.context() as patch:
        patch.setattr(Run, "_digests", lambda self: {"train.csv": "1"})
        with pytest.raises(RunError, match="manifests.train.csv: None -> 1"):
            start()
    start()


def test_resuming_with_other_versions_warns(start, monkeypatch, caplog):
    start()
    start()
    assert not caplog.messages
    present = environment.package_versions()
    monkeypatch.setattr(
        environment, "package_versions", lambda: {**present, "torch": "1.0"}
    )
    start()
    assert f"other versions: torch {present['torch']} -> 1.0" in caplog.text


def test_ranks_with_different_engines_are_refused(start, monkeypatch):
    monkeypatch.setattr(run, "all_gather", lambda value: [value, "triton"])
    with pytest.raises(RunError, match="different engines"):
        start()


@pytest.mark.parametrize("options", [{}, {"test_only": True}])
@pytest.mark.parametrize(
    "labels, named",
    [
        (["zebra", "dog"], "class 0 is 'cat', not 'zebra'"),
        (["dog", "cat"], "another order"),
        (["cat"], "2 classes instead of 1"),
    ],
)
def test_other_classes_are_refused(start, options, labels, named):
    start()
    with pytest.raises(RunError, match=named):
        start(labels, options=options)


def test_a_folder_without_checkpoints_accepts_other_settings(start):
    start(trains=False)
    start(lr=0.5, trains=False)


def test_checkpoints_without_recorded_settings_are_refused(start, tmp_path):
    start()
    (tmp_path / "out" / "run.json").unlink()
    with pytest.raises(RunError, match="no run.json"):
        start()


@pytest.mark.parametrize("option", ["test_only", "debug"])
def test_testing_and_debugging_write_to_their_own_folders(
    start, tmp_path, option
):
    start()
    out = tmp_path / "out"
    before = {p: p.read_text() for p in out.iterdir() if p.is_file()}
    tested = start(lr=5, trains=False, options={option: True})
    assert tested.folder == out / option
    assert tested.settings["output_folder"] == str(out / option)
    assert tested.settings["save_folder"] == str(out / "save")
    assert {p: p.read_text() for p in out.iterdir() if p.is_file()} == before
    assert "lr: 5" in (out / option / "hyperparams.yaml").read_text()


def test_a_test_with_other_settings_leaves_the_manifests_alone(start, tmp_path):
    start()
    out = tmp_path / "out"
    labels = (out / "manifests" / "labels.csv").stat().st_mtime_ns
    options = {"test_only": True}
    assert start(lr=5, options=options).settings["manifest_folder"] == str(
        out / "test_only" / "manifests"
    )
    assert (out / "manifests" / "labels.csv").stat().st_mtime_ns == labels
    tested = start(data_folder="moved", options=options)
    assert tested.settings["manifest_folder"] == str(out / "manifests")


def test_a_model_with_other_settings_is_not_tested(start):
    start()
    with pytest.raises(RunError, match="embedding_model.*out_features: 3 -> 4"):
        start(options={"test_only": True}, embedding_model="{out_features: 4}")


def test_testing_without_checkpoints_is_refused(start):
    with pytest.raises(RunError, match="train first"):
        start(options={"test_only": True})


def test_a_folder_that_machines_do_not_share_is_named(tmp_path, monkeypatch):
    sees = iter([["token"], ["here", "there"], [True, False]])
    monkeypatch.setattr(folder, "all_gather", lambda value: next(sees))
    with pytest.raises(RunError, match="rank 1 on there cannot see"):
        folder.check_shared(tmp_path)
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------- the command line


def test_a_folder_in_use_names_its_owner(start, tmp_path, monkeypatch):
    # the logging of the tests stays as it is
    monkeypatch.setattr(run, "open_folder", lambda *arguments: None)
    first = start(trains=False)
    first.open()
    draft = tmp_path / "out" / ".a.csv.123.tmp"
    draft.touch()
    second = start()
    with pytest.raises(RunError, match=rf"process {os.getpid()} on .*, since"):
        second.open()
    assert draft.exists()  # it may be the owner's
    start(options={"test_only": True}).open()

    first.lock.release()
    start(trains=False).open()
    assert not draft.exists()


def test_features_are_for_the_rate_of_the_waveforms(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text(
        "sample_rate: 16000\n"
        "compute_features: !new:audiomamba.lobes.features.KaldiFbank\n"
        "    n_mels: 40\n"
    )
    load_hparams(path)
    with pytest.raises(PreparationError, match="8000.*are for 16000 Hz"):
        load_hparams(path, {"sample_rate": "8000"})
    fitting = {"compute_features": "{sample_rate: 8000}"}
    hparams = load_hparams(path, {"sample_rate": "8000", **fitting})
    assert hparams["compute_features"].sample_rate == 8000


def test_a_clip_that_cannot_be_read_ends_a_run_with_one_message(caplog):
    with pytest.raises(SystemExit), process_group():
        raise AudioError("a.wav is empty: remove it from the list")
    assert caplog.messages == ["a.wav is empty: remove it from the list"]


def test_no_thread_of_the_process_group_is_left_at_the_end():
    # One that is left may crash the process after all is done.
    program = """
import torch
from pathlib import Path
from audiomamba.training.recipe import process_group

@process_group()
def train():
    torch.distributed.init_process_group(
        "gloo", store=torch.distributed.HashStore(), rank=0, world_size=1
    )
    model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(3, 1))
    model(torch.ones(2, 3)).sum().backward()
    model.model = model  # only the garbage collector frees a cycle
    print(threads().count("pt_gloo_runloop\\n"))

def threads():
    return [p.read_text() for p in Path("/proc/self/task").glob("*/comm")]

train()
print(threads().count("pt_gloo_runloop\\n"))
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True
    )
    during, after = ended.stdout.split()
    assert int(during) > 0
    assert int(after) == 0, ended.stderr
