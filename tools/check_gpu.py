#!/usr/bin/env python3
"""Check everything on a GPU, and write one file to attach to an issue.

    bash tools/check_gpu.sh                 # installs, then calls this file
    bash tools/check_gpu.sh --device cpu    # small, on the CPU, to test itself

It runs the operators' tests on the GPU; trains two epochs of a miniature with
every engine, in fp16 and bf16, compiled and on two GPUs if there are two, and
compares the losses with the CPU's; and measures the tables of
``tools/benchmark.py``.  A part that fails is recorded, and the rest goes on.
"""

import argparse
import sys
import tempfile
import time
import traceback
from pathlib import Path

import torch
from benchmarking.report import provenance
from gpu_check.commands import ROOT, CheckError, Commands
from gpu_check.operators import operator_parts
from gpu_check.tables import table_parts
from gpu_check.training import training_parts

from audiomamba.dataio.files import write_json
from audiomamba.ops import available_engines

# Each returns its parts: name -> a function that returns what it finds.
CHECKS = {
    "operators": operator_parts,
    "training": training_parts,
    "tables": table_parts,
}


def _arguments(argv):
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--device", choices=["cuda", "cpu"], default="cuda")
    add("--only", nargs="+", choices=CHECKS, default=list(CHECKS))
    add("--minutes", type=float, default=30.0, help="for all (default: 30)")
    default = ROOT / "results" / "gpu_check.json"
    add("--out", type=Path, default=default, metavar="FILE")
    arguments = parser.parse_args(argv)
    if arguments.device == "cuda" and not torch.cuda.is_available():
        parser.error(
            "PyTorch finds no GPU here: check nvidia-smi, and that PyTorch is "
            f"built with CUDA (it is {torch.__version__})."
        )
    return arguments


def run_part(run):
    """Run one part of a check; return what the record keeps of it."""
    started = time.monotonic()
    try:
        part = {"ok": True, **run()}
    except CheckError as error:
        part = {"ok": False, "fault": str(error), **error.found}
    except Exception:
        part = {"ok": False, "fault": traceback.format_exc()}
    return {**part, "seconds": round(time.monotonic() - started, 1)}


def main(argv=None):
    """Run the checks; the status is 1 if a part fails."""
    arguments = _arguments(argv)
    device = arguments.device
    record = {
        **provenance(device),
        "engines": available_engines(device),
        "failed": [],
        "checks": {},
    }
    print(f"On {record['machine']['name']}:", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        commands = Commands(device, scratch, 60 * arguments.minutes)
        for check in arguments.only:
            parts = record["checks"][check] = {}
            for name, run in CHECKS[check](commands).items():
                part = parts[name] = run_part(run)
                shown = f"{check}, {name} ({part['seconds']:.0f} s)"
                print("ok    " if part["ok"] else "FAILED", shown, flush=True)
                if not part["ok"]:
                    record["failed"].append(f"{check}, {name}")
                    print(part["fault"], file=sys.stderr)
                # After every part: a GPU may take the machine down with it.
                write_json(arguments.out, record)
    print(f"Attach this file to an issue: {arguments.out}")
    if record["failed"]:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
