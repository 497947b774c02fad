"""Protocols, other encoders, the log and the record of a run."""

import json
import math
import subprocess
from types import SimpleNamespace

import pytest
import torch
from speechbrain.core import Stage

from audiomamba.dataio.files import strict_json, write_json
from audiomamba.pretrained.weights import CheckpointError
from audiomamba.training import results
from audiomamba.training.losses import (
    as_rows,
    binary_cross_entropy,
    cross_entropy,
)
from audiomamba.training.runs import environment


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

    def scored(loader, title, enable=None):
        brain.planned = test if title.startswith("epoch") else None
        return score(loader, title, enable)

    brain.hparams.metrics.summarise = planned
    brain.on_stage_end, brain._score = on_stage_end, scored
    run.fit()
    tested = run.test()
    assert list(tested) == ["honest", "paper"]
    assert [record["epoch"] for record in tested.values()] == [3, 2]
    assert tested["paper"]["chosen_by"] == {"test_accuracy": 0.7}
    assert tested["honest"]["chosen_by"] == {"valid_accuracy": 0.6}


def test_the_paper_protocol_tests_the_epoch_it_chose(make_run):
    run = make_run(epochs=3)
    run.fit()
    tested = run.test()["paper"]
    curve = run.hparams["epoch_log"].history()
    best = max(row["test_accuracy"] for row in curve)
    assert tested["test"]["accuracy"] == pytest.approx(best)


def test_an_honest_run_never_sees_the_test_split(make_run):
    run = make_run(protocols=["honest"])
    run.sets[2].data = None
    run.fit()
    assert "test_accuracy" not in run.hparams["epoch_log"].history()[0]


def test_without_a_validation_split_the_last_epoch_is_reported(make_run):
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


def test_the_honest_protocol_needs_a_validation_split(make_run):
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


def test_evaluation_does_not_change_the_loader_options(make_run):
    run = make_run(epochs=1)
    run.fit()
    options = {"batch_size": 4}
    run.brain.test(run.sets[2], options)
    run.brain.test(run.sets[2], options)
    assert options == {"batch_size": 4}


class MapEncoder(torch.nn.Module):
    """Like Cnn14, take one argument and return maps [B, C, T, F] and more."""

    def forward(self, x):
        return x.mean(1)[:, :8, None, None].expand(-1, -1, 2, 3), "more"


class FlatEncoder(torch.nn.Module):
    def forward(self, x, lengths=None):
        assert lengths is not None
        return x.mean(1)[:, :8]


@pytest.mark.parametrize("encoder", [MapEncoder, FlatEncoder])
def test_encoders_with_other_outputs_can_be_trained(make_run, encoder):
    run = make_run(epochs=1, encoder=encoder())
    run.fit()
    assert 0.0 <= run.test()["honest"]["test"]["accuracy"] <= 1.0


def test_an_epoch_is_one_short_line(make_run):
    run = make_run(epochs=2)
    run.fit()
    lines = (run.folder / "train_log.txt").read_text().splitlines()
    assert len(lines) == 2 and max(map(len, lines)) <= 80
    assert lines[0].startswith("epoch 1/2 | loss ")
    for words in ("| accuracy: valid ", " %, test ", " left"):
        assert words in lines[0]
    assert lines[1].endswith("done")
    row = run.hparams["epoch_log"].history()[0]
    figures = {"train_lr", "train_data_wait", "valid_top5", "test_loss"}
    assert figures <= set(
        row
    )  # the table has the figures that the line leaves out


def test_time_left_counts_validation(make_run):
    run = make_run(epochs=2)
    log = run.hparams["epoch_log"]
    parts = {"train": {"loss": 1.0, "seconds": 1.0}, "epoch": {"seconds": 90.0}}
    log.write(1, parts, "accuracy", n_epochs=5)
    assert "| 6 min left" in log.text.read_text()


def test_training_loss_is_the_mean_over_ranks(make_run, monkeypatch):
    """Of a rank that skipped half of its steps, half as much."""
    alone = make_run("alone", epochs=1)
    alone.fit()
    whole = alone.hparams["epoch_log"].history()[0]["train_loss"]
    run = make_run(epochs=1)
    run.brain.checkpointer = None
    monkeypatch.setattr(
        "audiomamba.training.resuming.all_gather",
        lambda value: [value, (0.0, value[1] / 2)],
    )
    run.fit()
    shared = run.hparams["epoch_log"].history()[0]["train_loss"]
    assert shared == pytest.approx(whole / 1.5)


class Batch(SimpleNamespace):
    def to(self, device):
        return self


def test_predictions_are_sorted_and_made_in_evaluation_mode(make_run):
    brain = make_run().brain
    wavs = torch.randn(3, 64)
    batches = [
        Batch(id=["c", "a"], sig=(wavs[[2, 0]], torch.ones(2))),
        Batch(id=["b"], sig=(wavs[[1]], torch.ones(1))),
    ]
    brain.make_dataloader = lambda *arguments, **options: batches
    ids, scores = brain.predict(None)
    assert ids == ["a", "b", "c"] and scores.dtype == "float32"
    brain.modules.eval()
    whole = Batch(id=ids, sig=(wavs, torch.ones(3)))
    with torch.no_grad():
        logits, targets, taught, emb = brain.compute_forward(whole, Stage.TEST)
    assert targets is None and taught is None and emb.shape[:2] == (3, 1)
    torch.testing.assert_close(torch.from_numpy(scores), logits)


def test_predictions_that_are_not_finite_are_named(make_run):
    brain = make_run().brain
    wavs = torch.stack([torch.zeros(64), torch.full((64,), torch.nan)])
    batch = Batch(id=["a", "b"], sig=(wavs, torch.ones(2)))
    brain.make_dataloader = lambda *arguments, **options: [batch]
    with pytest.raises(ValueError, match="1 of 2 clips.*'b'"):
        brain.predict(None)


def test_the_record_has_what_is_needed_to_repeat_the_run(make_run, tmp_path):
    run = make_run()
    run.fit()
    record = results.run_record(
        "Miniature",
        "tiny.yaml",
        run.test(),
        run.brain,
        run.hparams,
    )
    path = tmp_path / "deep" / "results.json"
    write_json(path, record)
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


def test_the_recorded_commit_says_whether_files_were_changed(tmp_path):
    def git(*arguments):
        who = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
        subprocess.run(["git", *who, *arguments], cwd=tmp_path, check=True)

    assert environment.source_commit(tmp_path) is None
    git("init", "-q")
    (tmp_path / "file").write_text("one")
    git("add", "file")
    git("commit", "-q", "-m", "one")
    clean = environment.source_commit(tmp_path)
    assert len(clean) == 40
    (tmp_path / "file").write_text("two")
    assert environment.source_commit(tmp_path) == f"{clean}-dirty"


def test_json_replaces_numbers_that_it_cannot_represent():
    assert strict_json({"a": (math.inf, 1)}) == {"a": [None, 1]}


def test_losses_take_indices_and_soft_rows():
    logits = torch.randn(4, 3)
    indices = torch.tensor([0, 2, 1, 1])
    soft = 0.7 * as_rows(indices, 3)
    expected = 0.7 * cross_entropy(logits, indices)
    torch.testing.assert_close(cross_entropy(logits, soft), expected)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(
        logits, as_rows(indices, 3)
    )
    assert binary_cross_entropy(logits, indices) == expected
    assert binary_cross_entropy(logits, soft) != expected
    half = binary_cross_entropy(logits.bfloat16(), indices)
    assert half.dtype == torch.float32
