"""Rules for the repository as a whole."""

import ast
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
FLOORS = [
    "ops",
    "nnet",
    "dataio",
    "lobes",
    "pretrained",
    "training",
    "inference",
    "cli",
]
SOURCES = ["audiomamba/*.py", "recipes/*.py", "tools/*.py"]


def tracked(*patterns):
    """Return the files that belong to the repository."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", *patterns],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    paths = [ROOT / line for line in listed.stdout.splitlines()]
    return sorted(path for path in paths if path.is_file())


def required():
    """Return the requirements that setup.py names, extras included."""
    tree = ast.parse((ROOT / "setup.py").read_text())
    call = next(
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and getattr(node.func, "id", "") == "setup"
    )
    arguments = {keyword.arg: keyword.value for keyword in call.keywords}
    extras = ast.literal_eval(arguments["extras_require"])
    named = ast.literal_eval(arguments["install_requires"])
    return [Requirement(r) for r in sum(extras.values(), named)]


def pinned():
    """Return the versions that the constraints pin, by name."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [Requirement(line) for line in lines if line and line[0] != "#"]
    return {
        pin.name.lower(): next(iter(pin.specifier)).version
        for pin in pins
        if str(pin.specifier).startswith("==")
    }


def test_pinned_versions_satisfy_the_requirements():
    pins = pinned()
    # Built from source on the user's machine, or needed for export only.
    unpinned = {"mamba-ssm", "causal-conv1d"}
    unpinned |= {"onnx", "onnx-ir", "onnxruntime", "onnxscript"}
    for requirement in required():
        name = requirement.name.lower()
        if name not in unpinned:
            assert pins[name] in requirement.specifier, requirement


def test_links_in_the_documentation_resolve():
    for page in tracked("*.md"):
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page}: {target}"


def test_no_file_contains_a_local_path():
    pattern = re.compile(r"""["'\s(](/work/|/home/\w|/root/|\.\./shared)""")
    for path in tracked("*.py", "*.md", "*.yaml", "*.sh", "*.toml"):
        if path != Path(__file__).resolve():
            found = pattern.search(path.read_text())
            assert found is None, f"{path}: {found[0] if found else ''}"


@pytest.mark.parametrize("script", tracked("*.sh", ".ci/run"), ids=str)
def test_shell_scripts_parse(script):
    subprocess.run(["bash", "-n", str(script)], check=True)


def imported(path):
    """Yield the modules that a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize("floor", FLOORS)
def test_a_floor_imports_only_from_floors_below(floor):
    above = FLOORS[FLOORS.index(floor) + 1 :]
    for path in tracked(f"audiomamba/{floor}/*.py"):
        for module in imported(path):
            parts = module.split(".")
            if parts[0] == "audiomamba" and len(parts) > 1:
                assert parts[1] not in above, f"{path} imports {module}"
            assert parts[0] not in ("recipes", "tools"), f"{path}: {module}"


def functions(path):
    """Yield the functions of a file, without kernels of Triton and Numba."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            decorators = " ".join(map(ast.unparse, node.decorator_list))
            if not re.search(r"\b(njit|triton\.jit)\b", decorators):
                yield node


def n_lines(function):
    """Count the lines of a function, without its docstring."""
    total = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function) is None:
        return total
    docstring = function.body[0]
    return total - (docstring.end_lineno - docstring.lineno + 1)


@pytest.mark.parametrize("pattern", SOURCES)
def test_files_have_400_lines_and_functions_60_at_most(pattern):
    for path in tracked(pattern):
        name = path.relative_to(ROOT).as_posix()
        length = len(path.read_text().splitlines())
        assert length <= 400, f"{name}: {length}"
        for function in functions(path):
            key, length = f"{name}:{function.name}", n_lines(function)
            assert length <= 60, f"{key}: {length}"


def test_a_folder_has_at_most_20_modules():
    folders = Counter(path.parent for path in tracked("audiomamba/*.py"))
    assert max(folders.values()) <= 20, folders.most_common(3)


def test_training_scripts_have_at_most_70_lines():
    scripts = tracked("recipes/*/train.py")
    assert len(scripts) >= 8
    for path in scripts:
        assert len(path.read_text().splitlines()) <= 70, path


def test_optional_packages_are_imported_only_where_used():
    program = """
import sys
import audiomamba.training.brain, audiomamba.lobes.audio_mamba
import audiomamba.dataio.pipeline, audiomamba.lobes.features
optional = {"transformers", "matplotlib", "mamba_ssm", "h5py", "onnx"}
print(sorted(optional & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True
    )
    assert done.stdout.strip().endswith("[]"), done.stdout + done.stderr


def test_setup_env_is_sourced_with_an_argument():
    """Sourced without arguments, a file sees those of the calling script."""
    calls = [
        line
        for path in tracked("*.sh", ".ci/run")
        for line in path.read_text().splitlines()
        if re.match(r"\s*source .*setup_env\.sh", line)
    ]
    assert len(calls) == 3
    for line in calls:
        assert re.search(r"setup_env\.sh (\S+)$", line), line


def test_the_quick_start_refuses_unknown_options():
    done = subprocess.run(
        ["bash", "tools/quickstart.sh", "--frsh"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and "--fresh" in done.stderr
