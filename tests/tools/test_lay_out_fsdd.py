"""Digits in the layouts of other corpora, as the recipes read them."""

import importlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile as sf

from audiomamba.dataio.manifest import read_manifest

SPEAKERS = ("george", "theo")
N_TAKES = 12


@pytest.fixture
def clone(tmp_path):
    """Write a corpus of two speakers, three digits and twelve takes."""
    folder = tmp_path / "clone" / "recordings"
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for speaker in SPEAKERS:
        for digit in range(3):
            for take in range(N_TAKES):
                n = int(generator.integers(1600, 3200))
                noise = 0.1 * generator.standard_normal(n)
                sf.write(folder / f"{digit}_{speaker}_{take}.wav", noise, 8000)
    (folder / "notes.txt").write_text("no recording")
    return folder.parent


def run(*arguments):
    from lay_out_fsdd import main

    main([*map(str, arguments)])


@pytest.fixture
def load_recipe(monkeypatch):
    """Import a preparation from its recipe's folder."""

    def load(name, module):
        root = Path(__file__).resolve().parents[2]
        monkeypatch.syspath_prepend(root / "recipes" / name)
        return importlib.import_module(module)

    return load


def test_words_are_split_by_take(clone, tmp_path, load_recipe):
    run("words", clone, tmp_path / "out")
    module = load_recipe("SpeechCommands", "speech_commands_prepare")
    module.prepare_speech_commands(tmp_path / "out", tmp_path / "lists")
    tables = {
        part: pd.read_csv(tmp_path / "lists" / f"{part}.csv")
        for part in ("train", "valid", "test")
    }
    counts = {part: len(table) for part, table in tables.items()}
    assert counts == {"train": 2 * 3 * 2, "valid": 30, "test": 30}
    assert set(tables["test"]["label"]) == {"zero", "one", "two"}
    info = sf.info(tmp_path / "out" / tables["test"]["wav"][0])
    assert (info.samplerate, info.channels) == (16000, 1)


def test_a_held_out_speaker_is_in_no_other_split(clone, tmp_path):
    run("words", clone, tmp_path / "out", "--held_out_speaker", "theo")
    lists = {
        name: (tmp_path / "out" / f"{name}_list.txt").read_text().split()
        for name in ("testing", "validation")
    }
    codes = {
        name: {line.split("/")[1].split("_")[0] for line in lines}
        for name, lines in lists.items()
    }
    assert len(codes["testing"]) == 1 == len(codes["validation"])
    assert codes["testing"] != codes["validation"]
    (code,) = codes["testing"]
    assert len(lists["testing"]) == 3 * N_TAKES
    found = {p.name for p in (tmp_path / "out").glob(f"*/{code}_*.wav")}
    assert len(found) == N_TAKES
    assert len(lists["validation"]) == 3 * 5


def test_splits_of_speakers_share_no_recording(clone, tmp_path, load_recipe):
    run("speakers", clone, tmp_path / "out")
    module = load_recipe("VoxCeleb", "voxceleb_prepare")
    module.prepare_voxceleb(tmp_path / "out", tmp_path / "lists")
    counts = {
        part: len(pd.read_csv(tmp_path / "lists" / f"{part}.csv"))
        for part in ("train", "valid", "test")
    }
    # 6, 15 and 15 digits per speaker, in sixes
    assert counts == {"train": 2 * 1, "valid": 2 * 2, "test": 2 * 2}
    run("speakers", clone, tmp_path / "again")
    for path in (tmp_path / "out").rglob("*.wav"):
        other = tmp_path / "again" / path.relative_to(tmp_path / "out")
        assert path.read_bytes() == other.read_bytes()


def test_few_labels_are_among_more_and_their_speakers_are_not_tested(
    clone, tmp_path
):
    target = tmp_path / "out"
    run("few_labels", clone, target, "--held_out_speaker", "theo")
    lists = {path.stem: read_manifest(path) for path in target.glob("*.csv")}
    assert len(lists) == 2 + 3 * 3
    for name, table in lists.items():
        folders = {"new"} if name == "test" else {"known"}
        assert {wav.split("/")[0] for wav in table["wav"]} == folders
        for row in table.itertuples():
            found = sf.info(target / row.wav).duration
            assert row.duration == pytest.approx(found)
    assert len(lists["test"]) == 3 * N_TAKES and len(lists["valid"]) == 3
    few, more, every = (
        {*lists[f"train_{count}_1"]["ID"]} for count in (60, 300, "all")
    )
    # 7 of 12 takes of each word are for training, and 60 labels are 6 of each
    assert few < more == every and (len(few), len(every)) == (3 * 6, 3 * 7)
    assert not every & {*lists["valid"]["ID"]}
    drawn = [tuple(sorted(lists[f"train_60_{s}"]["ID"])) for s in (1, 2, 3)]
    assert len({*drawn}) == 3


def test_impossible_options_are_refused(clone, tmp_path):
    with pytest.raises(SystemExit, match="holds no recordings"):
        run("words", tmp_path, tmp_path / "out")
    with pytest.raises(SystemExit, match="choose from george, theo"):
        run("words", clone, tmp_path / "out", "--held_out_speaker", "lucas")
    with pytest.raises(SystemExit, match="goes with words"):
        run("speakers", clone, tmp_path / "out", "--held_out_speaker", "theo")
    with pytest.raises(SystemExit, match="needs a --held_out_speaker"):
        run("few_labels", clone, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(SystemExit, match="is not empty"):
        run("words", clone, clone)
    broken = clone / "recordings" / "1_theo_3.wav"
    broken.write_bytes(b"")
    with pytest.raises(SystemExit, match="1_theo_3.wav"):
        run("words", clone, tmp_path / "out")


def test_strings_are_in_the_layout_of_librispeech(clone, tmp_path, load_recipe):
    run("strings", clone, tmp_path / "out", "--held_out_speaker", "theo")
    module = load_recipe("LibriSpeech", "librispeech_prepare")
    splits = {name: [name] for name in ("train", "valid", "test")}
    module.prepare_librispeech(tmp_path / "out", tmp_path / "lists", splits)
    tables = {
        part: pd.read_csv(tmp_path / "lists" / f"{part}.csv") for part in splits
    }
    # theo has all takes of the test split, george takes 5 to 9 for validation
    speakers = {
        part: set(table["ID"].str.split("-").str[0])
        for part, table in tables.items()
    }
    assert speakers == {"train": {"1"}, "valid": {"1"}, "test": {"2"}}
    words = {part: " ".join(t["label"]).split() for part, t in tables.items()}
    counts = {part: len(found) for part, found in words.items()}
    assert counts == {"train": 16 * 3 * 7, "valid": 15, "test": 36}
    assert sorted(set(words["test"])) == ["ONE", "TWO", "ZERO"]
    assert tables["test"]["label"].str.split().str.len().between(1, 6).all()
    # no sample is lost
    paths = (clone / "recordings").glob("*_theo_*.wav")
    seconds = sum(sf.info(path).duration for path in paths)
    assert tables["test"]["duration"].sum() == pytest.approx(seconds, rel=1e-3)
