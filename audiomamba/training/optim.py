"""Parameter groups, learning rates and gradient clipping for every group."""

import torch


def parameter_groups(modules, head="classifier", head_lr_scale=1.0):
    """Split parameters by weight decay and by learning-rate scale.

    Parameters tagged ``_no_weight_decay = True`` (``A_log``, ``D``, position
    embedding, class token) go to groups with ``weight_decay`` 0.  Each group
    carries ``lr_scale``, which `scale_learning_rates` and
    `set_learning_rates` keep.  Frozen parameters are left out, shared ones
    appear once, and the order is that of the modules, so that an optimiser's
    state fits again after a restart.

    Arguments
    ---------
    modules : torch.nn.ModuleDict
        The modules to optimise, by name.
    head : str
        Name of the module whose rate is scaled.
    head_lr_scale : float
        Rate of the head relative to the rest.

    Returns
    -------
    list of dict
        Groups for a torch optimiser; empty ones are left out.

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


def scale_learning_rates(optimizer):
    """Give each group its initial rate: the optimiser's times ``lr_scale``.

    Arguments
    ---------
    optimizer : torch.optim.Optimizer
        Just made from `parameter_groups`.

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


def set_learning_rates(optimizer, factor):
    """Set each group's rate to its own initial rate times ``factor``.

    Arguments
    ---------
    optimizer : torch.optim.Optimizer
        An optimiser that went through `scale_learning_rates`.
    factor : float
        A schedule's factor.
    """
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor


def clip_gradients(optimizers, max_norm):
    """Clip the gradients of all groups of all optimisers as one vector.

    Arguments
    ---------
    optimizers : iterable of torch.optim.Optimizer
        Their gradients are scaled in place.
    max_norm : float
        Largest allowed norm; ``inf`` only measures.

    Returns
    -------
    torch.Tensor
        The norm before clipping; not finite where any gradient is not.

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


def checked_max_norm(max_norm):
    """Return ``max_norm`` or refuse one that would turn gradients round.

    Arguments
    ---------
    max_norm : float
        Largest gradient norm.

    Returns
    -------
    float
        The same value.

    Raises
    ------
    ValueError
        If it is not positive: a negative norm, which some programs take for
        "off", would reverse every gradient.

    Example
    -------
    >>> checked_max_norm(float("inf"))
    inf
    """
    if not max_norm > 0:
        raise ValueError(
            f"max_grad_norm is {max_norm}; it must be positive. "
            "Write max_grad_norm: .inf to switch clipping off."
        )
    return float(max_norm)
