"""VoxCeleb's preparation: every layout, and every problem reported."""

import logging
import os
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audiomamba.dataio.manifest import read_labels, read_manifest
from audiomamba.dataio.problems import PreparationError

RECIPE = Path(__file__).parents[2] / "recipes" / "VoxCeleb"
SPLITS = ("train", "valid", "test")
NAMES = [
    f"id1000{speaker}/{session}/{number:05d}.wav"
    for speaker in (1, 2, 3)
    for session in ("-trainvideo", "validvideo_", "test-video-")
    for number in (1, 2)
]


@pytest.fixture(scope="module")
def prepare(load_script):
    return load_script("VoxCeleb", "voxceleb_prepare").prepare_voxceleb


def write_list(folder, extra=()):
    sessions = {"-trainvideo": 1, "validvideo_": 2, "test-video-": 3}
    lines = [f"{sessions[name.split('/')[1]]} {name}" for name in NAMES]
    lines += extra
    (folder / "iden_split.txt").write_text("\n".join(lines) + "\n")


@pytest.fixture
def corpus(tmp_path):
    """Write 18 utterances of 3 speakers, 0.1 to 0.28 s long."""
    folder = tmp_path / "corpus"
    for index, name in enumerate(NAMES):
        path = folder / "wav" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.zeros(1600 + 160 * index), 16000)
    write_list(folder)
    return folder


def manifests(folder):
    return {
        name: (folder / name).read_bytes()
        for name in ("train.csv", "valid.csv", "test.csv", "labels.csv")
    }


def test_manifests_of_the_corpus(prepare, corpus, tmp_path):
    prepare(corpus, tmp_path / "save")
    for split in SPLITS:
        table = read_manifest(tmp_path / "save" / f"{split}.csv")
        assert len(table) == 6
        assert table["wav"].tolist() == [f"wav/{i}.wav" for i in table["ID"]]
        assert table["label"].tolist() == [i[:7] for i in table["ID"]]
        assert table["ID"].str.contains(split).all()
    first = read_manifest(tmp_path / "save" / "train.csv").iloc[0]
    assert first["ID"] == "id10001/-trainvideo/00001"
    assert first["duration"] == 0.1
    labels = read_labels(tmp_path / "save" / "labels.csv")
    assert labels == ["id10001", "id10002", "id10003"]


@pytest.mark.parametrize("inner", ["wav", ""])
def test_dev_and_test_folders_may_be_side_by_side(
    prepare, corpus, tmp_path, inner
):
    for part, speakers in (
        ("dev", ("id10001", "id10002")),
        ("test", ("id10003",)),
    ):
        for speaker in speakers:
            target = corpus / f"vox1_{part}_wav" / inner / speaker
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(corpus / "wav" / speaker, target)
    (corpus / "wav").rmdir()
    prepare(corpus, tmp_path / "save")
    for split in SPLITS:
        table = read_manifest(tmp_path / "save" / f"{split}.csv")
        assert len(table) == 6
        assert all((corpus / wav).is_file() for wav in table["wav"])


def test_dev_and_test_may_have_a_folder_wav_each(prepare, corpus, tmp_path):
    for part, speaker in (("dev", "id10001"), ("test", "id10003")):
        (corpus / part / "wav").mkdir(parents=True)
        shutil.move(corpus / "wav" / speaker, corpus / part / "wav" / speaker)
    prepare(corpus, tmp_path / "save")
    table = read_manifest(tmp_path / "save" / "train.csv")
    roots = {wav.split("/id")[0] for wav in table["wav"]}
    assert len(table) == 6 and roots == {"dev/wav", "wav", "test/wav"}


def test_a_list_with_a_byte_order_mark_is_read_whole(prepare, corpus, tmp_path):
    prepare(corpus, tmp_path / "one")
    text = (corpus / "iden_split.txt").read_text()
    (corpus / "iden_split.txt").write_text(text, encoding="utf-8-sig")
    prepare(corpus, tmp_path / "two")
    assert manifests(tmp_path / "one") == manifests(tmp_path / "two")


def test_m4a_is_named_with_the_command(prepare, corpus, tmp_path):
    for path in corpus.rglob("*.wav"):
        path.rename(path.with_suffix(".m4a"))
    complaint = "18 .m4a files.*ffmpeg -i .* -ar 16000 -ac 1"
    with pytest.raises(PreparationError, match=complaint):
        prepare(corpus, tmp_path / "save")


def test_a_file_of_nearly_the_listed_name_is_hinted_at(
    prepare, corpus, tmp_path
):
    path = corpus / "wav" / NAMES[0]
    path.rename(path.with_suffix(".WAV"))
    with pytest.raises(PreparationError, match=r"\(is it .*00001.WAV\?\)"):
        prepare(corpus, tmp_path / "save")


def test_manifests_do_not_depend_on_order_path_or_random_state(
    prepare, corpus, tmp_path, monkeypatch
):
    prepare(corpus, tmp_path / "one")
    lines = (corpus / "iden_split.txt").read_text().splitlines()
    random.Random(1).shuffle(lines)
    moved = tmp_path / "elsewhere"
    shutil.copytree(corpus, moved)
    (moved / "iden_split.txt").write_text("\r\n".join(lines) + "\r\n\r\n")
    scandir = os.scandir

    class Reversed:
        def __init__(self, folder):
            with scandir(folder) as entries:
                self.entries = sorted(entries, key=lambda e: e.name)[::-1]

        def __enter__(self):
            return iter(self.entries)

        def __exit__(self, *error):
            pass

    monkeypatch.setattr(os, "scandir", Reversed)
    np.random.seed(5)
    prepare(moved, tmp_path / "two")
    assert manifests(tmp_path / "one") == manifests(tmp_path / "two")


def test_manifests_are_reused_until_something_changes(
    prepare, corpus, tmp_path
):
    save = tmp_path / "save"

    def changed(**options):
        before = os.stat(save / "train.csv").st_ino
        prepare(corpus, save, **options)
        return os.stat(save / "train.csv").st_ino != before

    prepare(corpus, save)
    assert not changed()
    assert changed(allow_missing=True)
    assert changed()
    # same size and duration, other content
    path = corpus / "wav" / NAMES[0]
    soundfile.write(path, np.full(1600, 0.5), 16000)
    assert changed()
    write_list(corpus, extra=["", ""])
    assert changed()
    (save / "valid.csv").unlink()
    assert changed() and (save / "valid.csv").exists()
    (corpus / "notes.txt").write_text("no input")
    assert not changed()


def test_skip_prep_does_nothing(prepare, tmp_path):
    prepare(tmp_path / "none", tmp_path / "save", skip_prep=True)
    assert not (tmp_path / "save").exists()


def test_a_missing_corpus_says_where_to_get_it(
    prepare, corpus, tmp_path, monkeypatch
):
    monkeypatch.chdir(RECIPE)
    with pytest.raises(PreparationError) as caught:
        prepare("no_such_folder", tmp_path / "save")
    message = str(caught.value)
    assert "there is no folder no_such_folder" in message
    assert "https://www.robots.ox.ac.uk/~vgg/data/voxceleb/" in message
    assert "wav/<speaker>/<session>/<utterance>.wav" in message
    command = "python ../../tools/make_mini_corpus.py VoxCeleb no_such_folder"
    assert command in message
    assert (RECIPE / command.split()[1]).is_file()
    (corpus / "iden_split.txt").unlink()
    with pytest.raises(PreparationError, match="no file .*iden_split.txt"):
        prepare(corpus, tmp_path / "save")
    with pytest.raises(PreparationError, match="has no wav, vox1_dev_wav"):
        prepare(corpus / "wav", tmp_path / "save")


@pytest.fixture
def broken_corpus(corpus):
    """Add six bad files and five bad lines; 12 good utterances remain."""
    bad = corpus / "wav" / "id10001"
    (bad / "-trainvideo" / "00001.wav").write_bytes(b"")
    path = bad / "-trainvideo" / "00002.wav"
    path.write_bytes(path.read_bytes()[:1000])
    soundfile.write(bad / "validvideo_" / "00001.wav", np.zeros((9, 2)), 16000)
    soundfile.write(bad / "validvideo_" / "00002.wav", np.zeros(99), 8000)
    (bad / "test-video-" / "00001.wav").write_text("no longer available")
    (bad / "test-video-" / "00002.wav").unlink()
    write_list(
        corpus,
        extra=[
            "1 id10009/novideo/00001.wav",
            "3 id10009/novideo/00002.wav",
            "4 id10002/-trainvideo/00001.wav",
            "1 id10002/../../secret.wav",
            f"3 {NAMES[-1]}",
        ],
    )
    return corpus


def test_all_problems_are_named_at_once(prepare, broken_corpus, tmp_path):
    with pytest.raises(PreparationError) as caught:
        prepare(broken_corpus, tmp_path / "save")
    message = str(caught.value)
    assert message.startswith("10 problems with the data:")
    expected = [
        "-trainvideo/00001.wav: is empty (0 bytes); download",
        "-trainvideo/00002.wav: truncated",
        "validvideo_/00001.wav: has 2 channels instead of 1",
        "validvideo_/00002.wav: has 8000 Hz instead of 16000 Hz",
        "test-video-/00001.wav: is not an audio file",
        "test-video-/00002.wav: listed, but not in",
        "id10009: none of its 2 listed files is in",
        "'4 id10002/-trainvideo/00001.wav' is not of the form",
        "'1 id10002/../../secret.wav' is not of the form",
        f"{NAMES[-1]} is listed in another line too",
    ]
    assert [text for text in expected if text not in message] == []
    # every line has a remedy
    problems = message.splitlines()[1:-1]
    assert all("; " in problem for problem in problems)
    assert "--allow_missing True" in message.splitlines()[-1]
    assert not (tmp_path / "save" / "train.csv").exists()


def test_allow_missing_leaves_files_out_and_counts_them(
    prepare, broken_corpus, tmp_path, caplog
):
    save = tmp_path / "save"
    with caplog.at_level(logging.WARNING):
        prepare(broken_corpus, save, allow_missing=True)
    counts = "left out: 3 of 7 test, 3 of 7 train, 2 of 6 valid"
    assert f"10 problems, {counts}" in caplog.text
    assert len((save / "problems.txt").read_text().splitlines()) == 10
    for split in SPLITS:
        assert len(read_manifest(save / f"{split}.csv")) == 4
    # a speaker keeps its index whichever files are missing
    assert read_labels(save / "labels.csv") == [
        "id10001", "id10002", "id10003", "id10009",
    ]  # fmt: skip
    caplog.clear()
    prepare(broken_corpus, save, allow_missing=True)
    assert counts in caplog.text


def test_an_empty_split_is_refused(prepare, corpus, tmp_path):
    for path in (corpus / "wav").glob("*/test-video-/*.wav"):
        path.unlink()
    with pytest.raises(PreparationError, match="test: none of its rows"):
        prepare(corpus, tmp_path / "save", allow_missing=True)
