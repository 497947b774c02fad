"""Parameter groups, learning-rate schedules, and gradient clipping.

A schedule is a pure function of the position in a run: it maps (optimiser step,
epoch, optimiser steps per epoch) to a factor of the learning rate.  The Brain
multiplies each parameter group's initial learning rate by it, so relative
scales are kept, and a resumed run needs no scheduler state: step and epoch are
in every checkpoint.

``step`` counts finished optimiser steps from 0, ``epoch`` counts from 1.
"""

import math
from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import torch


def parameter_groups(
    modules: torch.nn.ModuleDict,
    head: str = "classifier",
    head_lr_scale: float = 1.0,
    lr_scales: Mapping[torch.nn.Parameter, float] = MappingProxyType({}),
    frozen_now: Collection[torch.nn.Parameter] = (),
) -> list[dict]:
    """Group parameters by weight decay and learning-rate scale.

    Parameters tagged ``_no_weight_decay = True`` (``A_log``, ``D``, positional
    embedding, class token) go to groups with ``weight_decay`` 0.  Each group
    has an ``lr_scale``, which `scale_learning_rates` and `set_learning_rates`
    respect.  Frozen parameters are left out, unless they train later, and
    shared ones appear once, in the order of the modules, so an optimiser's
    state matches after a restart.

    Arguments
    ---------
    modules : torch.nn.ModuleDict
        The modules to optimise, by name.
    head : str
        Name of the module whose learning rate is scaled.
    head_lr_scale : float
        Learning rate of the head relative to the rest.
    lr_scales : mapping
        Further factors of single parameters, see
        `audiomamba.training.finetuning.layer_lr_scales`.
    frozen_now : collection of torch.nn.Parameter
        Frozen parameters that train later.  Until they have a gradient, an
        optimiser leaves them alone.

    Returns
    -------
    list of dict
        Non-empty groups for a PyTorch optimiser.

    Example
    -------
    >>> modules = torch.nn.ModuleDict(
    ...     {"body": torch.nn.Linear(4, 4), "classifier": torch.nn.Linear(4, 2)}
    ... )
    >>> modules["body"].weight._no_weight_decay = True
    >>> groups = parameter_groups(modules, head_lr_scale=10.0)
    >>> [(group["lr_scale"], len(group["params"])) for group in groups]
    [(1.0, 1), (1.0, 1), (10.0, 2)]
    >>> ["weight_decay" in group for group in groups]
    [True, False, False]
    """
    groups, seen = {}, set()
    for name, module in modules.items():
        for parameter in module.parameters():
            trains = parameter.requires_grad or parameter in frozen_now
            if not trains or parameter in seen:
                continue
            seen.add(parameter)
            scale = float(head_lr_scale) if name == head else 1.0
            scale *= lr_scales.get(parameter, 1.0)
            exempt = getattr(parameter, "_no_weight_decay", False)
            key = (bool(exempt), scale)
            if key not in groups:
                groups[key] = {"params": [], "lr_scale": scale}
                if exempt:
                    groups[key]["weight_decay"] = 0.0
            groups[key]["params"].append(parameter)
    return list(groups.values())


def scale_learning_rates(optimizer: torch.optim.Optimizer) -> None:
    """Multiply each group's initial learning rate by its ``lr_scale``.

    Arguments
    ---------
    optimizer : torch.optim.Optimizer
        A new optimiser of `parameter_groups`.

    Example
    -------
    >>> group = {"params": [torch.nn.Parameter(torch.ones(1))], "lr_scale": 10}
    >>> optimizer = torch.optim.SGD([group], lr=0.5)
    >>> scale_learning_rates(optimizer)
    >>> optimizer.param_groups[0]["lr"]
    5.0
    """
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"] * group.get("lr_scale", 1.0)
        group["lr"] = group["initial_lr"]


def set_learning_rates(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Set each group's learning rate to its initial one times ``factor``.

    Arguments
    ---------
    optimizer : torch.optim.Optimizer
        An optimiser prepared by `scale_learning_rates`.
    factor : float
        The factor from a schedule.
    """
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor


def clip_gradients(
    optimizers: Iterable[torch.optim.Optimizer], max_norm: float
) -> torch.Tensor:
    """Clip the global norm of the gradients of all optimisers, in place.

    Arguments
    ---------
    optimizers : iterable of torch.optim.Optimizer
        Optimisers whose gradients are clipped.
    max_norm : float
        Maximum norm; ``inf`` only measures.

    Returns
    -------
    torch.Tensor
        The norm before clipping; not finite if any gradient is not.

    Example
    -------
    >>> a, b = (torch.nn.Parameter(torch.zeros(1)) for _ in range(2))
    >>> a.grad, b.grad = torch.tensor([3.0]), torch.tensor([4.0])
    >>> optimizer = torch.optim.SGD([{"params": [a]}, {"params": [b]}], lr=1.0)
    >>> clip_gradients([optimizer], max_norm=1.0)
    tensor(5.)
    >>> round(b.grad.item(), 4)
    0.8
    """
    parameters = [
        parameter
        for optimizer in optimizers
        for group in optimizer.param_groups
        for parameter in group["params"]
        if parameter.grad is not None
    ]
    return torch.nn.utils.clip_grad_norm_(parameters, max_norm)


def checked_max_norm(max_norm: float) -> float:
    """Return ``max_norm`` if it is positive.

    Arguments
    ---------
    max_norm : float
        Maximum gradient norm.

    Returns
    -------
    float
        The same value.

    Raises
    ------
    ValueError
        If it is not positive: a negative norm, which means "off" elsewhere,
        would reverse all gradients.

    Example
    -------
    >>> checked_max_norm(float("inf"))
    inf
    """
    if not max_norm > 0:
        raise ValueError(
            f"max_grad_norm is {max_norm}; it must be positive. "
            "Set max_grad_norm: .inf to disable clipping."
        )
    return float(max_norm)


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
