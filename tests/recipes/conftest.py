"""Running recipes and tools as users do, on miniature corpora."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import soundfile

ROOT = Path(__file__).parents[2]
TORCHRUN = Path(sys.executable).with_name("torchrun")
# A model and a training that take seconds on a CPU.
TINY = {
    "embedding_model": "{embed_dim: 32, depth: 1, drop_path: 0.0}",
    "classifier": "{input_size: 32}",
    "number_of_epochs": 2,
    "batch_size": 8,
    "num_workers": 1,
    "lr": 0.003,
}


@pytest.fixture(scope="session")
def run_script(tmp_path_factory):
    """Run a script: its path, arguments, cwd -> its output, both streams."""
    output = tmp_path_factory.mktemp("script") / "output.txt"
    server = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("script_server.py"))],
        # small models are fastest with one thread when there are few cores
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def run(script, *arguments, cwd, fails=False):
        output.write_bytes(b"")
        job = {
            "arguments": [str(script), *map(str, arguments)],
            "cwd": str(cwd),
            "output": str(output),
        }
        print(json.dumps(job), file=server.stdin, flush=True)
        status = int(server.stdout.readline())
        text = output.read_text(encoding="utf-8")
        assert (status != 0) == fails, text[-4000:]
        return text

    with server:
        yield run
        server.stdin.close()


@pytest.fixture(scope="session")
def make_corpus(tmp_path_factory, run_script):
    """Make a miniature corpus: dataset, options -> folder, broken entries."""

    def make(dataset, **options):
        folder = tmp_path_factory.mktemp("corpus") / dataset
        flags = []
        for name, value in options.items():
            flags += [f"--{name}"] if value is True else [f"--{name}", value]
        tool = ROOT / "tools" / "make_mini_corpus.py"
        lines = run_script(tool, dataset, folder, *flags, cwd=ROOT).splitlines()
        broken = [
            line.removeprefix("broken: ")
            for line in lines
            if line.startswith("broken: ")
        ]
        return SimpleNamespace(folder=folder, broken=broken)

    return make


@pytest.fixture(scope="session")
def run_recipe(run_script):
    """Run a recipe's script: recipe, arguments, overrides -> its output."""

    def run(recipe, *arguments, script="train.py", fails=False, **overrides):
        flags = [f"--{name}={value}" for name, value in overrides.items()]
        return run_script(
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
def make_start(run_recipe):
    """Bind a recipe to a corpus and to the settings of a tiny model.

    What it returns starts the recipe: output folder, name of the YAML, flags,
    overrides -> its output.
    """

    def make_start(recipe, corpus, **settings):
        def start(output_folder, hparams, *flags, **overrides):
            folders = {"data_folder": corpus, "output_folder": output_folder}
            options = {**TINY, **settings, **folders, **overrides}
            return run_recipe(
                recipe, f"hparams/{hparams}.yaml", *flags, **options
            )

        return start

    return make_start


@pytest.fixture(scope="module")
def trained(start, tmp_path_factory):
    """Output folder and log of the paper's recipe with a small model."""
    folder = tmp_path_factory.mktemp("run")
    return folder, start(folder, "aum_base")


@pytest.fixture
def check_second_start(start, trained, tmp_path):
    """Check which manifests a second run writes.

    In the folder of ``trained`` it reuses them; in another folder, with
    another seed, it writes the same bytes.
    """

    def check(hparams, *names, **overrides):
        folder, output = trained
        assert "Wrote manifests" in output
        before = os.stat(folder / "manifests" / "train.csv").st_ino
        again = start(folder, "aum_base", "--test_only")
        assert "Nothing has changed: using the manifests" in again
        assert os.stat(folder / "manifests" / "train.csv").st_ino == before
        overrides = {"number_of_epochs": 1, "seed": 7, **overrides}
        start(tmp_path, hparams, **overrides)
        for name in names:
            first = (folder / "manifests" / f"{name}.csv").read_bytes()
            assert (tmp_path / f"manifests/{name}.csv").read_bytes() == first

    return check


@pytest.fixture
def run_without_corpus(run_recipe, tmp_path):
    """Run a recipe without its corpus and return the explanation."""

    def run(recipe, data_folder, hparams="aum_tiny", **options):
        output = run_recipe(
            recipe,
            f"hparams/{hparams}.yaml",
            data_folder=data_folder,
            output_folder=tmp_path / "out",
            fails=True,
            **options,
        )
        assert f"make_mini_corpus.py {recipe}" in output
        assert "Traceback" not in output
        return output

    return run


@pytest.fixture(scope="session")
def read_results():
    """Output folder -> its ``results.json``."""
    return lambda folder: json.loads(Path(folder, "results.json").read_text())


@pytest.fixture(scope="session")
def load_script():
    """Import a recipe's script: recipe, name without suffix -> module."""

    def load(recipe, name):
        path = ROOT / "recipes" / recipe / f"{name}.py"
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture(scope="session")
def write_tones():
    """Write tones of two pitches in noise, and the lists of recipes/Custom."""

    def write(folder, n_train, seconds, ending):
        generator = np.random.default_rng(0)
        rows = []
        for number in range(n_train + 8):
            times = np.arange(round(16000 * seconds)) / 16000
            wave = np.sin(2 * np.pi * (300, 2500)[number % 2] * times)
            wave = 0.2 * wave + 0.1 * generator.standard_normal(len(times))
            name = f"{number:02}.{ending}"
            soundfile.write(folder / name, wave, 16000)
            rows.append((f"{number:02}", seconds, name, number % 2))
        table = pd.DataFrame(rows, columns=["ID", "duration", "wav", "label"])
        table[:n_train].to_csv(folder / "train.csv", index=False)
        table[n_train:-4].to_csv(folder / "valid.csv", index=False)
        table[-4:].to_csv(folder / "test.csv", index=False)

    return write
