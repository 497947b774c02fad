"""Small real corpora in the layouts that the recipes read."""

import importlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile as sf

from audiomamba.dataio.corpora.trials import read_trials

ROOT = Path(__file__).resolve().parents[2]


def write(path, seconds, rate=16000):
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0).standard_normal(int(seconds * rate))
    sf.write(path, 0.1 * noise, rate)


def run(tool, *arguments):
    importlib.import_module(tool).main([*map(str, arguments)])


@pytest.mark.parametrize(
    "tool", ["lay_out_esc10", "lay_out_coffee", "lay_out_librispeech"]
)
def test_another_folder_is_refused_with_the_address(tool, tmp_path):
    with pytest.raises(SystemExit, match=rf"{tool}.py: .*clone.*github.com"):
        run(tool, tmp_path, tmp_path / "out")


@pytest.fixture
def clips(tmp_path):
    for fold in range(1, 6):
        name = f"{fold}-1{fold}-A.ogg"
        write(tmp_path / "clone" / "001 - Dog bark" / name, 4, 44100)
        write(tmp_path / "clone" / "002 - Rain" / name, 6, 44100)
    return tmp_path / "clone"


def test_esc10_is_read_by_the_recipe(clips, tmp_path, monkeypatch):
    target = tmp_path / "out"
    run("lay_out_esc10", clips, target)
    assert {sf.info(p).duration for p in target.glob("audio/*.wav")} == {5.0}
    monkeypatch.syspath_prepend(ROOT / "recipes" / "ESC50")
    prepare = importlib.import_module("esc50_prepare").prepare_esc50
    prepare(target, tmp_path / "lists", fold=2, subset="esc10")
    test = pd.read_csv(tmp_path / "lists" / "test.csv")
    assert sorted(test["label"]) == ["dog", "rain"]
    assert all("2-12-A" in wav for wav in test["wav"])
    with pytest.raises(SystemExit, match="is not empty"):
        run("lay_out_esc10", clips, target)


def test_orders_have_labels_without_quantities(tmp_path, monkeypatch):
    import lay_out_coffee

    monkeypatch.setattr(lay_out_coffee, "CLIPS", 10)
    sizes = ["large", "small"]
    orders = {}
    for number in range(20):
        name = f"{number:02d}.wav"
        write(tmp_path / "clone/data/speech/clean" / name, 0.1)
        slots = {"size": sizes[number % 20 == 19], "milk": "lots of milk"}
        orders[name] = {"intent": "orderDrink", "slots": slots}
    labels = tmp_path / "clone" / "data" / "label" / "label.json"
    labels.parent.mkdir()
    labels.write_text(json.dumps(orders))
    run("lay_out_coffee", tmp_path / "clone", tmp_path / "out")
    tables = {
        split: pd.read_csv(tmp_path / "out" / f"{split}.csv", dtype=str)
        for split in ("train", "valid", "test")
    }
    # Every second recording; every fourth and fifth of them is held out
    assert list(tables["valid"]["ID"]) == ["06", "16"]
    assert list(tables["test"]["ID"]) == ["08", "18"]
    found = pd.concat(tables.values())
    assert set(found["label"]) == {"large;milk"}
    assert all((tmp_path / "out" / wav).is_file() for wav in found["wav"])


def test_speakers_of_the_trials_are_not_trained_on(tmp_path, monkeypatch):
    audio = tmp_path / "clone" / "audio_data"
    for speaker in (1, 2):
        name = f"{speaker}-7-0000.flac"
        write(audio / "librispeech_train-clean-100" / name, 7)
    for speaker in (3, 4):
        for number in range(2):
            folder = audio / "librispeech_test-other" / str(speaker)
            write(folder / f"{speaker}-8-000{number}.flac", 1)
    run("lay_out_librispeech", tmp_path / "clone", tmp_path / "out")
    trials = read_trials(tmp_path / "out" / "trials.txt")
    assert list(trials["label"]) == [1, 1, 0, 0, 0, 0]
    monkeypatch.syspath_prepend(ROOT / "recipes" / "VoxCeleb")
    module = importlib.import_module("verification_prepare")
    lists = tmp_path / "lists"
    module.prepare_speakers(tmp_path / "out", lists, ["trials.txt"], 0)
    tables = [pd.read_csv(lists / f"{s}.csv") for s in ("train", "test")]
    # 7 s are pieces of 3 and 4 s, one to train on and one to test
    for table in tables:
        assert sorted(table["label"]) == [1, 2]
    assert pd.concat(tables)["duration"].sum() == 14
