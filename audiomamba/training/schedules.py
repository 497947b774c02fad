"""Learning-rate schedules as pure functions of the position in a run.

A schedule maps (optimiser step, epoch, optimiser steps per epoch) to a factor
of the learning rate.  The Brain multiplies each parameter group's initial
learning rate by it, so relative scales are kept, and a resumed run needs no
scheduler state: step and epoch are in every checkpoint.

``step`` counts finished optimiser steps from 0, ``epoch`` counts from 1.
"""

import math
from bisect import bisect_right
from dataclasses import dataclass, field


def stepped_warmup(step: int, warmup_steps: int, every: int) -> float:
    """Compute the warm-up of the paper's code: a staircase from zero.

    Every ``every`` steps the factor is set to ``step / warmup_steps`` and then
    kept, so the first ``every`` steps change no weight.

    Arguments
    ---------
    step : int
        Finished optimiser steps.
    warmup_steps : int
        Length of the warm-up; 0 disables it.
    every : int
        Number of steps between updates of the factor.

    Returns
    -------
    float
        A factor in [0, 1].

    Example
    -------
    >>> [stepped_warmup(step, 1000, 50) for step in (0, 49, 50, 999, 1000)]
    [0.0, 0.0, 0.05, 0.95, 1.0]
    """
    if step >= warmup_steps:
        return 1.0
    return step // every * every / warmup_steps


@dataclass(frozen=True)
class WarmupMultiStep:
    """The paper's schedule: stepped warm-up, then a drop every few epochs.

    Equals ``MultiStepLR(range(start, 1000, every), factor)``, stepped at the
    end of each epoch: with ``start=5, every=2`` epoch 6 is the first with
    ``factor``, epoch 8 the first with ``factor ** 2``.

    Arguments
    ---------
    start : int
        Number of epochs before the first drop.
    every : int
        Number of epochs between drops.
    factor : float
        Factor of each drop.
    warmup_steps : int
        Optimiser steps of warm-up; 0 for none.
    warmup_every : int
        Number of steps between updates during warm-up.

    Example
    -------
    >>> schedule = WarmupMultiStep(start=5, every=2, factor=0.75)
    >>> [schedule(5000, epoch, 100) for epoch in (5, 6, 7, 8)]
    [1.0, 0.75, 0.75, 0.5625]
    >>> schedule(100, 1, 100)
    0.1
    """

    start: int = 5
    every: int = 2
    factor: float = 0.75
    warmup_steps: int = 1000
    warmup_every: int = 50

    def __post_init__(self):
        if self.every < 1 or self.warmup_every < 1:
            raise ValueError(
                f"every={self.every} and warmup_every={self.warmup_every}: "
                "both must be 1 or more."
            )

    def __call__(self, step: int, epoch: int, steps_per_epoch: int) -> float:
        """Return the factor; see the module's docstring."""
        finished = epoch - 1
        drops = max(0, (finished - self.start) // self.every + 1)
        warm = stepped_warmup(step, self.warmup_steps, self.warmup_every)
        return warm * self.factor**drops


@dataclass(frozen=True)
class WarmupEpochSteps:
    """EPIC-SOUNDS: linear warm-up over epochs, then a factor per epoch range.

    The authors' code warms up from ``first`` to 1 and then resets the full
    learning rate at every step, so its configured decay has no effect.
    ``variant="intended"`` applies the decay, ``"effective"`` does what that
    code does.

    Arguments
    ---------
    warmup_epochs : int
        Epochs of linear warm-up, step by step.
    first : float
        Factor of the first step.
    milestones : dict
        Number of finished epochs -> factor from there on.
    variant : str
        ``intended`` or ``effective``.

    Example
    -------
    >>> schedule = WarmupEpochSteps()
    >>> [round(schedule(step, 1, 100), 3) for step in (0, 100, 200)]
    [0.01, 0.505, 1.0]
    >>> [schedule(9999, epoch, 100) for epoch in (10, 11, 21)]
    [1.0, 0.05, 0.01]
    >>> WarmupEpochSteps(variant="effective")(9999, 21, 100)
    1.0
    """

    warmup_epochs: int = 2
    first: float = 0.01
    milestones: dict = field(default_factory=lambda: {10: 0.05, 20: 0.01})
    variant: str = "intended"

    def __post_init__(self):
        if self.variant not in ("intended", "effective"):
            raise ValueError(
                f"variant={self.variant!r}: choose 'intended' or 'effective'."
            )

    def __call__(self, step: int, epoch: int, steps_per_epoch: int) -> float:
        """Return the factor; see the module's docstring."""
        warmup_steps = self.warmup_epochs * steps_per_epoch
        if step < warmup_steps:
            return self.first + (1 - self.first) * step / warmup_steps
        if self.variant == "effective":
            return 1.0
        bounds = sorted(self.milestones)
        passed = bisect_right(bounds, epoch - 1)
        return self.milestones[bounds[passed - 1]] if passed else 1.0


@dataclass(frozen=True)
class WarmupCosine:
    """Linear warm-up, then cosine decay to ``final``.

    Arguments
    ---------
    n_epochs : int
        Number of epochs of the run.
    warmup_epochs : float
        Epochs of warm-up; the first step has a small learning rate, not zero.
    final : float
        Factor at the end of the run.

    Example
    -------
    >>> schedule = WarmupCosine(n_epochs=10, warmup_epochs=1, final=0.0)
    >>> [round(schedule(step, 1, 10), 3) for step in (0, 9, 10, 55, 100)]
    [0.1, 1.0, 1.0, 0.5, 0.0]
    """

    n_epochs: int
    warmup_epochs: float = 1.0
    final: float = 0.01

    def __post_init__(self):
        if not 0 <= self.warmup_epochs <= self.n_epochs:
            raise ValueError(
                f"warmup_epochs={self.warmup_epochs} must be in 0 to "
                f"n_epochs={self.n_epochs}."
            )

    def __call__(self, step: int, epoch: int, steps_per_epoch: int) -> float:
        """Return the factor; see the module's docstring."""
        warmup = self.warmup_epochs * steps_per_epoch
        if step < warmup:
            return min(1.0, (step + 1) / warmup)
        total = self.n_epochs * steps_per_epoch
        position = min(1.0, (step - warmup) / max(1.0, total - warmup))
        return (
            self.final
            + (1 - self.final) * (1 + math.cos(math.pi * position)) / 2
        )
