"""Early stopping: by the YAML's patience, or by SpeechBrain's counter."""

import pytest
from speechbrain.utils.epoch_loop import EpochCounter, EpochCounterWithStopper

from audiomamba.training.tasks.classification import ClassificationBrain

SCORES = [0.2, 0.5, 0.5, 0.4, 0.6, 0.1, 0.6, 0.3]


class Scripted(ClassificationBrain):
    """Reports the scores above."""

    def _end_epoch(self, epoch, stats):
        super()._end_epoch(epoch, {**stats, "accuracy": SCORES[epoch - 1]})


def epochs_of(run):
    return [row["epoch"] for row in run.hparams["epoch_log"].history()]


@pytest.mark.parametrize("patience, last", [(1, 3), (2, 4), (3, 8), (None, 8)])
def test_an_equal_score_is_not_a_better_one(make_run, patience, last):
    run = make_run(brain_class=Scripted, epochs=8, patience=patience)
    run.fit()
    assert epochs_of(run)[-1] == last
    log = (run.folder / "train_log.txt").read_text()
    assert ("stopped early: epoch 2 is the best" in log) == (last < 8)


def test_a_mean_of_weights_begins_before_the_run_ends(make_run):
    """Once epoch 3 was the last, and the mean was that of no weights."""
    averaged = {"average_from": 6, "protocols": ["average"]}
    run = make_run(brain_class=Scripted, epochs=8, patience=1, **averaged)
    run.fit()
    assert epochs_of(run)[-1] == 6
    assert run.test()["average"]["epoch"] == 6


def test_a_stopped_run_stays_stopped(make_run):
    make_run("a", brain_class=Scripted, epochs=8, patience=2).fit()
    again = make_run("a", brain_class=Scripted, epochs=8, patience=2)
    again.fit()
    assert epochs_of(again)[-1] == 4
    assert again.brain.best_epoch == 2 and again.brain.best_score == 0.5


def test_patience_counts_on_after_a_restart(make_run):
    make_run("a", brain_class=Scripted, epochs=3, patience=3).fit()
    resumed = make_run("a", brain_class=Scripted, epochs=8, patience=3)
    resumed.fit()
    assert epochs_of(resumed)[-1] == 8
    assert resumed.brain.best_epoch == 5


@pytest.mark.parametrize("warmup, last", [(0, 4), (3, 7)])
def test_speechbrains_stopping_counter_is_respected(make_run, warmup, last):
    run = make_run(brain_class=Scripted, epochs=8)
    counter = EpochCounterWithStopper(8, 2, warmup, "max")
    run.brain.fit(counter, *run.sets, valid_loader_kwargs={"batch_size": 4})
    assert epochs_of(run)[-1] == last


def test_a_plain_counter_runs_to_its_limit(make_run):
    run = make_run(brain_class=Scripted, epochs=1)
    run.brain.fit(EpochCounter(4), *run.sets)
    assert epochs_of(run) == [1, 2, 3, 4]
