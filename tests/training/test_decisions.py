"""Thresholds and a temperature, and what a tagger says with them."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score

from audiomamba.nnet.probabilities import scaled
from audiomamba.pictures import precision_recall_picture
from audiomamba.training.decisions import (
    UNKNOWN,
    best_temperature,
    best_threshold,
    f1_of_decisions,
    learn_decisions,
)
from audiomamba.training.metrics import ClassificationMetrics


def clips(n=300, temperature=1.0, seed=0):
    """Return scores that are right as often as they say, made less certain."""
    rng = np.random.default_rng(seed)
    p = rng.uniform(0.02, 0.98, (n, 4))
    return scaled(p, temperature), rng.random((n, 4)) < p


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_undoes_what_made_scores_uncertain(temperature):
    scores, rows = clips(3000, temperature)
    found = best_temperature(scores, rows)
    assert found == pytest.approx(1 / temperature, rel=0.15)


def test_scaling_keeps_the_order_and_ends_finite():
    scores = np.array([0.0, 1e-9, 0.2, 0.5, 0.7, 1.0])
    for temperature in (0.05, 1.0, 20.0):
        found = scaled(scores, temperature)
        assert (np.diff(found) >= 0).all() and np.isfinite(found).all()
        assert found[3] == 0.5


@pytest.mark.parametrize("seed", range(5))
def test_no_threshold_has_a_better_f1(seed):
    scores, rows = clips(60, seed=seed)
    # Scores that are equal, as of silence
    scores = scores.round(1)
    for score, row in zip(scores.T, rows.T):
        found = f1_score(row, score >= best_threshold(score, row))
        others = [f1_score(row, score >= t) for t in np.linspace(0, 1, 201)]
        assert found >= max(others) - 1e-9


def test_a_class_without_evidence_keeps_one_half():
    scores = np.array([0.2, 0.9])
    assert best_threshold(scores, np.array([0, 0])) == UNKNOWN
    assert best_threshold(scores, np.array([1, 1])) == UNKNOWN


@pytest.mark.parametrize(
    "scores, threshold",
    [([4e-5, 3e-5, 1e-5], 3.5e-5), ([1, 1 - 4e-5, 0.5], 1 - 2e-5)],
)
def test_thresholds_of_rare_and_certain_classes_are_kept(
    scores, threshold, monkeypatch
):
    """Once rounded to 0 and 1, which say yes, or no, to every clip."""
    metrics = ClassificationMetrics(multi_label=True)
    targets = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    pairs = torch.tensor(scores, dtype=torch.float64)
    pairs = torch.stack([pairs, 1 - pairs], 1)
    brain = SimpleNamespace(hparams=SimpleNamespace(metrics=metrics))
    brain.score = lambda *_: brain.hparams.metrics.append(
        list("abc"), torch.logit(pairs), targets, 0.0
    )
    monkeypatch.setattr(
        "audiomamba.training.decisions.best_temperature", lambda *_: 1.0
    )
    found = learn_decisions(brain, [], {})
    assert found["thresholds"][0] == pytest.approx(threshold, rel=1e-6)


def test_thresholds_are_judged_on_the_test_clips():
    metrics = ClassificationMetrics(multi_label=True)
    scores, rows = clips(60)
    rows[:, 3] = False  # no mean counts a class without clips
    logits = torch.logit(torch.from_numpy(scores))
    metrics.append([*map(str, range(60))], logits, torch.from_numpy(rows), 0.0)
    thresholds = [0.3, 0.5, 0.7, 0.9]
    decisions = {"temperature": 2.0, "thresholds": thresholds}
    found = f1_of_decisions(metrics, decisions)
    for way, said in (
        ("thresholds", scaled(scores, 2.0) >= thresholds),
        ("one_half", scores >= 0.5),
    ):
        macro = f1_score(rows[:, :3], said[:, :3], average="macro")
        assert found[way]["macro"] == pytest.approx(macro)
        micro = f1_score(rows, said, average="micro")
        assert found[way]["micro"] == pytest.approx(micro)
    assert found["thresholds"] != found["one_half"]


def test_curves_of_chosen_classes_are_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    scores, rows = clips(40)
    rows[:, 3] = False
    names, path = ["a", "$b$", "c", "silent"], tmp_path / "curves.png"
    for chosen in (None, ["$b$", "silent"]):
        precision_recall_picture(path, scores, rows, names, [0.5] * 4, chosen)
        assert path.stat().st_size > 10_000
        path.unlink()
    with pytest.raises(ValueError, match="no class d"):
        precision_recall_picture(path, scores, rows, names, chosen=["d"])
    with pytest.raises(ValueError, match="none of the classes"):
        precision_recall_picture(path, scores, rows, names, chosen=["silent"])
