"""Protocols, other encoders, the log and the record of a run."""

import json
import math
import subprocess

import pytest
import torch

from audiomamba.lobes.weights import CheckpointError
from audiomamba.training import results
from audiomamba.training.hparams import load_hparams, match_classes
from audiomamba.training.losses import (
    as_rows,
    binary_cross_entropy,
    cross_entropy,
)


def test_protocols_choose_by_their_own_split(make_run):
    """The reported split is best at epoch 2, validation at epoch 3."""
    run = make_run(epochs=3)
    brain = run.brain
    valid, test = iter([0.4, 0.5, 0.6]), iter([0.5, 0.7, 0.6])
    summarise = brain.hparams.metrics.summarise

    def planned():
        summary = summarise()
        if brain.planned is not None:
            summary["accuracy"] = next(brain.planned)
        return summary

    score, end = brain._score, brain.on_stage_end

    def on_stage_end(stage, loss, epoch=None):
        brain.planned = valid if epoch else None
        end(stage, loss, epoch)

    def scored(loader, enable):
        brain.planned = test
        return score(loader, enable)

    brain.hparams.metrics.summarise = planned
    brain.on_stage_end, brain._score = on_stage_end, scored
    run.fit()
    tested = run.test()
    assert list(tested) == ["honest", "paper"]
    assert [record["epoch"] for record in tested.values()] == [3, 2]
    assert tested["paper"]["chosen_by"] == {"test_accuracy": 0.7}
    assert tested["honest"]["chosen_by"] == {"valid_accuracy": 0.6}


def test_paper_protocol_measures_what_it_chose(make_run):
    run = make_run(epochs=3)
    run.fit()
    tested = run.test()["paper"]
    curve = run.hparams["epoch_log"].history()
    best = max(row["test_accuracy"] for row in curve)
    assert tested["test"]["accuracy"] == pytest.approx(best)


def test_honest_run_never_sees_the_test_split(make_run):
    run = make_run(protocols=["honest"])
    run.sets[2].data = None
    run.fit()
    assert "test_accuracy" not in run.hparams["epoch_log"].history()[0]


def test_last_epoch_without_a_validation_split(make_run):
    run = make_run(protocols=["paper", "last"])
    train, _, reported = run.sets
    run.sets = train, reported, reported
    run.fit()
    tested = run.test()
    curve = run.hparams["epoch_log"].history()
    assert "valid_accuracy" not in curve[0]
    accuracies = [row["test_accuracy"] for row in curve]
    assert tested["last"]["epoch"] == 3
    assert tested["last"]["test"]["accuracy"] == accuracies[-1]
    assert tested["paper"]["test"]["accuracy"] == max(accuracies)


def test_honest_needs_a_split_of_its_own(make_run):
    run = make_run()
    train, _, reported = run.sets
    run.sets = train, reported, reported
    with pytest.raises(ValueError, match="not the reported one"):
        run.fit()


def test_unknown_protocol_and_missing_split_are_refused(make_run):
    with pytest.raises(ValueError, match="honest, paper, last"):
        make_run(protocols=["lucky"])
    run = make_run()
    with pytest.raises(ValueError, match="reported_set"):
        run.brain.fit(
            run.brain.checkpointer.recoverables["counter"], *run.sets[:2]
        )


def test_test_only_uses_the_best_checkpoint(make_run):
    run = make_run()
    run.fit()
    tested = run.test()
    alone = make_run(test_only=True)
    alone.fit()
    assert alone.test() == tested
    assert alone.brain.train_seconds() == run.brain.train_seconds() > 0
    with pytest.raises(CheckpointError, match="train first"):
        make_run("nothing", test_only=True).test()


def test_evaluation_leaves_the_options_alone(make_run):
    run = make_run(epochs=1)
    run.fit()
    options = {"batch_size": 4}
    run.brain.test(run.sets[2], options)
    run.brain.test(run.sets[2], options)
    assert options == {"batch_size": 4}


class MapEncoder(torch.nn.Module):
    """Like Cnn14: one argument, maps [B, C, T, F] and something else."""

    def forward(self, x):
        return x.mean(1)[:, :8, None, None].expand(-1, -1, 2, 3), "more"


class FlatEncoder(torch.nn.Module):
    def forward(self, x, lengths=None):
        assert lengths is not None
        return x.mean(1)[:, :8]


@pytest.mark.parametrize("encoder", [MapEncoder, FlatEncoder])
def test_other_encoders_fit_in(make_run, encoder):
    run = make_run(epochs=1, encoder=encoder())
    run.fit()
    assert 0.0 <= run.test()["honest"]["test"]["accuracy"] <= 1.0


def test_log_line_is_readable(make_run):
    run = make_run(epochs=2)
    run.fit()
    lines = (run.folder / "train_log.txt").read_text().splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("epoch 1/2 | train: loss ")
    for words in ("lr ", "data_wait ", "valid: accuracy ", "test: ", " %"):
        assert words in lines[0]


def test_record_holds_what_is_needed_to_repeat_it(make_run, tmp_path):
    run = make_run()
    run.fit()
    record = results.run_record(
        "Miniature",
        "tiny.yaml",
        run.test(),
        brain=run.brain,
        hparams=run.hparams,
    )
    path = tmp_path / "deep" / "results.json"
    results.write_json(path, record)
    read = json.loads(path.read_text())
    assert read["metric"]["name"] == "accuracy"
    assert read["metric"]["value"] == read["metrics"]["accuracy"]
    assert read["protocol"] == "honest"
    assert read["parameters"] == 171
    assert read["clips"] == {"train": 22, "valid": 9, "test": 9}
    flops = read["flops_per_clip"]
    assert 2 * flops["forward"] <= flops["training"] <= 3 * flops["forward"]
    assert len(read["curve"]) == read["epochs_trained"] == 3
    assert read["wall_time_s"] > 0
    for key in ("rule", "seed", "versions", "commit", "command", "hardware"):
        assert read[key] or read[key] == 0, key
    assert [entry.name for entry in path.parent.iterdir()] == ["results.json"]


def test_commit_says_when_files_were_changed(tmp_path):
    def git(*arguments):
        who = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
        subprocess.run(["git", *who, *arguments], cwd=tmp_path, check=True)

    assert results.source_commit(tmp_path) is None
    git("init", "-q")
    (tmp_path / "file").write_text("one")
    git("add", "file")
    git("commit", "-q", "-m", "one")
    clean = results.source_commit(tmp_path)
    assert len(clean) == 40
    (tmp_path / "file").write_text("two")
    assert results.source_commit(tmp_path) == f"{clean}-dirty"


def test_json_without_numbers_that_it_does_not_know():
    assert results.strict_json({"a": (math.inf, 1)}) == {"a": [None, 1]}


def test_classes_of_the_data_win(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(
        f"seed: 1\nn_classes: 3\noutput_folder: {tmp_path}/out\n"
        "head: !new:torch.nn.Linear [2, !ref <n_classes>]\n"
    )
    (tmp_path / "out").mkdir()
    overrides = "seed: 5\nn_classes: 4"
    hparams = load_hparams(path, overrides)
    assert match_classes(hparams, 4, path, overrides) is hparams
    again = match_classes(hparams, 9, path, overrides)
    assert again["head"].out_features == again["n_classes"] == 9
    assert again["seed"] == 5
    saved = (tmp_path / "out" / "hyperparams.yaml").read_text()
    assert "n_classes: 9" in saved and "seed: 5" in saved


def test_losses_take_indices_and_soft_rows():
    logits = torch.randn(4, 3)
    indices = torch.tensor([0, 2, 1, 1])
    soft = 0.7 * as_rows(indices, 3)
    assert cross_entropy(logits, soft) == cross_entropy(logits, indices)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(
        logits, as_rows(indices, 3)
    )
    assert binary_cross_entropy(logits, indices) == expected
    assert binary_cross_entropy(logits, soft) != expected
    half = binary_cross_entropy(logits.bfloat16(), indices)
    assert half.dtype == torch.float32
