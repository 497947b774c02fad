"""Parameter groups, their learning rates, and gradient clipping."""

from collections.abc import Iterable

import torch


def parameter_groups(
    modules: torch.nn.ModuleDict,
    head: str = "classifier",
    head_lr_scale: float = 1.0,
) -> list[dict]:
    """Group parameters by weight decay and learning-rate scale.

    Parameters tagged ``_no_weight_decay = True`` (``A_log``, ``D``, positional
    embedding, class token) go to groups with ``weight_decay`` 0.  Each group
    has an ``lr_scale``, which `scale_learning_rates` and `set_learning_rates`
    respect.  Frozen parameters are left out and shared ones appear once, in the
    order of the modules, so an optimiser's state matches after a restart.

    Arguments
    ---------
    modules : torch.nn.ModuleDict
        The modules to optimise, by name.
    head : str
        Name of the module whose learning rate is scaled.
    head_lr_scale : float
        Learning rate of the head relative to the rest.

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
        scale = float(head_lr_scale) if name == head else 1.0
        for parameter in module.parameters():
            if not parameter.requires_grad or id(parameter) in seen:
                continue
            seen.add(id(parameter))
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
