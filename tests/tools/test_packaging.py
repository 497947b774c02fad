"""What an installed package contains, and what importing it costs."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import audiomamba

ROOT = Path(__file__).resolve().parents[2]
ROOMS = [
    "cli",
    "dataio",
    "inference",
    "lobes",
    "nnet",
    "ops",
    "pretrained",
    "training",
]


def run(*command, cwd=ROOT):
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=cwd,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_package_has_its_modules_stubs_and_type_marker(tmp_path):
    """`build_py` collects all that a wheel has besides metadata."""
    run("setup.py", "-q", "build_py", "--build-lib", tmp_path)
    built = {
        path.relative_to(tmp_path).as_posix()
        for path in tmp_path.rglob("*")
        if path.is_file()
    }
    package = ROOT / "audiomamba"
    wanted = {
        path.relative_to(ROOT).as_posix()
        for pattern in ("*.py", "*.pyi", "py.typed", "web/*")
        for path in package.rglob(pattern)
    }
    # The YAML of recipes/Custom, for an installation without the clone
    template = "audiomamba/cli/train.yaml"
    assert built == wanted | {template}
    recipe = ROOT / "recipes" / "Custom" / "hparams" / "aum_tiny.yaml"
    assert (tmp_path / template).read_bytes() == recipe.read_bytes()
    assert {"audiomamba/py.typed", "audiomamba/__init__.pyi"} <= built


def test_the_small_package_runs_without_the_large_one(tmp_path):
    """`audiomamba-lite` has all that its command imports, but no PyTorch."""
    run(
        "setup.py", "-q", "build_py", "--build-lib", tmp_path, cwd=ROOT / "lite"
    )
    built = {path.name for path in (tmp_path / "audiomamba").iterdir()}
    assert {"lite.py", "cli", "dataio", "__init__.pyi"} <= built
    assert not built & {"inference", "training", "nnet"}
    program = (
        "import sys\n"
        f"sys.path.insert(0, {str(tmp_path)!r})\n"
        "for name in ('torch', 'speechbrain', 'audiomamba.inference'):\n"
        "    sys.modules[name] = None\n"
        "from audiomamba.cli import model, tag\n"
        f"assert model.__file__.startswith({str(tmp_path)!r})\n"
        "import audiomamba.dataio.codecs.opening\n"
        "tag.main(['a.wav', '--model', 'exported'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert "takes a model in ONNX" in done.stderr, done.stderr
    version = run("setup.py", "--version", cwd=ROOT / "lite").strip()
    assert version == audiomamba.__version__


def test_the_version_is_defined_once():
    version = run("setup.py", "--version").strip()
    assert version == audiomamba.__version__


def test_importing_the_package_is_silent_and_does_not_load_torch(tmp_path):
    program = "import audiomamba, sys; print('torch' in sys.modules)"
    assert run("-W", "error", "-c", program).strip() == "False"


@pytest.mark.parametrize("room", ROOMS)
def test_a_subpackage_needs_no_further_import(room):
    program = f"import audiomamba; print(audiomamba.{room}.__name__)"
    assert run("-c", program).strip() == f"audiomamba.{room}"


@pytest.mark.parametrize("room", ["", ".inference", ".lobes", ".pretrained"])
def test_every_public_name_of_a_stub_exists(room):
    module = importlib.import_module(f"audiomamba{room}")
    for name in module.__all__:
        getattr(module, name)


def test_pre_commit_runs_the_checks_of_the_test_command():
    hooks = (ROOT / ".pre-commit-config.yaml").read_text()
    script = (ROOT / "tools" / "run_tests.sh").read_text().splitlines()
    entries = re.findall(r"entry: (.+)", hooks)
    assert len(entries) == 4
    assert set(entries) <= set(script)
