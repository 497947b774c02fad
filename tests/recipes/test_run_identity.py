"""What binds an output folder to one run, as users meet it."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import soundfile

TINY = {
    "embed_dim": 32,
    "depth": 1,
    "number_of_epochs": 8,
    "batch_size": 4,
    "num_workers": 0,
    "lr": 0.01,
}


def make_sounds(folder, names=("cat", "dog")):
    """Write eighteen clips of two tones, and the three lists."""
    (folder / "clips").mkdir(parents=True)
    rows = []
    for index in range(18):
        times = np.arange(8000) / 16000
        wave = 0.3 * np.sin(2 * np.pi * (300, 2500)[index % 2] * times)
        path = f"clips/{index:02}.wav"
        soundfile.write(folder / path, wave, 16000)
        rows.append((f"{index:02}", 0.5, path, names[index % 2]))
    table = pd.DataFrame(rows, columns=["ID", "duration", "wav", "label"])
    parts = {"train": slice(8), "valid": slice(8, 12), "test": slice(12, 18)}
    for split, part in parts.items():
        table[part].to_csv(folder / f"{split}.csv", index=False)


def rename(folder, old, new):
    for split in ("train", "valid", "test"):
        path = folder / f"{split}.csv"
        path.write_text(path.read_text().replace(f",{old}\n", f",{new}\n"))


@pytest.fixture(scope="module")
def start(run_recipe):
    """Start recipes/Custom: folders, flags, overrides -> its output."""

    def start(data, out, *flags, **overrides):
        fails = overrides.pop("fails", False)
        folders = {"data_folder": data, "output_folder": out}
        settings = {**TINY, **folders, **overrides}
        return run_recipe(
            "Custom", "hparams/aum_tiny.yaml", *flags, fails=fails, **settings
        )

    return start


@pytest.fixture(scope="module")
def finished(start, tmp_path_factory):
    """Finish a run; YAML would read its folders as a number and a comment."""
    folder = tmp_path_factory.mktemp("identity")
    make_sounds(folder / "20240101")
    output = start(folder / "20240101", folder / "take #2")
    return folder / "20240101", folder / "take #2", output


@pytest.fixture
def copied(finished, tmp_path):
    """Copy both, for tests that change them; the data may have moved."""
    for name, source in zip(("data", "out"), finished):
        shutil.copytree(source, tmp_path / name)
    return tmp_path / "data", tmp_path / "out"


def files(folder):
    return {p: p.read_bytes() for p in folder.iterdir() if p.is_file()}


def test_a_run_records_its_identity(finished):
    _, out, output = finished
    record = json.loads((out / "run.json").read_text())
    assert record["labels"] == ["cat", "dog"]
    assert record["settings"]["data_folder"].endswith("20240101")
    assert set(record["manifests"]) >= {"train.csv", "valid.csv", "test.csv"}
    results = json.loads((out / "results.json").read_text())
    assert results["metric"]["value"] == 1.0
    assert results["engine"] == record["engine"] == "cpu"


def test_the_output_has_one_short_line_per_epoch(finished):
    _, out, output = finished
    lines = [line for line in output.splitlines() if line.startswith("epoch")]
    assert len(lines) == 8 and max(map(len, lines)) <= 80
    log = (out / "log.txt").read_text()
    for chatter in ("speechbrain", "numba", "Saved a checkpoint"):
        assert chatter not in log
    assert len(log.splitlines()) < 40


def test_other_settings_are_refused_and_change_no_file(copied, start):
    data, out = copied
    before = files(out)
    output = start(data, out, fails=True, lr=0.5, seed=2)
    assert "lr: 0.01 -> 0.5" in output and "seed: 1 -> 2" in output
    assert "--output_folder" in output and "Traceback" not in output
    assert files(out) == before


def test_testing_and_debugging_leave_the_record_alone(
    copied, start, read_results
):
    data, out = copied
    unfinished = out / "save" / "unfinished-CKPT+of+another+process"
    unfinished.mkdir()
    before = files(out)
    start(data, out, "--test_only", lr=5)
    start(data, out, "--debug", seed=7)
    assert files(out) == before and unfinished.is_dir()
    looked = read_results(out / "test_only")
    assert looked["metric"] == read_results(out)["metric"]
    assert looked["clips"]["test"] == 6
    assert read_results(out / "debug")["seed"] == 7


@pytest.mark.parametrize("flags", [["--test_only"], []])
def test_renamed_classes_are_refused(copied, start, read_results, flags):
    data, out = copied
    rename(data, "cat", "zebra")
    output = start(data, out, *flags, fails=True)
    assert "class 0 is 'cat', not 'dog'" in output  # zebra sorts last
    assert "Traceback" not in output
    assert read_results(out)["metric"]["value"] == 1.0


def test_a_classifier_of_other_classes_is_not_loaded(
    finished, start, tmp_path, read_results
):
    data, out, _ = finished
    given = next((out / "save").glob("CKPT*"))
    start(data, tmp_path / "same", "--test_only", init_from=given)
    assert read_results(tmp_path / "same")["metric"]["value"] == 1.0
    shutil.copytree(data, tmp_path / "other")
    rename(tmp_path / "other", "cat", "ant")
    rename(tmp_path / "other", "dog", "bee")
    output = start(
        tmp_path / "other",
        tmp_path / "refused",
        "--test_only",
        init_from=given,
        fails=True,
    )
    assert "'cat'" in output and "'ant'" in output
    assert not (tmp_path / "refused" / "results.json").exists()
    output = start(
        tmp_path / "other",
        tmp_path / "trained",
        init_from=given,
        number_of_epochs=1,
    )
    assert (
        "'cat'" in output and "'ant'" in output
    )  # a new classifier is trained


def test_a_finished_run_resumes_for_more_epochs(copied, start, read_results):
    data, out = copied
    start(data, out, number_of_epochs=9)
    assert len(read_results(out)["curve"]) == 9
    start(data, out, fails=True)


def test_fp16_falls_back_on_a_cpu(finished, start, tmp_path):
    data, _, _ = finished
    output = start(data, tmp_path, "--debug", precision="fp16")
    assert "fp16 needs a GPU; using fp32" in output
