"""Miniature corpora have the layouts of the real ones; classes differ."""

import csv
import re
import tarfile

import numpy as np
import pandas as pd
import pytest
import soundfile


def read(path):
    samples, _ = soundfile.read(path)
    return samples


@pytest.fixture(scope="module")
def voxceleb(make, tmp_path_factory):
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
    # A session is in one split, a speaker in all of them.
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


def test_voxceleb_speakers_sound_different(nearest, voxceleb):
    lines = (voxceleb / "iden_split.txt").read_text().splitlines()
    clips = [
        (line[0], (line[2:9], read(voxceleb / "wav" / line[2:])))
        for line in lines
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
def test_voxceleb_has_its_trial_lists(voxceleb, name, n_speakers):
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


@pytest.fixture(scope="module")
def audioset(make, tmp_path_factory):
    folder = tmp_path_factory.mktemp("mini") / "audioset"
    make("AudioSet", folder, "--seconds", 0.5)
    return folder


def read_segments(path):
    lines = path.read_text().splitlines()
    assert [line[0] for line in lines[:3]] == ["#", "#", "#"]
    assert all(", " in line for line in lines[3:])
    rows = csv.reader(lines[3:], skipinitialspace=True)
    return {
        name: (float(start), float(stop), labels.split(","))
        for name, start, stop, labels in rows
    }


def find_clip(folder, name, start):
    """Return the path of a clip, which may have several names."""
    names = {f"{name}.wav", f"Y{name}.wav", f"{name}_{start:.0f}.flac"}
    found = [path for path in folder.rglob("*") if path.name in names]
    assert len(found) == 1, name
    return found[0]


def test_audioset_has_its_layout(audioset):
    text = (audioset / "class_labels_indices.csv").read_text()
    assert text.startswith('index,mid,display_name\n0,/m/09x0r,"Speech"\n')
    classes = pd.read_csv(audioset / "class_labels_indices.csv")
    mids = set(classes["mid"])
    suffixes, dashes, several = set(), 0, 0
    for part, count in (("balanced", 32), ("unbalanced", 34), ("eval", 24)):
        part += "_train" if part != "eval" else ""
        rows = read_segments(audioset / f"{part}_segments.csv")
        assert len(rows) == count
        for name, (start, stop, labels) in rows.items():
            assert re.fullmatch(r"[\w-]{11}", name) and stop - start == 0.5
            assert mids.issuperset(labels)
            path = find_clip(audioset / "audio" / part, name, start)
            assert soundfile.info(path).samplerate == 16000
            suffixes.add(path.suffix)
            dashes += name.startswith("-")
            several += len(labels) > 2
    assert suffixes == {".wav", ".flac"} and dashes > 5 and several > 10


def test_audioset_may_have_a_header_line(make, tmp_path):
    make("AudioSet", tmp_path / "mini", "--header_line", "--seconds", 0.3)
    table = pd.read_csv(tmp_path / "mini" / "balanced_train_segments.csv")
    assert list(table) == [
        "YTID", "start_seconds", "end_seconds", "positive_labels",
    ]  # fmt: skip
    assert len(table) == 32
    assert table["positive_labels"].str.contains(",").any()


def test_audioset_classes_sound_different(nearest, audioset):
    def clips(part):
        rows = read_segments(audioset / f"{part}_segments.csv")
        for name, (start, _, labels) in rows.items():
            path = find_clip(audioset / "audio" / part, name, start)
            # Clips of one sound have a label, or a label and its parent
            if len(labels) == 1 or set(labels) in (
                {"/m/05tny_", "/m/0bt9lr"},
                {"/m/07pggtn", "/m/015p6"},
                {"/m/05r5c", "/m/04rlf"},
                {"/m/01m2v", "/m/0316dw"},
            ):
                yield " ".join(labels), read(path)

    assert nearest(list(clips("balanced_train")), clips("eval")) >= 0.8


def test_vggsound_has_its_layout_and_its_classes_differ(
    make, nearest, tmp_path
):
    folder = tmp_path / "mini"
    make("VGGSound", folder, "--seconds", 0.5)
    names = ["id", "start", "label", "split"]
    table = pd.read_csv(folder / "vggsound.csv", header=None, names=names)
    assert table["split"].value_counts().to_dict() == {"train": 48, "test": 24}
    assert '"bird chirping, tweeting"' in (folder / "vggsound.csv").read_text()
    stems = table["id"] + table["start"].map("_{:06d}".format)
    files = {path.stem: path for path in (folder / "audio").iterdir()}
    assert set(stems) == set(files)
    assert {path.suffix for path in files.values()} == {".wav", ".flac"}
    tests = pd.read_csv(folder / "test.csv", header=None)
    is_test = table["split"] == "test"
    assert set(tests[0]) == set(stems[is_test] + ".mp4")
    clips = [
        (label, read(files[stem])) for label, stem in zip(table["label"], stems)
    ]
    train = [clip for clip, test in zip(clips, is_test) if not test]
    test = [clip for clip, test in zip(clips, is_test) if test]
    assert nearest(train, test) >= 0.8


def speech_commands_splits(folder):
    """Return the names of each split, by the owners' rule."""
    held_out = {
        split: (folder / f"{split}_list.txt").read_text().splitlines()
        for split in ("validation", "testing")
    }
    names = {p.relative_to(folder).as_posix() for p in folder.glob("*/*.wav")}
    names = {name for name in names if name[0] != "_"}
    train = names.difference(*held_out.values())
    return {"train": sorted(train), **held_out}, names


def test_speech_commands_has_its_layout_and_its_words_differ(
    make, nearest, tmp_path
):
    make("SpeechCommands", tmp_path / "mini")
    splits, names = speech_commands_splits(tmp_path / "mini")
    counts = {split: len(found) for split, found in splits.items()}
    assert counts == {"train": 128, "validation": 32, "testing": 32}
    form = re.compile(r"[a-z]+/[0-9a-f]{8}_nohash_\d\.wav")
    assert all(form.fullmatch(name) for name in names)
    speakers = [
        {name.split("/")[1][:8] for name in found} for found in splits.values()
    ]
    assert sum(map(len, speakers)) == len(set.union(*speakers)) == 12
    infos = [soundfile.info(tmp_path / "mini" / name) for name in names]
    frames = np.array([info.frames for info in infos])
    assert frames.max() == 16000 and 0.05 < (frames < 16000).mean() < 0.4
    noises = list((tmp_path / "mini" / "_background_noise_").glob("*.wav"))
    assert min(soundfile.info(path).duration for path in noises) > 1
    clips = {
        split: [(n.split("/")[0], read(tmp_path / "mini" / n)) for n in found]
        for split, found in splits.items()
    }
    # Chance is 12.5 %; mean spectra ignore time.
    assert nearest(clips["train"], clips["testing"]) >= 0.4


def test_packed_speech_commands_equals_the_unpacked(make, tmp_path):
    options = ["SpeechCommands", "--n_speakers", 3, "--n_takes", 1]
    make(*options, tmp_path / "plain")
    make(*options, "--packed", tmp_path / "packed")
    names = sorted(path.name for path in (tmp_path / "packed").iterdir())
    assert names == [".mini_corpus.json", "speech_commands_v0.02.tar.gz"]
    with tarfile.open(tmp_path / "packed" / names[1]) as archive:
        found = {
            entry.name: archive.extractfile(entry).read() for entry in archive
        }
    plain = tmp_path / "plain"
    assert found == {
        f"./{path.relative_to(plain).as_posix()}": path.read_bytes()
        for path in [*plain.glob("*.txt"), *plain.glob("*/*")]
    }


def test_epic_sounds_has_its_layout_and_its_classes_differ(
    make, nearest, tmp_path
):
    h5py = pytest.importorskip("h5py")
    make("EPIC-Sounds", tmp_path / "mini")
    lists = {
        split: pd.read_csv(tmp_path / "mini" / f"EPIC_Sounds_{name}.csv")
        for split, name in (
            ("train", "train"),
            ("valid", "validation"),
            ("test", "recognition_test_timestamps"),
        )
    }
    assert list(lists["train"]) == [
        *lists["test"],
        "description",
        "class",
        "class_id",
    ]
    assert len(pd.concat(lists)["annotation_id"].unique()) == sum(
        map(len, lists.values())
    )
    clips = {}
    with h5py.File(tmp_path / "mini" / "EPIC_audio.hdf5") as audio:
        videos = pd.concat(lists)["video_id"].unique()
        assert sorted(audio) == sorted(videos) and len(videos) == 10
        for split, table in lists.items():
            lengths = table["video_id"].map(lambda video: len(audio[video]))
            assert (table["stop_sample"] <= lengths).all()
            assert (table["start_sample"] < table["stop_sample"]).all()
            # Timestamps agree with sample positions.
            seconds = pd.to_timedelta(table["start_timestamp"])
            samples = (seconds.dt.total_seconds() * 24000).round()
            assert (samples == table["start_sample"]).all()
            spans = table["stop_sample"] - table["start_sample"]
            assert spans.max() > 240000 and spans.min() >= 4800 * 0.2
            if split != "test":
                clips[split] = [
                    (row["class"], audio[row["video_id"]][
                        row["start_sample"] : row["stop_sample"]
                    ])
                    for _, row in table.iterrows()
                ]  # fmt: skip
    assert nearest(clips["train"], clips["valid"]) >= 0.8


def test_esc50_has_its_layout_and_its_classes_differ(make, nearest, tmp_path):
    folder = tmp_path / "mini"
    make("ESC50", folder, "--seconds", 0.5)
    table = pd.read_csv(folder / "meta" / "esc50.csv")
    assert ",".join(table) == (
        "filename,fold,target,category,esc10,src_file,take"
    )
    assert table["fold"].value_counts().to_dict() == dict.fromkeys(
        range(1, 6), 16
    )
    assert set(table["filename"]) == {
        path.name for path in (folder / "audio").iterdir()
    }
    rebuilt = table.apply(
        lambda r: f"{r.fold}-{r.src_file}-{r['take']}-{r.target}.wav", axis=1
    )
    assert (rebuilt == table["filename"]).all()
    assert table["esc10"].dtype == bool and 0 < table["esc10"].mean() < 1
    assert soundfile.info(folder / "audio" / rebuilt[0]).samplerate == 44100
    clips = [
        (row.category, read(folder / "audio" / row.filename))
        for row in table.itertuples()
    ]
    test = table["fold"] == 1
    assert nearest(
        [clip for clip, held in zip(clips, test) if not held],
        [clip for clip, held in zip(clips, test) if held],
    ) >= 0.8  # fmt: skip


def test_librispeech_has_its_layout(make, tmp_path):
    folder = tmp_path / "librispeech"
    make("LibriSpeech", folder, "--n_speakers", 2, "--n_utterances", 3)
    lines = {}
    for path in folder.rglob("*.trans.txt"):
        subset, speaker, chapter, name = path.relative_to(folder).parts
        assert name == f"{speaker}-{chapter}.trans.txt"
        for line in path.read_text().splitlines():
            utterance, *words = line.split()
            assert utterance.startswith(f"{speaker}-{chapter}-")
            assert 2 <= len(words) <= 5 and all(map(str.isupper, words))
            info = soundfile.info(path.parent / f"{utterance}.flac")
            assert (info.samplerate, info.channels) == (16000, 1)
            # longer texts take longer
            assert 0.1 < info.duration / len(words) < 1.2
            lines[utterance] = subset
    subsets = list(lines.values())
    assert [subsets.count(s) for s in sorted(set(subsets))] == [6, 6, 6]
    assert len({name.split("-")[0] for name in lines}) == 6
