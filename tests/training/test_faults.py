"""A run that is killed at any file, or whose disk is full, loses nothing.

A few places are tried; AUDIOMAMBA_ALL_FAULTS=1 tries all of them.
"""

import os
import signal
import subprocess
import sys

import pytest
import torch

from audiomamba.pretrained.weights import CheckpointError

ALL = bool(os.environ.get("AUDIOMAMBA_ALL_FAULTS"))
# What Python announces before a file changes; the mode or flags say which
CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree")
OPTIONS = {
    "epochs": 2,
    "ckpt_interval_steps": 2,
    "average_from": 1,
    "ema_decay": 0.8,
    "protocols": ["average", "ema", "honest", "last"],
}


@pytest.fixture(autouse=True)
def one_thread():
    """A fork has none of the threads that tests before these have started."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def changes_a_file(event, arguments):
    """Whether an event of Python's audit is about writing."""
    if event == "open":
        _, mode, flags = arguments
        return bool(flags & (os.O_WRONLY | os.O_RDWR)) or "w" in (mode or "")
    return event in CHANGES


def in_a_child(work, at_event=None):
    """Run something in a forked process; count the events, or die at one.

    Returns what the process ended with, and how many events it saw.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        count = 0

        def watch(event, arguments):
            nonlocal count
            if changes_a_file(event, arguments):
                count += 1
                if count == at_event:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(watch)
        try:
            work()
            os.write(writing, str(count).encode())
        finally:
            os._exit(0)
    os.close(writing)
    _, status = os.waitpid(child, 0)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    return status, int(text or 0)


def check_the_same(whole, run):
    """Compare weights, averages and curves of two finished runs, bit by bit."""
    for name, value in whole.weights().items():
        assert torch.equal(value, run.weights()[name]), name
    for protocol, average in whole.brain.averages.items():
        other = run.brain.averages[protocol].state_dict()
        for name, value in average.state_dict().items():
            assert torch.equal(value, other[name]), (protocol, name)
    curves = [own.hparams["epoch_log"].history() for own in (whole, run)]
    assert len(curves[0]) == len(curves[1]) == OPTIONS["epochs"]
    for one, other in zip(*curves):
        for key in ("train_loss", "train_lr", "valid_loss", "valid_accuracy"):
            assert one[key] == other[key], (one["epoch"], key)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_at_a_file_a_run_ends_with_the_same_bits(make_run):
    whole = make_run("whole", **OPTIONS)
    whole.fit()
    status, n_events = in_a_child(lambda: make_run("count", **OPTIONS).fit())
    assert status == 0 and n_events > 60
    places = range(1, n_events + 1) if ALL else range(5, n_events, 17)
    for place in places:
        name = f"cut{place}"

        def train(name=name):
            make_run(name, **OPTIONS).fit()

        status, _ = in_a_child(train, at_event=place)
        assert status == signal.SIGKILL
        run = make_run(name, **OPTIONS)
        run.fit()
        check_the_same(whole, run)


@pytest.fixture
def disk(tmp_path):
    """Mount a small disk: kilobytes -> its folder; the same one may grow."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = []

    def mount(size):
        options = f"size={size}k" + (",remount" if mounted else "")
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("no right to mount a disk")
        mounted.append(size)
        return folder

    yield mount
    if mounted:
        # lazily: the writer that failed may still hold a file
        command = ["umount", "--lazy", str(folder)]
        subprocess.run(command, check=True)


@pytest.mark.parametrize("size", range(8, 120, 8) if ALL else (16, 64, 96))
def test_a_full_disk_is_named_and_a_larger_one_resumes(make_run, disk, size):
    whole = make_run("whole", **OPTIONS)
    whole.fit()
    folder = disk(size)
    with pytest.raises((CheckpointError, OSError)) as caught:
        make_run(folder, **OPTIONS).fit()
    assert "No space left" in str(caught.value)
    disk(8192)
    run = make_run(folder, **OPTIONS)
    run.fit()
    check_the_same(whole, run)
