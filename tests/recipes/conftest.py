"""Running recipes and tools as users do, on miniature corpora."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parents[2]


def _command(script, *arguments, cwd, fails=False):
    """Run a script; its output, both streams together."""
    # one thread: on few cores, small models are faster so
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        [sys.executable, str(script), *map(str, arguments)],
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    assert (run.returncode != 0) == fails, run.stdout[-4000:]
    return run.stdout


@pytest.fixture(scope="session")
def make_corpus(tmp_path_factory):
    """Make a miniature: dataset, options -> its folder and the output."""

    def make(dataset, **options):
        folder = tmp_path_factory.mktemp("corpus") / dataset
        flags = []
        for name, value in options.items():
            flags += [f"--{name}"] if value is True else [f"--{name}", value]
        tool = ROOT / "tools" / "make_mini_corpus.py"
        output = _command(tool, dataset, folder, *flags, cwd=ROOT)
        return SimpleNamespace(folder=folder, output=output)

    return make


@pytest.fixture(scope="session")
def run_recipe():
    """Start a recipe's script: folder, arguments, overrides -> its output."""

    def run(recipe, *arguments, script="train.py", fails=False, **overrides):
        flags = [f"--{name}={value}" for name, value in overrides.items()]
        return _command(
            script,
            *arguments,
            "--device=cpu",
            "--noprogressbar",
            *flags,
            cwd=ROOT / "recipes" / recipe,
            fails=fails,
        )

    return run


@pytest.fixture(scope="session")
def read_results():
    """Output folder -> its ``results.json``."""
    return lambda folder: json.loads(Path(folder, "results.json").read_text())


@pytest.fixture(scope="session")
def load_script():
    """Import a recipe's script: folder, name without suffix -> module."""

    def load(recipe, name):
        path = ROOT / "recipes" / recipe / f"{name}.py"
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load
