#!/usr/bin/env python3
"""Run a script with an engine: ``with_engine.py NAME train.py ...``."""

import runpy
import sys
from pathlib import Path

from audiomamba.ops import use_engine

if __name__ == "__main__":
    name, *sys.argv = sys.argv[1:]
    # In place of this folder, as if the script had been started itself.
    sys.path[0] = str(Path(sys.argv[0]).resolve().parent)
    with use_engine(name):
        runpy.run_path(sys.argv[0], run_name="__main__")
