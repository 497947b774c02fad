"""Folds are averaged by the rule of each protocol."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from audiomamba.training import folds
from audiomamba.training.folds import (
    SHARED,
    average_best_epoch,
    average_tested,
    run_folds,
)


def curve(*accuracies):
    epochs = range(1, len(accuracies) + 1)
    return pd.DataFrame(
        {"epoch": epochs, "train_loss": 1.0, "test_accuracy": accuracies}
    )


def test_the_epoch_with_the_best_mean_is_chosen():
    curves = {1: curve(0.9, 0.5, 0.2), 2: curve(0.1, 0.7, 0.8)}
    found = average_best_epoch(curves, "accuracy")
    # epochs 1 and 3 are each best for one fold, epoch 2 on average
    assert found["epoch"] == 2
    assert found["test"] == {"accuracy": pytest.approx(0.6)}
    assert found["std"] == {"accuracy": pytest.approx(0.2 / 2**0.5)}
    assert found["folds"] == {1: 0.5, 2: 0.7}


def test_folds_of_different_lengths_have_no_epoch_in_common():
    with pytest.raises(SystemExit, match="different numbers of epochs"):
        average_best_epoch({1: curve(0.5), 2: curve(0.5, 0.6)}, "accuracy")


@pytest.mark.parametrize("epochs, common", [((3, 3), 3), ((2, 5), None)])
def test_what_was_tested_is_averaged(epochs, common):
    values = (0.4, 0.8)
    records = {
        fold: {
            "metric": {"name": "mAP"},
            "protocols": {
                "honest": {"epoch": e, "rule": "best", "test": {"mAP": value}}
            },
        }
        for fold, e, value in zip("ab", epochs, values)
    }
    found = average_tested(records, "honest")
    assert found["epoch"] == common and found["rule"] == "best"
    assert found["test"]["mAP"] == pytest.approx(0.6)
    assert found["std"]["mAP"] == pytest.approx(np.std(values, ddof=1))
    assert found["folds"] == {"a": 0.4, "b": 0.8}


def test_options_may_name_the_fold(tmp_path, monkeypatch):
    started = []

    def run(command, check):
        started.append(command)
        return SimpleNamespace(returncode=len(started) // 2)

    monkeypatch.setattr(folds, "subprocess", SimpleNamespace(run=run))
    path = tmp_path / "a.yaml"
    path.write_text("seed: 1\nteachers: []\n")
    options = [str(path), "--teachers=[a/fold<fold>/model]"]
    with pytest.raises(SystemExit, match="fold c ended with status 1"):
        run_folds(lambda settings: ["01", "c"], options)
    assert [command[4] for command in started] == [
        "--teachers=[a/fold01/model]",
        "--teachers=[a/foldc/model]",
    ]


def test_folds_that_are_not_there_are_named(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("seed: 1\n")
    with pytest.raises(SystemExit, match="no fold 4; choose from 1, 2, 3"):
        run_folds(lambda settings: [1, 2, 3], [str(path), "--folds", "4"])
    with pytest.raises(SystemExit, match="There is no .*b.yaml"):
        run_folds(lambda settings: [1], [str(tmp_path / "b.yaml")])


@pytest.mark.parametrize("look", ["debug", "test_only"])
def test_a_look_at_the_folds_is_averaged_beside_their_training(
    tmp_path, monkeypatch, look
):
    """Once --debug ended in an error: there was no results.json."""

    def train(command, check):
        options = dict(text.split("=") for text in command if "=" in text)
        folder = Path(options["--output_folder"], look)
        folder.mkdir(parents=True)
        tested = {"epoch": 2, "rule": "last epoch", "test": {"accuracy": 0.5}}
        record = {
            **dict.fromkeys(SHARED),
            "metric": {"name": "accuracy"},
            "protocol": "last",
            "protocols": {"last": tested},
            "curve": [],
            "wall_time_s": 1.0,
        }
        (folder / "results.json").write_text(json.dumps(record))
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr("subprocess.run", train)
    path = tmp_path / "a.yaml"
    path.write_text("seed: 1\n")
    out = f"--output_folder={tmp_path / 'out'}"
    run_folds(lambda settings: [1, 2], [str(path), out, f"--{look}"])
    record = json.loads((tmp_path / "out" / look / "results.json").read_text())
    assert record["metric"]["value"] == 0.5
    assert not (tmp_path / "out" / "results.json").exists()
