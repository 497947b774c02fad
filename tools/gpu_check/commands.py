"""Commands of the check, under one deadline."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Of a failed command's output in the record.
KEPT = 4000
# For a command whose time is up, to end the processes that it started
GRACE = 40


class CheckError(Exception):
    """A part of the check that failed.

    Arguments
    ---------
    why : str
        All that is known of it.
    found : dict
        What was measured all the same, for the record.
    """

    def __init__(self, why, found=None):
        super().__init__(why)
        self.found = found or {}


class Commands:
    """Runs Python programs of this repository until a deadline.

    Arguments
    ---------
    device : str
        "cuda" or "cpu", where the programs compute.
    scratch : Path
        A folder for what they write.
    seconds : float
        From now to the deadline.
    """

    def __init__(self, device, scratch, seconds):
        self.device, self.scratch = device, Path(scratch)
        self.deadline = time.monotonic() + seconds

    def python(self, *arguments, folder=ROOT, interpret=False):
        """Run Python.

        ``interpret`` is for kernels of Triton: without a GPU they run in
        Triton's interpreter.

        Raises
        ------
        CheckError
            If the program fails or the time is up.
        """
        environment = dict(os.environ)
        if self.device == "cpu":
            environment["CUDA_VISIBLE_DEVICES"] = ""
            if interpret:
                environment["TRITON_INTERPRET"] = "1"
        command = [sys.executable, *map(str, arguments)]
        shown = " ".join(command)
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise CheckError(f"The time was up before {shown}.")
        # A file, as a pipe stays open while any process holds its other end.
        log = self.scratch / "output.txt"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                cwd=folder,
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            status = process.wait(left)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            _end(process)
        if status == 0:
            return
        ended = f"ended with status {status}"
        if status is None:
            ended = "was not done when the time was up; --minutes gives more"
        tail = log.read_text("utf-8", errors="replace")[-KEPT:]
        raise CheckError(f"{shown} {ended}:\n{tail}")


def _end(process):
    """End a process, if it still runs, and those that it started."""
    if process.poll() is not None:
        return
    # torchrun ends its workers, which are in sessions of their own.
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
