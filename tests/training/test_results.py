"""A finished run keeps its record, whatever cannot be counted or drawn."""

import json
import sys

import pytest
import torch
from speechbrain.utils.train_logger import WandBLogger

from audiomamba.training.metrics import ClassificationMetrics
from audiomamba.training.results import run_record, save_results

from .conftest import Encoder

LABELS = ["$5", "a $x_{1 b$", "$\\frac$"]


class Opaque(Encoder):
    """An encoder that runs on real data only."""

    def forward(self, feats, lengths=None):
        if feats.is_meta:
            raise TypeError("no meta tensors here")
        return super().forward(feats, lengths)


def record(run):
    tested = run.test()
    return run_record("Noise", "noise.yaml", tested, run.brain, run.hparams)


def finish(run, labels=LABELS):
    """Write what a recipe writes at the end; return ``results.json``."""
    save_results(record(run), run.brain, run.folder, labels)
    return json.loads((run.folder / "results.json").read_text())


@pytest.mark.parametrize("part", ["encoder", "classifier"])
def test_what_cannot_be_counted_is_said(make_run, caplog, part):
    run = make_run(epochs=1, encoder=Opaque() if part == "encoder" else None)
    if part == "classifier":
        # As by --jit_module_keys: it cannot be copied to the meta device
        modules = run.brain.modules
        modules["classifier"] = torch.jit.script(modules["classifier"])
    run.fit()
    assert finish(run)["flops_per_clip"] is None
    assert (
        "flops_per_clip" in caplog.text and "cannot be counted" in caplog.text
    )


def test_a_report_that_fails_does_not_take_the_record_along(
    make_run, caplog, monkeypatch
):
    def fail(self, labels):
        raise OSError("no fonts")

    run = make_run(epochs=1)
    run.fit()
    monkeypatch.setattr(ClassificationMetrics, "class_table", fail)
    assert finish(run)["metric"]["name"] == "accuracy"
    assert "no fonts" in caplog.text
    assert "test (honest)" in (run.folder / "train_log.txt").read_text()


def test_without_matplotlib_there_is_no_picture(make_run, monkeypatch):
    run = make_run(epochs=1)
    run.fit()
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert finish(run)["metric"]["name"] == "accuracy"
    assert (run.folder / "classes.csv").is_file()
    assert not (run.folder / "confusion.png").exists()


class Record:
    """A run of W&B, which drops what comes with an earlier step."""

    def __init__(self):
        self.step, self.kept = 0, []

    def log(self, figures, step=None):
        step = self.step if step is None else step
        if step >= self.step:
            self.step = step
            self.kept.append(figures)


def test_wandb_keeps_every_epoch_and_every_test(make_run):
    wandb = Record()
    logger = WandBLogger(lambda: wandb)
    run = make_run(protocols=["honest", "last"], train_logger=logger)
    run.fit()
    finish(run)
    epochs = [figures for figures in wandb.kept if "epoch" in figures]
    assert [figures["epoch"] for figures in epochs] == [1, 2, 3]
    assert epochs[0]["train"]["loss"] > epochs[2]["train"]["loss"]
    last, headline = wandb.kept[3:]
    results = json.loads((run.folder / "results.json").read_text())
    assert headline["Epoch loaded"] == results["epoch"]
    assert headline["test"] == results["metrics"]
    assert last["Epoch loaded"] == 3
