"""Miniature corpora: exact layouts, the same bits, sounds that differ."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

TOOL = Path(__file__).parents[2] / "tools" / "make_mini_corpus.py"


def make(*arguments, fails=False):
    """Run the tool; its output, or its error if it has to fail."""
    run = subprocess.run(
        [sys.executable, TOOL, *map(str, arguments)],
        capture_output=True,
        text=True,
    )
    assert bool(run.returncode) == fails, run.stderr
    return run.stderr if fails else run.stdout


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def spectrum(path):
    """Mean log spectrum of a file in 256 bands, without its level."""
    samples, _ = soundfile.read(path)
    frames = np.lib.stride_tricks.sliding_window_view(samples, 1024)[::256]
    power = np.abs(np.fft.rfft(frames * np.hanning(1024), axis=1)) ** 2
    bands = np.log(power[:, 1:].reshape(len(power), 256, 2).sum(-1) + 1e-6)
    mean = bands.mean(axis=0)
    return mean - mean.mean()


def nearest(train, test):
    """Accuracy of the nearest class centroid; both are (label, path)."""
    labels = sorted({label for label, _ in train})
    centroids = np.array(
        [
            np.mean([spectrum(p) for name, p in train if name == label], axis=0)
            for label in labels
        ]
    )
    hits = [
        labels[np.linalg.norm(centroids - spectrum(path), axis=1).argmin()]
        == label
        for label, path in test
    ]
    return np.mean(hits)


@pytest.fixture(scope="module")
def voxceleb(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mini") / "voxceleb"
    make("VoxCeleb", folder, "--seconds", "1.5")
    return folder


def test_voxceleb_has_its_layout(voxceleb):
    lines = (voxceleb / "iden_split.txt").read_text().splitlines()
    assert len(lines) == 72
    form = re.compile(r"[123] id1000[1-6]/[\w-]{11}/0000[12]\.wav")
    assert all(form.fullmatch(line) for line in lines)
    splits = [line[0] for line in lines]
    assert [splits.count(split) for split in "123"] == [48, 12, 12]
    # a session is in one split, every speaker in all
    by_session, by_speaker = {}, {}
    for line in lines:
        speaker, session, _ = line[2:].split("/")
        by_session.setdefault(session, set()).add(line[0])
        by_speaker.setdefault(speaker, set()).add(line[0])
    assert all(len(found) == 1 for found in by_session.values())
    assert all(len(found) == 3 for found in by_speaker.values())
    listed = {line[2:] for line in lines}
    found = (voxceleb / "wav").rglob("*.wav")
    assert listed == {
        path.relative_to(voxceleb / "wav").as_posix() for path in found
    }
    for name in listed:
        info = soundfile.info(voxceleb / "wav" / name)
        assert (info.samplerate, info.channels) == (16000, 1)
        assert info.subtype == "PCM_16" and 1.0 <= info.duration <= 2.0


def test_voxceleb_speakers_sound_different(voxceleb):
    lines = (voxceleb / "iden_split.txt").read_text().splitlines()
    clips = [
        (line[0], (line[2:9], voxceleb / "wav" / line[2:])) for line in lines
    ]
    train = [clip for split, clip in clips if split == "1"]
    test = [clip for split, clip in clips if split != "1"]
    assert nearest(train, test) >= 0.8


@pytest.mark.parametrize(
    ("name", "n_speakers"),
    [
        ("veri_test2.txt", 2),
        ("list_test_all2.txt", 6),
        ("list_test_hard2.txt", 6),
    ],
)
def test_voxceleb_trials(voxceleb, name, n_speakers):
    trials = [
        line.split() for line in (voxceleb / name).read_text().splitlines()
    ]
    for label, first, second in trials:
        assert (voxceleb / "wav" / first).is_file()
        assert (voxceleb / "wav" / second).is_file()
        assert first != second
        assert label == str(int(first[:7] == second[:7]))
    labels = [label for label, _, _ in trials]
    assert labels.count("1") == labels.count("0") > 0
    assert len({first[:7] for _, first, _ in trials}) == n_speakers


def test_the_same_options_give_the_same_bits(tmp_path):
    options = ["--n_speakers", 2, "--n_utterances", 6, "--seconds", 0.3]
    options = ["VoxCeleb", "--broken", *options]
    for name, more in (("a", []), ("b", []), ("c", ["--seed", 1])):
        make(*options, tmp_path / name, *more)
    a, b, c = (contents(tmp_path / name) for name in "abc")
    assert a == b
    assert a["iden_split.txt"] != c["iden_split.txt"]


def test_what_is_broken_is_listed(tmp_path):
    output = make(
        "VoxCeleb", tmp_path / "mini", "--broken",
        "--n_speakers", 2, "--n_utterances", 6, "--seconds", 0.5,
    )  # fmt: skip
    broken = [line for line in output.splitlines() if "broken: " in line]
    listed = (tmp_path / "mini" / "iden_split.txt").read_text()
    for line in broken:
        name = re.search(r"id\d+/\w+/\d+\.wav", line)[0]
        assert name in listed
    for what in (
        "empty file", "cut short", "two channels", "half the sampling rate",
        "text file", "no such file", "speaker without files", "no such split",
        "NaN",
    ):  # fmt: skip
        assert any(what in line for line in broken), what


def test_a_folder_is_never_overwritten(tmp_path):
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


def test_an_interrupted_making_goes_on(tmp_path):
    options = ["--n_speakers", 2, "--n_utterances", 6, "--seconds", 0.3]
    mini = tmp_path / "mini"
    make("VoxCeleb", mini, *options)
    whole = contents(mini)
    marker = mini / ".mini_corpus.json"
    marker.write_text(marker.read_text().replace("true}", "false}"))
    (mini / "iden_split.txt").unlink()
    assert "Made" in make("VoxCeleb", mini, *options)
    assert contents(mini) == whole


def test_too_small_a_corpus_is_refused(tmp_path):
    error = make("VoxCeleb", tmp_path / "mini", "--n_speakers", 1, fails=True)
    assert "1 speakers" in error and "Traceback" not in error
