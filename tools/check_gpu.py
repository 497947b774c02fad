#!/usr/bin/env python3
"""Check everything on a GPU, and write one file to attach to an issue.

    bash tools/check_gpu.sh                 # installs, then calls this file
    python tools/check_gpu.py --device cpu  # the same on the CPU, to test it

It runs the operators' tests on the GPU; trains two epochs of a miniature with
every engine, in fp16 and bf16, compiled and on two GPUs if there are two, and
compares the losses with the CPU's; and measures the tables of
``tools/benchmark.py``.  What fails is recorded, and the rest goes on.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import torch
from benchmarking.report import provenance
from gpu_check.commands import ROOT, CheckError, Commands
from gpu_check.operators import check_operators
from gpu_check.tables import check_tables
from gpu_check.training import check_training

from audiomamba.dataio.files import write_json

CHECKS = {
    "operators": check_operators,
    "training": check_training,
    "tables": check_tables,
}


def _arguments(argv):
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--device", choices=["cuda", "cpu"], default="cuda")
    add("--only", nargs="+", choices=CHECKS, default=list(CHECKS))
    add("--minutes", type=float, default=15.0, help="for all (default: 15)")
    default = ROOT / "results" / "gpu_check.json"
    add("--out", type=Path, default=default, metavar="FILE")
    arguments = parser.parse_args(argv)
    if arguments.device == "cuda" and not torch.cuda.is_available():
        parser.error(
            "PyTorch finds no GPU here: check nvidia-smi, and that PyTorch is "
            f"built with CUDA (it is {torch.__version__})."
        )
    return arguments


def run_check(name, commands):
    """Run one check; return its part of the record."""
    started = time.monotonic()
    try:
        found = CHECKS[name](commands)
    except CheckError as error:
        found = {"faults": [str(error)]}
    seconds = round(time.monotonic() - started, 1)
    found = {"passed": not found["faults"], "seconds": seconds, **found}
    print(f"{'ok' if found['passed'] else 'FAILED':7}{name} ({seconds:.0f} s)")
    for fault in found["faults"]:
        print(fault, file=sys.stderr)
    return found


def main(argv=None):
    """Run the checks; the status is 1 if one fails."""
    arguments = _arguments(argv)
    record = {**provenance(arguments.device), "checks": {}}
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    print(f"On {record['machine']['name']}:", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        commands = Commands(arguments.device, scratch, 60 * arguments.minutes)
        for name in arguments.only:
            record["checks"][name] = run_check(name, commands)
            # After every check: a GPU may take the machine down with it.
            write_json(arguments.out, record)
    print(f"Attach this file to an issue: {arguments.out}")
    if not all(check["passed"] for check in record["checks"].values()):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
