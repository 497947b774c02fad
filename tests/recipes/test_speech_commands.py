"""Speech Commands from its files to results, as a user runs it."""

import hashlib
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from audiomamba.dataio.corpora.splits import report_overlaps
from audiomamba.dataio.manifest import read_labels, read_manifest
from audiomamba.dataio.problems import PreparationError, Problems

RECIPE = Path(__file__).parents[2] / "recipes" / "SpeechCommands"
SPLITS = ("train", "valid", "test")
# in the order of the released checkpoints, which is not alphabetical
WORDS = ["stop", "down", "right", "no", "left", "yes", "up", "go"]


@pytest.fixture(scope="module")
def corpus(make_corpus):
    return make_corpus("SpeechCommands", n_speakers=4, n_takes=2).folder


@pytest.fixture(scope="module")
def start(make_start, corpus):
    return make_start("SpeechCommands", corpus, precision="fp32")


def manifests(folder):
    return {split: read_manifest(folder / f"{split}.csv") for split in SPLITS}


def test_manifests_hold_the_lists_and_train_on_the_rest(trained, corpus):
    tables = manifests(trained[0] / "manifests")
    for split, name in (("valid", "validation"), ("test", "testing")):
        listed = (corpus / f"{name}_list.txt").read_text().split()
        assert tables[split]["wav"].tolist() == sorted(listed)
    everything = {
        path.relative_to(corpus).as_posix()
        for path in corpus.glob("[a-z]*/*.wav")
    }
    found = [wav for table in tables.values() for wav in table["wav"]]
    assert len(found) == 64 and set(found) == everything
    for table in tables.values():
        assert (table["wav"].str.split("/").str[0] == table["label"]).all()
        assert (table["ID"] + ".wav" == table["wav"]).all()
    assert "A part of Speech Commands" in trained[1]
    assert "32 train (whole: 84,843)" in trained[1]


def test_the_loss_falls_and_classes_keep_their_order(trained, read_results):
    results = read_results(trained[0])
    losses = [row["train_loss"] for row in results["curve"]]
    assert len(losses) == 2 and losses[1] < losses[0]
    assert results["dataset"] == "SpeechCommands"
    assert results["metric"]["name"] == "accuracy"
    assert results["protocol"] == "honest" and results["n_classes"] == 8
    assert read_labels(trained[0] / "manifests" / "labels.csv") == WORDS
    table = pd.read_csv(trained[0] / "classes.csv")
    assert table["label"].tolist() == WORDS
    assert table["clips"].tolist() == [2] * 8


def test_manifests_are_reused_and_independent_of_the_seed(check_second_start):
    check_second_start("aum_tiny", *SPLITS, "labels")


def test_bad_entries_are_named(make_corpus, start, tmp_path):
    made = make_corpus("SpeechCommands", n_speakers=3, n_takes=1, broken=True)
    options = {"data_folder": made.folder}
    output = start(tmp_path, "aum_base", **options, fails=True)
    assert "Traceback" not in output and "9 problems with the data" in output
    assert len(made.broken) == 9
    for entry in made.broken:
        name = re.sub(r"^\w+_list\.txt: ", "", entry).split(": ")[0]
        assert name in output, entry
    for words in ("NaN", "2 channels", "8000 Hz", "is empty", "truncated"):
        assert words in output
    options |= {"number_of_epochs": 1, "allow_missing": True}
    output = start(tmp_path, "aum_tiny", **options)
    assert "9 problems, left out: 1 of 9 test, 6 of 14 train, 1 of 9 valid" in (
        output
    )


def test_a_missing_corpus_is_explained(run_without_corpus, tmp_path):
    output = run_without_corpus("SpeechCommands", tmp_path)
    assert "SpeechCommands was not found" in output


# ---------------------------------------------------------------- preparation


@pytest.fixture(scope="module")
def script(load_script):
    return load_script("SpeechCommands", "speech_commands_prepare")


@pytest.fixture
def small(tmp_path):
    """Six clips of two words, two of them in each split."""
    folder = tmp_path / "corpus"
    for word in ("yes", "zero"):
        (folder / word).mkdir(parents=True)
        for take in range(3):
            path = folder / word / f"0a7c2a8d_nohash_{take}.wav"
            soundfile.write(path, np.zeros(8000 + take), 16000)
    for take, name in ((1, "validation"), (2, "testing")):
        lines = [f"{w}/0a7c2a8d_nohash_{take}.wav" for w in ("yes", "zero")]
        (folder / f"{name}_list.txt").write_text("\r\n".join(lines) + "\r\n")
    return folder


def test_every_layout_of_the_corpus_gives_the_same_rows(
    script, small, tmp_path
):
    prepare = script.prepare_speech_commands
    prepare(small, tmp_path / "flat")
    flat = manifests(tmp_path / "flat")
    assert [len(table) for table in flat.values()] == [2, 2, 2]
    for place in script.PLACES[1:]:
        home = tmp_path / place.replace("/", "-")
        shutil.copytree(small, home / place)
        prepare(home, home / "save")
        for split, table in manifests(home / "save").items():
            assert table["ID"].equals(flat[split]["ID"])
            assert (table["wav"] == f"{place}/" + flat[split]["wav"]).all()


def test_the_archive_is_unpacked_once(script, corpus, make_corpus, tmp_path):
    packed = make_corpus(
        "SpeechCommands", n_speakers=4, n_takes=2, packed=True
    ).folder
    script.prepare_speech_commands(packed, tmp_path / "packed")
    script.prepare_speech_commands(corpus, tmp_path / "flat")
    unpacked = manifests(tmp_path / "packed")
    for split, table in manifests(tmp_path / "flat").items():
        assert table["ID"].equals(unpacked[split]["ID"])
    (packed / script.ARCHIVE).unlink()
    script.prepare_speech_commands(packed, tmp_path / "packed")


def test_the_download_is_verified_and_used(
    script, make_corpus, tmp_path, monkeypatch
):
    packed = make_corpus(
        "SpeechCommands", n_speakers=3, n_takes=1, packed=True
    ).folder
    archive = packed / script.ARCHIVE
    monkeypatch.setattr(script, "SOURCE", archive.as_uri())
    home = tmp_path / "data"
    with pytest.raises(PreparationError, match="checksum"):
        script.prepare_speech_commands(home, tmp_path / "save", download=True)
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    monkeypatch.setattr(script, "SHA256", digest)
    script.prepare_speech_commands(home, tmp_path / "save", download=True)
    assert len(manifests(tmp_path / "save")["train"]) == 8


def test_a_clip_of_nearly_the_listed_name_is_hinted_at(script, small, tmp_path):
    clip = small / "yes" / "0a7c2a8d_nohash_1.wav"
    clip.rename(clip.with_name("0A7C2A8D-nohash-1.wav"))
    with pytest.raises(PreparationError) as caught:
        script.prepare_speech_commands(small, tmp_path / "save")
    assert "(is it yes/0A7C2A8D-nohash-1.wav?); unpack" in str(caught.value)


def test_two_files_of_one_name_are_named(script, small, tmp_path):
    clip = small / "yes" / "0a7c2a8d_nohash_0.wav"
    shutil.copy(clip, clip.with_suffix(".WAV"))
    complaint = "yes/0a7c2a8d_nohash_0.WAV and yes/0a7c2a8d_nohash_0.wav"
    with pytest.raises(PreparationError, match=complaint):
        script.prepare_speech_commands(small, tmp_path / "save")


def test_other_corpora_below_the_folder_are_left_alone(script, small, tmp_path):
    script.prepare_speech_commands(small, tmp_path / "alone")
    other = small / "clone" / "recordings"
    other.mkdir(parents=True)
    shutil.copy(next(small.glob("[a-z]*/*.wav")), other / "0_theo_1.wav")
    script.prepare_speech_commands(small, tmp_path / "beside")
    alone, beside = (tmp_path / n / "train.csv" for n in ("alone", "beside"))
    assert alone.read_bytes() == beside.read_bytes()


def test_folders_that_are_not_words_are_named(script, small, tmp_path):
    (small / "zero").rename(small / "zeroes")
    for name in ("validation", "testing"):
        path = small / f"{name}_list.txt"
        path.write_text(path.read_text().replace("zero/", "zeroes/"))
    with pytest.raises(PreparationError) as caught:
        script.prepare_speech_commands(small, tmp_path / "save")
    assert f"{small / 'zeroes'}: has 3 clips and is not one" in str(
        caught.value
    )
    script.prepare_speech_commands(small, tmp_path / "save", allow_missing=True)
    assert read_labels(tmp_path / "save" / "labels.csv") == ["yes"]


def test_clips_in_both_lists_and_paths_outside_the_corpus_are_named(
    script, small, tmp_path
):
    path = small / "validation_list.txt"
    path.write_text(
        path.read_text() + "yes/0a7c2a8d_nohash_2.wav\n../a.wav\n/a/b.wav\n"
    )
    with pytest.raises(PreparationError) as caught:
        script.prepare_speech_commands(small, tmp_path / "save")
    message = str(caught.value)
    assert "3 problems" in message
    assert "is in the other list too" in message
    assert "line 4: '../a.wav' is not of the form" in message


def test_lists_with_a_byte_order_mark_are_read_whole(script, small, tmp_path):
    """Or the first validation clip would be trained on."""
    for name in ("validation", "testing"):
        path = small / f"{name}_list.txt"
        path.write_text(path.read_text(), encoding="utf-8-sig")
    script.prepare_speech_commands(small, tmp_path / "save")
    lengths = [len(table) for table in manifests(tmp_path / "save").values()]
    assert lengths == [2, 2, 2]


def test_a_listed_clip_is_never_trained_on(script, small, tmp_path):
    clip = small / "yes" / "0a7c2a8d_nohash_1.wav"
    clip.rename(clip.with_suffix(".WAV"))
    path = small / "validation_list.txt"
    path.write_text(path.read_text().replace("yes/", "./yes//"))
    script.prepare_speech_commands(small, tmp_path / "save")
    tables = manifests(tmp_path / "save")
    assert "yes/0a7c2a8d_nohash_1.WAV" in tables["valid"]["wav"].tolist()


def test_converted_and_missing_clips_are_told_apart(script, small, tmp_path):
    for path in small.rglob("*.wav"):
        path.rename(path.with_suffix(".flac"))
    with pytest.raises(PreparationError, match="6 .flac files.*ffmpeg"):
        script.prepare_speech_commands(small, tmp_path / "save")
    for path in small.rglob("*.flac"):
        path.unlink()
    with pytest.raises(PreparationError, match="there is no .wav file in it"):
        script.prepare_speech_commands(small, tmp_path / "save")
    (small / "_background_noise_").mkdir()
    (small / "_background_noise_" / "tap.wav").touch()
    with pytest.raises(PreparationError, match="has no <word>/<clip>.wav"):
        script.prepare_speech_commands(small, tmp_path / "save", task=12)


def test_a_whole_corpus_may_not_lack_training_clips(
    script, small, tmp_path, monkeypatch, caplog
):
    counts = {"train": 3, "valid": 2, "test": 2}
    monkeypatch.setattr(script, "COUNTS", counts)
    with pytest.raises(PreparationError, match="1 of its 3 training clips"):
        script.prepare_speech_commands(small, tmp_path / "save")
    monkeypatch.setattr(script, "COUNTS", {**counts, "train": 2})
    with caplog.at_level("INFO"):
        script.prepare_speech_commands(small, tmp_path / "save")
    assert "Speech Commands V2, whole" in caplog.text


# ------------------------------------------------------------- ten commands


@pytest.fixture
def commands(tmp_path):
    """Two commands and two other words, 40 clips each; two noises."""
    folder = tmp_path / "corpus"
    lists = {"validation": [], "testing": []}
    for word in ("yes", "stop", "bed", "cat"):
        (folder / word).mkdir(parents=True)
        for take in range(40):
            name = f"{word}/0a7c2a8d_nohash_{take}.wav"
            soundfile.write(folder / name, np.zeros(160), 16000)
            if take < 10:
                lists["testing"].append(name)
            elif take < 16:
                lists["validation"].append(name)
    (folder / "_background_noise_").mkdir()
    for name in ("tap", "bike"):
        path = folder / "_background_noise_" / f"{name}.wav"
        soundfile.write(path, np.zeros(16000 * 12), 16000)
    for name, lines in lists.items():
        (folder / f"{name}_list.txt").write_text("\n".join(lines))
    return folder


def counts(folder):
    return {
        split: table["label"].value_counts().to_dict()
        for split, table in manifests(folder).items()
    }


def test_ten_commands_unknown_words_and_silence(script, commands, tmp_path):
    script.prepare_speech_commands(commands, tmp_path / "save", task=12)
    # a tenth of 48, 12 and 20 clips, rounded up
    assert counts(tmp_path / "save") == {
        "train": {"yes": 24, "stop": 24, "_unknown_": 5, "_silence_": 5},
        "valid": {"yes": 6, "stop": 6, "_unknown_": 2, "_silence_": 2},
        "test": {"yes": 10, "stop": 10, "_unknown_": 2, "_silence_": 2},
    }
    labels = read_labels(tmp_path / "save" / "labels.csv")
    assert labels == ["yes", "stop", "_unknown_", "_silence_"]
    tables = manifests(tmp_path / "save")
    testing = (commands / "testing_list.txt").read_text().split()
    unknown = tables["test"].query("label == '_unknown_'")["wav"]
    assert set(unknown) <= set(testing)
    assert {wav.split("/")[0] for wav in unknown} <= {"bed", "cat"}
    silence = pd.concat(
        table[table["label"] == "_silence_"].assign(split=split)
        for split, table in tables.items()
    )
    assert (silence["duration"] == 1.0).all()
    assert (silence["stop"] - silence["start"] == 16000).all()
    assert silence["wav"].nunique() == 2
    # no second of a noise is in two splits
    problems = Problems()
    report_overlaps(silence, problems)
    assert problems.messages == []
    before = [path.read_bytes() for path in (tmp_path / "save").glob("*.csv")]
    script.prepare_speech_commands(commands, tmp_path / "two", task="12")
    after = [path.read_bytes() for path in (tmp_path / "two").glob("*.csv")]
    assert sorted(before) == sorted(after)


def test_a_miniature_has_unknown_words(script, make_corpus, tmp_path):
    options = {"n_speakers": 3, "n_takes": 1, "others": True}
    folder = make_corpus("SpeechCommands", **options).folder
    script.prepare_speech_commands(folder, tmp_path, task=12)
    assert read_labels(tmp_path / "labels.csv") == [
        "yes", "no", "up", "down", "left", "right", "stop", "go",
        "_unknown_", "_silence_",
    ]  # fmt: skip


@pytest.mark.parametrize("place", ["", "speech_commands_v0.02"])
def test_the_owners_test_set_is_used_if_it_is_there(
    script, commands, tmp_path, place
):
    home = tmp_path / "home"
    shutil.copytree(commands, home / place)
    for name in read_labels(script.COMMANDS):
        (home / script.TEST_SET / name).mkdir(parents=True)
        path = home / script.TEST_SET / name / "0a7c2a8d_nohash_0.wav"
        soundfile.write(path, np.zeros(16000), 16000)
    script.prepare_speech_commands(home, tmp_path / "save", task=12)
    found = counts(tmp_path / "save")
    assert found["test"] == dict.fromkeys(read_labels(script.COMMANDS), 1)
    assert found["train"]["_unknown_"] == 5
    script.prepare_speech_commands(home, tmp_path / "35")
    assert counts(tmp_path / "35")["test"]["yes"] == 10
    path.with_name("..").joinpath("yes", "0a7c2a8d_nohash_12.wav").touch()
    path.unlink()
    with pytest.raises(PreparationError) as caught:
        script.prepare_speech_commands(home, tmp_path / "save", task=12)
    message = str(caught.value)
    assert f"is in {script.TEST_SET} and in valid" in message
    assert "_silence_: has no clip" in message


def test_what_the_12_classes_lack_is_named(script, commands, tmp_path, caplog):
    with pytest.raises(PreparationError, match="task: 10; it is one of 35, 12"):
        script.prepare_speech_commands(commands, tmp_path / "save", task=10)
    for word in ("yes", "stop"):
        (commands / word).rename(commands / f"_{word}")
    with pytest.raises(PreparationError, match="no clip to train on of the"):
        script.prepare_speech_commands(commands, tmp_path / "save", task=12)
    for word in ("yes", "stop"):
        (commands / f"_{word}").rename(commands / word)
    noise = commands / "_background_noise_"
    soundfile.write(noise / "tap.wav", np.zeros(16000), 16000)
    (noise / "bike.wav").write_bytes(b"")
    for word in ("bed", "cat"):
        for path in (commands / word).glob("*_1?.wav"):
            path.unlink()
    with pytest.raises(PreparationError) as caught:
        script.prepare_speech_commands(commands, tmp_path / "save", task=12)
    message = str(caught.value)
    assert "tap.wav: is too short to cut _silence_ from (1.0 s)" in message
    assert "bike.wav: is empty" in message
    assert "has no noise that _silence_ can be cut from" in message
    assert "no clip in valid is of another word" in message
    options = {"task": 12, "allow_missing": True}
    script.prepare_speech_commands(commands, tmp_path / "save", **options)
    labels = read_labels(tmp_path / "save" / "labels.csv")
    assert labels == ["yes", "stop", "_unknown_"]


def test_the_label_file_has_all_35_words(script):
    words = read_labels(script.WORDS)
    assert len(words) == 35
    assert words[:3] == ["backward", "follow", "five"] and words[34] == "one"
    assert script.WORDS == RECIPE / "labels.csv"
