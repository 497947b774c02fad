"""Miniature corpora are reproducible, and overwrite nothing."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[2] / "tools" / "make_mini_corpus.py"


# corpus -> options that make it small
SMALL = {
    "AudioSet": ["--n_balanced", 3, "--n_eval", 1, "--seconds", 0.5],
    "EPIC-Sounds": ["--n_train", 1, "--n_valid", 1, "--n_test", 1],
    "ESC50": ["--n_clips", 2, "--seconds", 0.5],
    "SpeechCommands": ["--n_speakers", 3, "--n_takes", 1],
    "VGGSound": ["--n_train", 2, "--n_test", 1, "--seconds", 0.5],
    "VoxCeleb": ["--n_speakers", 2, "--n_utterances", 6, "--seconds", 0.3],
}


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("corpus", SMALL)
def test_the_same_options_give_the_same_bits(make, tmp_path, corpus):
    options = [corpus, "--broken", *SMALL[corpus]]
    outputs = [
        make(*options, *more, tmp_path / name)
        for name, more in (("a", []), ("b", []), ("c", ["--seed", 1]))
    ]
    a, b, c = (contents(tmp_path / name) for name in "abc")
    assert a == b and a != c
    # Bad entries are listed, and the files they name exist.
    broken = [line for line in outputs[0].splitlines() if "broken: " in line]
    assert len(broken) >= 7
    for line in broken:
        name = line.split(": ")[1]
        assert name in a, line


def test_bad_entries_are_listed(make, tmp_path):
    output = make(
        "VoxCeleb", tmp_path / "mini", "--broken",
        "--n_speakers", 2, "--n_utterances", 6, "--seconds", 0.5,
    )  # fmt: skip
    broken = [line for line in output.splitlines() if "broken: " in line]
    listed = (tmp_path / "mini" / "iden_split.txt").read_text()
    assert len(broken) == 10
    for line in broken:
        name = re.search(r"id\d+/\w+/\d+\.wav", line)[0]
        assert name in listed
    for what in (
        "empty file", "cut short", "two channels", "half the sampling rate",
        "text file", "no such file", "speaker without files", "no such split",
        "NaN",
    ):  # fmt: skip
        assert any(what in line for line in broken), what


def test_a_folder_is_never_overwritten(make, tmp_path):
    options = ["--n_speakers", 2, "--n_utterances", 6, "--seconds", 0.3]
    mini = tmp_path / "mini"
    make("VoxCeleb", mini, *options)
    before = contents(mini)
    assert "is there" in make("VoxCeleb", mini, *options)
    error = make("VoxCeleb", mini, "--seed", 1, *options, fails=True)
    assert "other options" in error and str(mini) in error
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("precious")
    assert "not empty" in make("VoxCeleb", other, fails=True)
    assert "is a file" in make("VoxCeleb", other / "thesis.txt", fails=True)
    assert contents(mini) == before and len(contents(other)) == 1


def test_esc50_may_have_a_hyphen(make, tmp_path):
    mini = tmp_path / "mini"
    assert "ESC50" in make("ESC-50", mini, *SMALL["ESC50"])
    marker = mini / ".mini_corpus.json"
    marker.write_text(marker.read_text().replace("ESC50", "ESC-50"))
    assert "is there" in make("ESC50", mini, *SMALL["ESC50"])


def test_an_interrupted_call_resumes(make, tmp_path):
    options = ["--n_speakers", 2, "--n_utterances", 6, "--seconds", 0.3]
    mini = tmp_path / "mini"
    make("VoxCeleb", mini, *options)
    whole = contents(mini)
    marker = mini / ".mini_corpus.json"
    marker.write_text(marker.read_text().replace("true}", "false}"))
    (mini / "iden_split.txt").unlink()
    assert "Made" in make("VoxCeleb", mini, *options)
    assert contents(mini) == whole


@pytest.mark.parametrize(
    "options",
    [
        ["VoxCeleb", "--n_speakers", 1],
        ["VoxCeleb", "--n_utterances", 5],
        ["SpeechCommands", "--n_speakers", 2],
        ["EPIC-Sounds", "--seconds", 9],
    ],
)
def test_too_small_a_corpus_is_refused(make, tmp_path, options):
    mini = tmp_path / "mini"
    assert " too " in make(*options, mini, fails=True)
    # The next try starts from an empty place.
    assert "Made" in make(options[0], mini, *SMALL[options[0]])


def test_the_command_line_makes_a_corpus_and_explains_errors(tmp_path):
    def run(*arguments):
        return subprocess.run(
            [sys.executable, TOOL, "VoxCeleb", *map(str, arguments)],
            capture_output=True,
            check=False,
            text=True,
            cwd=tmp_path,
        )

    done = run(*SMALL["VoxCeleb"], "mini")
    assert done.returncode == 0 and "Made a miniature VoxCeleb" in done.stdout
    refused = run("mini")
    assert refused.returncode == 1 and refused.stdout == ""
    assert refused.stderr.startswith("make_mini_corpus.py: mini holds a mini")
