"""Commands of the check, under one deadline."""

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Of a failed command's output in the record.
KEPT = 4000


class CheckError(Exception):
    """A part of the check that failed, with all that is known of why."""


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
        """Run Python; return its output, both streams together.

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
        try:
            done = subprocess.run(
                command,
                cwd=folder,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                encoding="utf-8",
                errors="replace",
                timeout=max(1.0, self.deadline - time.monotonic()),
            )
        except subprocess.TimeoutExpired as late:
            output = (late.stdout or b"").decode("utf-8", "replace")
            raise CheckError(
                f"The time was up during {' '.join(command)}; --minutes gives "
                f"more.\n{output[-KEPT:]}"
            ) from None
        if done.returncode:
            raise CheckError(
                f"{' '.join(command)} ended with status {done.returncode}:\n"
                f"{done.stdout[-KEPT:]}"
            )
        return done.stdout
