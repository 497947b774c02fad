"""What parameters say of themselves to an optimiser."""

import torch


def exempt_from_decay(parameter: torch.nn.Parameter) -> torch.nn.Parameter:
    """Tag a parameter that weight decay leaves alone; return it.

    The tag is that of the Mamba authors' code, and
    `audiomamba.training.optim.parameter_groups` follows it.

    Arguments
    ---------
    parameter : torch.nn.Parameter
        Such as a decay rate, a position or a token.

    Returns
    -------
    torch.nn.Parameter

    Example
    -------
    >>> exempt_from_decay(torch.nn.Parameter(torch.ones(2)))._no_weight_decay
    True
    """
    vars(parameter)["_no_weight_decay"] = True
    return parameter
