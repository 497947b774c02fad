"""Cross-validation on ESC-50 and on a custom list, as users run it."""

import shutil

import numpy as np
import pandas as pd
import pytest
import soundfile

TINY = {
    "embed_dim": 32,
    "depth": 1,
    "batch_size": 8,
    "num_workers": 0,
    "n_frames": 96,
    "max_duration": 1.0,
}


def test_given_weights_are_tested_on_every_fold(
    make_corpus, run_recipe, read_results, tmp_path
):
    """Once ended in a KeyError: without training there is no curve."""
    corpus = make_corpus("ESC50", n_clips=1, seconds=1.0).folder

    def start(script, folder, *flags, **overrides):
        run_recipe(
            "ESC50",
            "hparams/aum_tiny.yaml",
            *flags,
            script=script,
            **TINY,
            data_folder=corpus,
            output_folder=tmp_path / folder,
            **overrides,
        )
        return read_results(tmp_path / folder)

    start("train.py", "fold1", fold=1, number_of_epochs=1)
    given = next((tmp_path / "fold1" / "save").glob("CKPT*"))
    for fold in (1, 3):
        shutil.copytree(given, tmp_path / "weights" / f"fold{fold}")
    folds = ("--folds", 1, 3, "--test_only")
    of_fold = tmp_path / "weights" / "fold<fold>"
    record = start("run_folds.py", "given", *folds, init_from=of_fold)
    each = [read_results(tmp_path / "given" / f"fold{fold}") for fold in (1, 3)]
    accuracies = [fold["metric"]["value"] for fold in each]
    assert record["metric"]["value"] == pytest.approx(sum(accuracies) / 2)
    assert record["protocols"]["init_from"]["folds"] == {
        str(fold): value for fold, value in zip((1, 3), accuracies)
    }
    assert record["dataset"] == "ESC50"


def test_the_folds_of_ones_own_list_are_averaged(
    run_recipe, read_results, tmp_path
):
    rows = []
    for index in range(18):
        label = ("low", "high")[index % 2]
        pitch = {"low": 300, "high": 2500}[label]
        wave = 0.3 * np.sin(2 * np.pi * pitch * np.arange(8000) / 16000)
        soundfile.write(tmp_path / f"{index:02}.wav", wave, 16000)
        # names that YAML would read as a number and as a truth value
        fold = ("01", "no", "c")[index // 2 % 3]
        rows.append((f"{index:02}", 0.5, f"{index:02}.wav", label, fold))
    columns = ["ID", "duration", "wav", "label", "fold"]
    table = pd.DataFrame(rows, columns=columns)
    table.to_csv(tmp_path / "clips.csv", index=False)
    output = run_recipe(
        "Custom",
        "hparams/aum_tiny.yaml",
        *("--folds", "01", "no"),
        script="run_folds.py",
        **TINY,
        data_folder=tmp_path,
        clips_csv=tmp_path / "clips.csv",
        output_folder=tmp_path / "out",
        number_of_epochs=1,
    )
    assert "standard deviation over 2 folds" in output
    record = read_results(tmp_path / "out")
    folds = [read_results(tmp_path / "out" / f"fold{f}") for f in ("01", "no")]
    values = [fold["metric"]["value"] for fold in folds]
    assert record["metric"]["value"] == pytest.approx(np.mean(values))
    assert record["protocols"]["honest"]["folds"] == dict(
        zip(("01", "no"), values)
    )
    scores = pd.read_csv(tmp_path / "out" / "scores.csv", dtype=str)
    tested = table[table["fold"].isin(["01", "no"])]
    assert sorted(scores["ID"]) == sorted(tested["ID"])
    by_id = scores.set_index("ID")["fold"]
    assert by_id[tested["ID"]].tolist() == tested["fold"].tolist()


def test_a_search_is_for_one_run(run_recipe):
    yaml = "hparams/aum_tiny.yaml"
    output = run_recipe(
        "Custom", yaml, "--hpopt=True", script="run_folds.py", fails=True
    )
    assert "train.py with --fold" in output.splitlines()[-1]


def test_one_list_is_asked_for(run_recipe):
    output = run_recipe(
        "Custom", "hparams/aum_tiny.yaml", script="run_folds.py", fails=True
    )
    assert "clips_csv is None; give the CSV of all clips" in output
    assert "Traceback" not in output
