"""Every command of the tutorial, run in the order of the page."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "tutorial.md"
BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```", re.M | re.S)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """What each block of code prints, by its text."""
    folder = tmp_path_factory.mktemp("clone")
    for name in ("tools", "recipes"):
        (folder / name).symlink_to(ROOT / name)
    scripts = Path(sys.executable).parent
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
    }
    starts = {"bash": ["bash", "-euo", "pipefail", "-c"]}
    starts["python"] = [sys.executable, "-c"]
    found = {}
    for kind, code in BLOCK.findall(PAGE.read_text()):
        run = subprocess.run(
            [*starts[kind], code],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=600,
        )
        assert run.returncode == 0, f"{code}\n{run.stdout[-4000:]}"
        found[code] = run.stdout
    return found


def printed(outputs, part):
    """Output of the one block that has some text in it."""
    (code,) = (code for code in outputs if part in code)
    return outputs[code]


def numbers(text):
    found = re.findall(r"feature_(mean|std)[:= ]+(-?[\d.]+)", text)
    return {name: float(value) for name, value in found}


def test_the_statistics_are_those_of_the_page(outputs):
    computed = numbers(printed(outputs, "--output_folder results/mine/own \\"))
    assert set(computed) == {"mean", "std"}
    assert numbers(PAGE.read_text()) == pytest.approx(computed, abs=0.01)


def test_the_lists_have_four_columns(outputs):
    head = printed(outputs, "head -n 3 results/mine/data/train.csv")
    assert head.startswith("ID,duration,wav,label\n1-")


def test_one_command_makes_a_tagger(outputs):
    log = printed(outputs, "mine/first \\\n    --number_of_epochs 3")
    assert "patch_size: [128, 4]" in log and "epoch 3/3" in log
    tagged = printed(outputs, "--model results/mine/first")
    assert len(re.findall(r"^ +[\d.]+%  \w+$", tagged, re.M)) == 2
    tuned = printed(outputs, "--init_from results/mine/first")
    assert "classifier loaded: its class names are the data's" in tuned
    again = printed(outputs, "mine/first/train.yaml")
    assert "epoch 1/1" in again and "results/mine/second" in again


def test_the_second_run_starts_from_the_first(outputs):
    log = printed(outputs, "--init_from results/mine/own ")
    assert "mine/own/" in log and "tensors loaded" in log


def test_results_are_read_and_files_are_tagged(outputs):
    curve = printed(outputs, "train_log.txt")
    assert "epoch 3/3" in curve and "test (honest" in curve
    assert "'name': 'accuracy'" in printed(outputs, "json.load")
    tagged = printed(outputs, "--model results/mine/model ")
    assert len(re.findall(r"^ +[\d.]+%  \w+$", tagged, re.M)) == 3
    assert tagged.count('{"file"') == 8
    assert printed(outputs, "AudioTagger").count("', 0.") == 3
