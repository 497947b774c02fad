"""Schedules equal PyTorch's and the published training loop."""

import pytest
import torch

from audiomamba.training.optim import (
    WarmupCosine,
    WarmupEpochSteps,
    WarmupMultiStep,
)


@pytest.mark.parametrize(
    "start, every, factor, epochs",
    [(2, 1, 0.5, 5), (10, 5, 0.5, 25), (5, 2, 0.75, 20), (5, 1, 0.85, 30)],
)
def test_decay_equals_multistep_lr(start, every, factor, epochs):
    """The four decays of the published scripts, epoch by epoch."""
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(
        optimizer, list(range(start, 1000, every)), gamma=factor
    )
    ours = WarmupMultiStep(start, every, factor)
    for epoch in range(1, epochs + 1):
        expected = optimizer.param_groups[0]["lr"]
        assert ours(10**6, epoch, 1) == pytest.approx(expected), epoch
        optimizer.step()
        scheduler.step()


def test_warmup_equals_the_published_loop():
    ours = WarmupMultiStep()
    rate = 1.0
    for step in range(1200):
        if step <= 1000 and step % 50 == 0:
            rate = step / 1000
        assert ours(step, 1, 1200) == pytest.approx(rate), step
    assert ours(49, 1, 1200) == 0.0


def test_without_warmup_the_first_rate_is_the_full_rate():
    assert WarmupMultiStep(warmup_steps=0)(0, 1, 10) == 1.0


def test_variants_for_epic_sounds_differ_in_the_decay_only():
    intended = WarmupEpochSteps()
    effective = WarmupEpochSteps(variant="effective")
    for epoch in range(1, 31):
        step = (epoch - 1) * 100 + 50
        factor = 1.0 if epoch <= 10 else 0.05 if epoch <= 20 else 0.01
        if epoch > 2:
            assert intended(step, epoch, 100) == factor
            assert effective(step, epoch, 100) == 1.0
        else:
            assert intended(step, epoch, 100) == effective(step, epoch, 100)


def test_cosine_falls_from_one_to_the_end():
    schedule = WarmupCosine(n_epochs=5, warmup_epochs=0.5, final=0.1)
    rates = [schedule(step, 1 + step // 10, 10) for step in range(50)]
    assert rates[0] == pytest.approx(0.2)
    assert max(rates) == 1.0
    assert rates[5:] == sorted(rates[5:], reverse=True)
    assert 0.1 < rates[-1] < 0.12
    assert schedule(500, 50, 10) == pytest.approx(0.1)


def test_unknown_options_are_named():
    with pytest.raises(ValueError, match="intended"):
        WarmupEpochSteps(variant="best")
    with pytest.raises(ValueError, match="n_epochs"):
        WarmupCosine(n_epochs=1, warmup_epochs=2)
    with pytest.raises(ValueError, match="every"):
        WarmupMultiStep(every=0)
