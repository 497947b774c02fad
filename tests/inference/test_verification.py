"""EER, minDCF and normalised scores, also for the longest trial lists."""

import time

import numpy as np
import pytest
import torch
from speechbrain.utils.metric_stats import EER, minDCF

from audiomamba.inference import verification
from audiomamba.inference.verification import (
    cohort_statistics,
    cosine_scores,
    equal_error_rate,
    error_rates,
    min_dcf,
    s_norm,
)


def random_trials(seed, n_trials=400, decimals=None):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n_trials)
    scores = (rng.normal(size=n_trials) + labels).astype(np.float32)
    return labels, scores if decimals is None else scores.round(decimals)


@pytest.mark.parametrize("decimals", [None, 1, 0])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_figures_equal_speechbrains_also_with_ties(seed, decimals):
    labels, scores = random_trials(seed, decimals=decimals)
    same, other = (torch.tensor(scores[labels == i]) for i in (1, 0))
    eer, _ = EER(same, other)
    assert equal_error_rate(labels, scores)[0] == pytest.approx(eer, abs=1e-6)
    for costs in (
        {"p_target": 0.01},
        {"p_target": 0.3, "c_miss": 2.0, "c_fa": 0.5},
    ):
        theirs, _ = minDCF(same, other, **costs)
        ours, threshold = min_dcf(labels, scores, **costs)
        of_miss = costs.get("c_miss", 1.0) * costs["p_target"]
        of_fa = costs.get("c_fa", 1.0) * (1 - costs["p_target"])
        assert ours * min(of_miss, of_fa) == pytest.approx(theirs, abs=1e-6)
        miss = (scores[labels == 1] <= threshold).mean()
        false_alarm = (scores[labels == 0] > threshold).mean()
        cost = of_miss * miss + of_fa * false_alarm
        assert cost == pytest.approx(theirs, abs=1e-6)


def test_figures_equal_those_worked_out_by_hand():
    # same: .9 .8 .3, other: .7 .2 .1 .0; at .3, one of 3 is missed and one of
    # 4 is accepted by mistake
    labels = np.array([1, 0, 1, 0, 1, 0, 0])
    scores = np.array([0.9, 0.7, 0.8, 0.2, 0.3, 0.1, 0.0])
    eer, threshold = equal_error_rate(labels, scores)
    assert eer == pytest.approx((1 / 3 + 1 / 4) / 2)
    assert threshold == 0.3
    # p 0.5: at .2, nothing is missed: 0.5 * 1/4, divided by 0.5
    assert min_dcf(labels, scores, p_target=0.5) == (0.25, 0.2)
    # p 0.01: no false alarm at .7, one of 3 missed
    cost, threshold = min_dcf(labels, scores, p_target=0.01)
    assert (cost, threshold) == (pytest.approx(1 / 3), 0.7)
    assert min_dcf(labels, -scores, p_target=0.5)[0] <= 1.0


def test_separated_reversed_and_constant_scores():
    labels = np.array([0, 0, 1, 1])
    scores = np.array([0.1, 0.2, 0.3, 0.4])
    assert equal_error_rate(labels, scores)[0] == 0.0
    assert min_dcf(labels, scores)[0] == 0.0
    assert equal_error_rate(1 - labels, scores)[0] == 1.0
    assert min_dcf(1 - labels, scores)[0] == 1.0
    assert equal_error_rate(labels, np.zeros(4))[0] == 0.5
    # when misses are costly, accepting everything is best
    assert min_dcf(labels, np.zeros(4), p_target=0.9) == (1.0, -np.inf)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="0 of 2 trials"):
        error_rates(np.zeros(2), np.zeros(2))
    with pytest.raises(ValueError, match="1 of 2 scores"):
        error_rates(np.array([0, 1]), np.array([np.nan, 0.0]))
    with pytest.raises(ValueError, match="p_target"):
        min_dcf(np.array([0, 1]), np.zeros(2), p_target=0.0)


def test_a_list_as_long_as_voxceleb1_e_takes_seconds():
    labels, scores = random_trials(0, n_trials=579_818)
    started = time.perf_counter()
    verification.error_figures(labels, scores)
    assert time.perf_counter() - started < 5


@pytest.fixture
def files():
    rng = np.random.default_rng(4)
    rows = rng.normal(size=(30, 6)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("top_n", [None, 7, 500])
def test_scores_equal_those_computed_pair_by_pair(files, top_n, monkeypatch):
    rng = np.random.default_rng(5)
    first, second = rng.integers(0, 20, (2, 50))
    cohort = torch.tensor(files[20:])
    expected, expected_norm = [], []
    cosine = torch.nn.CosineSimilarity(dim=-1)
    for pair in zip(first, second):
        one, two = (torch.tensor(files[index]) for index in pair)
        score = cosine(one, two)
        parts = []
        for side in (one, two):
            impostors = cosine(side[None], cohort)
            impostors = impostors.sort(descending=True).values[:top_n]
            parts.append((score - impostors.mean()) / impostors.std())
        expected.append(score)
        expected_norm.append(sum(parts) / 2)
    for block in (4096, 3):
        monkeypatch.setattr(verification, "_BLOCK", block)
        scores = cosine_scores(files, first, second)
        statistics = cohort_statistics(files[:20], files[20:], top_n)
        normalised = s_norm(scores, first, second, statistics)
        np.testing.assert_allclose(scores, expected, atol=1e-6)
        np.testing.assert_allclose(normalised, expected_norm, atol=1e-4)


def test_a_cohort_without_variance_is_refused(files):
    with pytest.raises(ValueError, match="cohort of 1"):
        cohort_statistics(files, files[:1])
    with pytest.raises(ValueError, match="copies"):
        cohort_statistics(files, np.zeros((5, 6), dtype=np.float32))
