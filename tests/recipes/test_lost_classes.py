"""With allow_missing, every recipe names the classes that lose all clips."""

import logging
from collections import Counter
from pathlib import Path

import h5py
import numpy as np
import pytest
import soundfile

from audiomamba.dataio.corpora.custom import prepare_custom
from audiomamba.dataio.manifest import read_labels

SPLITS = ("test", "train", "valid")
RECIPES = Path(__file__).parents[2] / "recipes"


def silence(*paths, rate=16000):
    """Write clips of 10 ms."""
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.zeros(rate // 100), rate)


def write(path, *lines):
    path.write_text("\n".join(lines) + "\n")


def audioset(folder, load):
    for name, ids in (("eval", "ab"), ("balanced_train", "cd")):
        mids = ("/m/09x0r", "/m/0bt9lr")
        lines = [
            f'{i * 11}, 0.000, 10.000, "{mid}"' for i, mid in zip(ids, mids)
        ]
        write(folder / f"{name}_segments.csv", *lines)
    silence(*(folder / f"{i * 11}.wav" for i in "acd"))
    labels = RECIPES / "AudioSet" / "labels.csv"
    load("AudioSet", "audioset_prepare").prepare_audioset(
        folder, folder / "save", labels, ["balanced_train"], 0, 1.0
    )
    return "no clip is left in eval of: Dog (1)"


def vggsound(folder, load):
    """The two lists disagree on the one test clip of a class."""
    clips = [("a", "train", "dog barking"), ("b", "test", "dog barking")]
    clips += [("c", "train", "playing piano"), ("d", "test", "playing piano")]
    lines = [f"{i * 11},0,{label},{split}" for i, split, label in clips]
    write(folder / "vggsound.csv", *lines)
    tests = [f"{i * 11}_000000.mp4,dog barking" for i in "bd"]
    write(folder / "test.csv", *tests, f"{'e' * 11}_000000.mp4,playing piano")
    silence(*(folder / f"{i * 11}_000000.wav" for i in "abcd"))
    labels = RECIPES / "VGGSound" / "labels.csv"
    load("VGGSound", "vggsound_prepare").prepare_vggsound(
        folder, folder / "save", labels, 0, 1.0
    )
    return "no clip is left in test of: playing piano (1)"


def voxceleb(folder, load):
    names = [f"id1000{i}/{s}/00001.wav" for i in (1, 2) for s in "xyz"]
    lines = [f"{1 + 'xyz'.index(name[8])} {name}" for name in names]
    write(folder / "iden_split.txt", *lines)
    silence(*(folder / "wav" / name for name in names[:-1]))
    load("VoxCeleb", "voxceleb_prepare").prepare_voxceleb(
        folder, folder / "save", allow_missing=True
    )
    return "no clip is left in test of: id10002 (1)"


def speakers(folder, load):
    names = [f"id1000{i}/{s}/00001.wav" for i in (1, 2, 3) for s in "xyz"]
    silence(*(folder / "wav" / name for name in names))
    for name in names[3:6]:
        (folder / "wav" / name).write_bytes(b"")
    write(folder / "trials.txt", f"1 {names[0]} {names[1]}")
    load("VoxCeleb", "verification_prepare").prepare_speakers(
        folder, folder / "save", ["trials.txt"], allow_missing=True
    )
    lost = [f"no clip is left in {split} of: id10002 (1)" for split in SPLITS]
    return "; ".join(lost)


def speech_commands(folder, load):
    names = [f"{w}/a_nohash_{n}.wav" for w in ("yes", "no") for n in range(3)]
    silence(*(folder / name for name in names))
    write(folder / "validation_list.txt", names[0], names[3])
    write(folder / "testing_list.txt", names[1], names[4])
    (folder / names[4]).unlink()
    load("SpeechCommands", "speech_commands_prepare").prepare_speech_commands(
        folder, folder / "save", allow_missing=True
    )
    return "no clip is left in test of: no (1)"


def esc50(folder, load):
    """The lines of the only test clip of a class name it wrongly."""
    clips = [(f, t, c) for f in "12" for t, c in ((10, "rain"), (0, "dog"))]
    lines = [
        f"{f}-{t}-A-{t}.wav,{f},{t},{'Hund' if f + c == '1dog' else c},True"
        for f, t, c in clips
    ]
    (folder / "meta").mkdir()
    header = "filename,fold,target,category,esc10"
    write(folder / "meta" / "esc50.csv", header, *lines)
    audio = folder / "audio"
    silence(*(audio / f"{f}-{t}-A-{t}.wav" for f, t, _ in clips), rate=44100)
    load("ESC50", "esc50_prepare").prepare_esc50(
        folder, folder / "save", 1, allow_missing=True
    )
    return "no clip is left in test of: Hund (1)"


def epic_sounds(folder, load):
    labels = RECIPES / "EPIC-Sounds" / "labels.csv"
    names = read_labels(labels)
    columns = "annotation_id,video_id,start_sample,stop_sample"
    for name, videos in (
        ("train", ("P01_01", "P01_02")),
        ("validation", ("P02_01", "P02_02")),
    ):
        lines = [f"{v}_0,{v},0,99,{names[i]},{i}" for i, v in enumerate(videos)]
        path = folder / f"EPIC_Sounds_{name}.csv"
        write(path, f"{columns},class,class_id", *lines)
    path = folder / "EPIC_Sounds_recognition_test_timestamps.csv"
    write(path, columns, "P03_01_0,P03_01,0,99")
    with h5py.File(folder / "EPIC_audio.hdf5", "w") as file:
        for name in ("P01_01", "P01_02", "P02_01", "P02-02", "P03_01"):
            file[name] = np.zeros(100, dtype="float32")
    module = load("EPIC-Sounds", "epic_sounds_prepare")
    module.prepare_epic_sounds(
        folder, folder / "save", labels, 0, allow_missing=True
    )
    problems = (folder / "save" / "problems.txt").read_text()
    assert "has no recording P02_02 (is it P02-02?)" in problems
    return f"no clip is left in test of: {names[1]} (1)"


def custom(folder, load):
    lists = {}
    for split in ("train", "valid", "test"):
        lists[split] = folder / f"{split}.csv"
        rows = [f"{c},1,{split}-{c}.wav,{c}" for c in ("low", "high")]
        write(lists[split], "ID,duration,wav,label", *rows)
        silence(*(folder / f"{split}-{c}.wav" for c in ("low", "high")))
    (folder / "train-high.wav").unlink()
    prepare_custom(folder, folder / "save", lists, allow_missing=True)
    # the clips of the other splits keep their class
    assert read_labels(folder / "save" / "labels.csv") == ["high", "low"]
    return "no clip is left in train of: high (1)"


CORPORA = [
    audioset,
    vggsound,
    voxceleb,
    speakers,
    speech_commands,
    esc50,
    epic_sounds,
    custom,
]


@pytest.mark.parametrize("prepare", CORPORA, ids=lambda p: p.__name__)
def test_classes_that_lose_all_clips_are_named(
    prepare, load_script, tmp_path, caplog, monkeypatch
):
    caplog.set_level(logging.WARNING)
    monkeypatch.syspath_prepend(RECIPES / "VoxCeleb")
    expected = prepare(tmp_path, load_script)
    counts = Counter(record.message for record in caplog.records)
    assert counts[expected] == 1, caplog.text
