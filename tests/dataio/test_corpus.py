"""Listing and measuring the audio files of a corpus."""

import os
import warnings

import numpy as np
import pandas as pd
import pytest
import soundfile

from audiomamba.dataio.corpora.corpus import (
    list_audio,
    measure,
    read_headers,
    stat_audio,
)
from audiomamba.dataio.problems import Problems


@pytest.fixture
def corpus(tmp_path):
    """Write files of 0.01, 0.02, ... 0.05 s in two folders."""
    for index in range(1, 6):
        path = tmp_path / f"{index % 2}" / f"{index}.wav"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, np.zeros(160 * index), 16000)
    return tmp_path


def test_the_list_has_all_audio_files_sorted_and_nothing_else(corpus):
    (corpus / "0" / "notes.txt").write_text("no audio")
    (corpus / "0" / "folder.wav").mkdir()
    listed = list_audio(corpus)
    assert listed["wav"].tolist() == [
        "0/2.wav", "0/4.wav", "1/1.wav", "1/3.wav", "1/5.wav",
    ]  # fmt: skip
    assert (listed["size"] > 0).all() and (listed["mtime"] > 0).all()
    assert list_audio(corpus, ["1"])["wav"].tolist() == [
        "1/1.wav", "1/3.wav", "1/5.wav",
    ]  # fmt: skip


def test_links_are_followed_but_loops_are_not(corpus, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    soundfile.write(elsewhere / "far.wav", np.zeros(160), 16000)
    os.symlink(elsewhere, corpus / "linked")
    os.symlink(corpus, corpus / "0" / "circle")
    listed = list_audio(corpus)["wav"].tolist()
    assert "linked/far.wav" in listed and len(listed) == 6


def test_names_that_a_manifest_cannot_hold_are_listed_problems(corpus):
    here = os.fsencode(str(corpus / "0"))
    for name in (b"caf\xe9.wav", b"two\nlines.wav"):
        with open(here + b"/" + name, "wb"):
            pass
    (corpus / " blank").mkdir()
    (corpus / " blank" / "6.wav").touch()
    problems = Problems()
    assert len(list_audio(corpus, problems=problems)) == 5
    assert len(problems.messages) == 3
    assert any(
        "caf\\xe9.wav: its name is not UTF-8" in m for m in problems.messages
    )
    assert len(list_audio(corpus)) == 5


def test_folders_that_may_not_be_listed_are_problems(corpus, monkeypatch):
    scandir = os.scandir

    def refuse(folder):
        if os.path.basename(folder) == "0":
            raise PermissionError(13, "Permission denied", folder)
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    problems = Problems()
    listed = list_audio(corpus, problems=problems)
    assert listed["wav"].tolist() == ["1/1.wav", "1/3.wav", "1/5.wav"]
    (message,) = problems.messages
    assert f"{corpus}/0: cannot be read (Permission denied)" in message


def test_what_systems_add_to_disks_and_archives_is_left_out(corpus):
    for name in (
        "__MACOSX/0/._2.wav",
        "0/._2.wav",
        "lost+found/7.wav",
        ".x/8.wav",
    ):
        (corpus / name).parent.mkdir(parents=True, exist_ok=True)
        (corpus / name).write_bytes(b"1234")
    assert len(list_audio(corpus)) == 5


def test_files_known_by_name_are_looked_up(corpus):
    found = stat_audio(corpus, ["1/3.wav", "none.wav", "1/1.wav", "1/3.wav"])
    listed = list_audio(corpus, ["1"])[:2]
    pd.testing.assert_frame_equal(found, listed)
    assert stat_audio(corpus, []).empty


def segments(*parts):
    table = pd.DataFrame(parts, columns=["wav", "start", "stop"])
    return table.assign(ID=table.index.astype(str), split="train")


def test_parts_of_files_have_their_own_durations(corpus):
    rows = segments(
        ("1/5.wav", 0, 400), ("1/5.wav", 400, -1), ("0/2.wav", 0, -1)
    )
    problems = Problems()
    kept = measure(rows, corpus, problems)
    assert kept["duration"].tolist() == [0.025, 0.025, 0.02]
    assert not problems.messages


@pytest.mark.parametrize(
    "start, stop", [(0, 99999), (500, 100), (-5, 100), (100, 100), (800, -1)]
)
def test_parts_that_a_file_does_not_have_are_reported(corpus, start, stop):
    rows = segments(("1/5.wav", 0, 400), ("1/5.wav", start, stop))
    problems = Problems()
    assert measure(rows, corpus, problems)["ID"].tolist() == ["0"]
    (message,) = problems.messages
    assert f"from sample {start} to {stop}, but the file has 800" in message
    assert problems.lost == {"train": 1}


def test_a_damaged_file_is_read_and_reported_once(corpus, monkeypatch):
    (corpus / "1" / "5.wav").write_bytes(b"no sound")
    rows = segments(
        *[("1/5.wav", 0, n) for n in (10, 20, 30)], ("1/1.wav", 0, -1)
    )
    problems = Problems()
    assert len(measure(rows, corpus, problems)) == 1
    assert len(problems.messages) == 1 and problems.lost == {"train": 3}


def test_an_empty_folder_gives_an_empty_list(tmp_path):
    assert len(list_audio(tmp_path)) == 0


def test_headers_keep_their_order_with_any_number_of_threads(
    corpus, monkeypatch
):
    # more files than one task reads
    wavs = ["1/1.wav", "1/3.wav", "0/2.wav"] * 400
    for n_threads in (1, 5):
        monkeypatch.setattr(
            "audiomamba.dataio.corpora.corpus._THREADS", n_threads
        )
        headers, errors = read_headers(corpus, wavs)
        assert not errors
        assert headers["n_frames"].tolist() == [160, 480, 320] * 400


def test_measuring_adds_durations_and_drops_the_reported_files(corpus):
    (corpus / "1" / "3.wav").write_bytes(b"")
    soundfile.write(corpus / "1" / "5.wav", np.zeros((80, 2)), 8000)
    wavs = list_audio(corpus)["wav"].tolist()
    rows = pd.DataFrame({"wav": wavs, "split": ["train"] * 3 + ["test"] * 2})
    problems = Problems()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kept = measure(rows, corpus, problems, sample_rate=16000, channels=1)
    assert kept["wav"].tolist() == ["0/2.wav", "0/4.wav", "1/1.wav"]
    assert kept["duration"].tolist() == [0.02, 0.04, 0.01]
    assert problems.lost == {"test": 2}
    empty, foreign = problems.messages
    assert "3.wav: is empty" in empty
    assert "2 channels" in foreign and "8000 Hz" in foreign
    assert "ffmpeg -i 5.wav -ac 1 -ar 16000" in foreign


def test_any_format_is_accepted_by_default(corpus):
    soundfile.write(corpus / "1" / "5.wav", np.zeros((80, 2)), 8000)
    rows = pd.DataFrame({"wav": ["1/5.wav"], "split": ["train"]})
    problems = Problems()
    assert len(measure(rows, corpus, problems)) == 1
    assert not problems.messages


def test_clips_shorter_than_a_frame_are_named(tmp_path, caplog):
    for name, n_samples in (("a", 100), ("b", 200), ("c", 8000)):
        wave = np.zeros(n_samples)
        soundfile.write(tmp_path / f"{name}.wav", wave, 8000)
    rows = pd.DataFrame({"wav": ["a.wav", "b.wav", "c.wav"], "split": "train"})
    problems = Problems()
    assert len(measure(rows, tmp_path, problems)) == 3
    assert not problems.messages
    (warning,) = caplog.messages
    assert warning.startswith("1 clip is shorter than a frame of 25 ms: a.wav")
