"""Run scripts, each in a fork of a process that has imported what they need.

Each line of standard input is a job in JSON; the answer is its exit status.
Importing takes longer than most of the tests' trainings.  A fork ends as any
interpreter does, so what a script prints and leaves is what users get.
"""

import gc
import importlib
import json
import os
import runpy
import signal
import sys
from pathlib import Path

# Not audiomamba.ops.cpu: a fork would lack the threads that it starts.
IMPORTED = (
    "audiomamba.training.recipe",
    "matplotlib.figure",
    "numba",
    "sklearn.metrics",
)
SECONDS = 600


def take_job():
    """Return a job, in a process that is there for nothing else."""
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            return json.loads(line)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)
    sys.exit()


def enter(job):
    """Give the process its folder, arguments and streams."""
    signal.alarm(SECONDS)
    os.chdir(job["cwd"])
    sys.argv = job["arguments"]
    sys.path[0] = str(Path(sys.argv[0]).resolve().parent)
    nothing = os.open(os.devnull, os.O_RDONLY)
    output = os.open(job["output"], os.O_WRONLY | os.O_CREAT)
    for stream, number in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(stream, number)


if __name__ == "__main__":
    for name in IMPORTED:
        importlib.import_module(name)
    # What lives here outlives the forks, which would copy it to collect it
    gc.collect()
    gc.freeze()
    job = take_job()
    enter(job)
    runpy.run_path(sys.argv[0], run_name="__main__")
