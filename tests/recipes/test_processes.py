"""Processes that stop or die, under torchrun."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

RECIPE = Path(__file__).parents[2] / "recipes" / "Custom"
TINY = {
    "embed_dim": 32,
    "depth": 1,
    "batch_size": 2,
    "num_workers": 0,
    "lr": 0.01,
    "ckpt_interval_minutes": 0,
    "ckpt_interval_steps": 1,
}
SECONDS = 300
# Without the second, restarted processes cannot always reach each other
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
}


@pytest.fixture(scope="module")
def sounds(tmp_path_factory, write_tones):
    """Write clips of two tones, and the three lists."""
    folder = tmp_path_factory.mktemp("sounds")
    write_tones(folder, n_train=16, seconds=0.25, ending="wav")
    return folder


@pytest.fixture
def launch(sounds):
    """Start recipes/Custom on two processes; end all of it after the test."""
    started = []

    def start(out, *options, **overrides):
        settings = {**TINY, "data_folder": sounds, "output_folder": out}
        settings |= overrides
        flags = [f"--{key}={value}" for key, value in settings.items()]
        torchrun = "-m torch.distributed.run --standalone --nproc_per_node=2"
        command = [sys.executable, *torchrun.split(), *options, "train.py"]
        command += ["hparams/aum_tiny.yaml", "--noprogressbar", *flags]
        with open(f"{out}.log", "w") as log:
            process = subprocess.Popen(
                command,
                cwd=RECIPE,
                env={**os.environ, **ENVIRONMENT},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_for(run, path, words):
    """Wait until a file that a run writes has some words."""
    for _ in range(10 * SECONDS):
        over = run.poll() is not None
        if Path(path).is_file() and words in Path(path).read_text():
            return
        assert not over, f"{path} never said {words}"
        time.sleep(0.1)
    raise AssertionError(f"{path} does not say {words}")


def process_of_rank(launcher, rank):
    """Return the number of the process with a rank, a child of torchrun."""
    children = f"/proc/{launcher.pid}/task/{launcher.pid}/children"
    for number in Path(children).read_text().split():
        variables = Path(f"/proc/{number}/environ").read_bytes().split(b"\0")
        if f"RANK={rank}".encode() in variables:
            return int(number)
    raise AssertionError(f"there is no rank {rank}")


pytestmark = pytest.mark.skipif(
    not Path("/proc/self/environ").exists(), reason="needs Linux's /proc"
)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_stopped_process_ends_the_run_and_is_named(launch, tmp_path, rank):
    out = tmp_path / "run"
    run = launch(out, number_of_epochs=1000, process_timeout=4)
    wait_for(run, out / "train_log.txt", "epoch 2")
    stopped = process_of_rank(run, rank)
    os.kill(stopped, signal.SIGSTOP)
    name = f"rank {rank} (process {stopped} on "
    wait_for(run, f"{out}.log", name)
    os.kill(stopped, signal.SIGKILL)  # torchrun would wait half a minute
    assert run.wait(SECONDS) == 1
    text = Path(f"{out}.log").read_text()
    assert "no sign of life for 4 s (process_timeout)" in text
    assert f"rank {1 - rank} (process" not in text
    assert "the same command resumes: torchrun" in text


def test_a_killed_process_is_restarted_and_nothing_differs(
    launch, tmp_path, read_results
):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert launch(whole, number_of_epochs=4).wait(SECONDS) == 0
    run = launch(cut, "--max-restarts=1", number_of_epochs=4)
    wait_for(run, cut / "train_log.txt", "epoch 1")
    os.kill(process_of_rank(run, 1), signal.SIGKILL)
    assert run.wait(SECONDS) == 0, Path(f"{cut}.log").read_text()[-3000:]
    first, second = read_results(whole), read_results(cut)
    assert first["protocols"] == second["protocols"]
    for one, other in zip(first["curve"], second["curve"]):
        assert one["train_loss"] == other["train_loss"]
        assert one["valid_loss"] == other["valid_loss"]
    assert len(second["curve"]) == 4
