"""A signal ends a run after its step, saved; or at once, the second time."""

import multiprocessing
import os
import signal
import subprocess
import sys

import pytest
import torch
from speechbrain.core import Stage

from audiomamba.training.runs import interruption as module
from audiomamba.training.runs.interruption import Interrupted, interruption
from audiomamba.training.tasks.classification import ClassificationBrain


def signalled_at(place, number=signal.SIGTERM):
    """Return a Brain class that gets a signal at (epoch, stage, step)."""

    class SignalledBrain(ClassificationBrain):
        def compute_forward(self, batch, stage):
            if (self.epoch, stage, self.step) == place:
                signal.raise_signal(number)
            return super().compute_forward(batch, stage)

    return SignalledBrain


@pytest.mark.parametrize("factor", [1, 4])
@pytest.mark.parametrize("number", module.SIGNALS)
def test_the_step_is_finished_and_saved(make_run, number, factor):
    options = {"grad_accumulation_factor": factor}
    whole = make_run("whole", **options)
    whole.fit()

    place = (2, Stage.TRAIN, 3)
    first = make_run("cut", brain_class=signalled_at(place, number), **options)
    with interruption.watch(), pytest.raises(Interrupted) as stop:
        first.fit()
    last = 3 if factor == 1 else 4
    assert str(stop.value) == f"epoch 2, step {last} of 6, and saved"

    torch.rand(5)
    second = make_run("cut", **options)
    second.fit()
    for name, value in whole.weights().items():
        assert torch.equal(value, second.weights()[name]), name


def test_a_run_stopped_while_it_validates_has_saved_its_epoch(make_run):
    whole = make_run("whole")
    whole.fit()
    place = (2, Stage.VALID, 1)
    first = make_run("cut", brain_class=signalled_at(place))
    with interruption.watch(), pytest.raises(Interrupted):
        first.fit()
    second = make_run("cut")
    second.fit()
    for name, value in whole.weights().items():
        assert torch.equal(value, second.weights()[name]), name


def test_the_second_signal_ends_the_run_at_once(monkeypatch):
    monkeypatch.setattr(module, "ECHO_SECONDS", 0.0)
    with interruption.watch(), interruption.after_step():
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(Interrupted):
            signal.raise_signal(signal.SIGTERM)


def test_an_echo_is_the_same_request():
    with interruption.watch(), interruption.after_step():
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert interruption.name == "SIGTERM"


def test_handlers_are_put_back():
    before = signal.getsignal(signal.SIGTERM)
    with interruption.watch():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_workers_outlive_the_signal_of_a_step(make_run, number):
    """Ctrl-C reaches all processes of a terminal, the loader's as well."""

    others = multiprocessing.active_children()

    class Brain(ClassificationBrain):
        def on_fit_batch_end(self, *arguments):
            if (self.epoch, self.step) == (1, 2):
                for child in multiprocessing.active_children():
                    if child in others:
                        continue
                    os.kill(child.pid, number)
                signal.raise_signal(number)

    run = make_run(
        "cut", brain_class=Brain, num_workers=2, grad_accumulation_factor=4
    )
    with interruption.watch(), pytest.raises(Interrupted) as stop:
        run.fit()
    assert str(stop.value) == "epoch 1, step 4 of 6, and saved"


PROGRAM = """
import signal
from torch.utils.data import DataLoader
from audiomamba.training.runs.interruption import interruption
from audiomamba.training.recipe import process_group
with process_group():
    loader = DataLoader(
        range(99), num_workers=1, worker_init_fn=interruption.watch_in_worker
    )
    clips = iter(loader)
    next(clips)
    signal.raise_signal(signal.{name})
"""


@pytest.mark.parametrize("name, status", [("SIGTERM", 75), ("SIGINT", 130)])
def test_the_program_says_how_to_resume(name, status):
    """And ends, although a worker of its loader waits for work."""
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(name=name)],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert ended.returncode == status
    lines = ended.stderr.strip().splitlines()
    assert f"Stopped by {name}. The same command resumes: " in lines[-1]
    assert "Traceback" not in ended.stderr
