"""What parameters say of themselves: to an optimiser, and to who compares."""

import hashlib

import torch


class ExemptsParameters(torch.nn.Module):
    """Base of modules with parameters that weight decay leaves alone.

    Such a parameter has the tag of the Mamba authors' code, which
    `audiomamba.training.optim.parameter_groups` follows.  A parameter that is
    copied or replaced loses its tag, so the module tags its own again.

    Example
    -------
    >>> import copy
    >>> module = ExemptsParameters()
    >>> module.exempt("D", torch.nn.Parameter(torch.ones(2)))
    >>> copy.deepcopy(module).D._no_weight_decay
    True
    """

    def __init__(self):
        super().__init__()
        self._exempt: list[str] = []

    def exempt(self, name: str, parameter: torch.nn.Parameter) -> None:
        """Register a parameter that weight decay leaves alone.

        Arguments
        ---------
        name : str
            Of the attribute.
        parameter : torch.nn.Parameter
            Such as a decay rate, a position or a token.
        """
        self.register_parameter(name, parameter)
        self._exempt.append(name)
        self._tag()

    def _tag(self):
        for name in self._exempt:
            vars(getattr(self, name))["_no_weight_decay"] = True

    def __setstate__(self, state):
        super().__setstate__(state)
        self._tag()

    # These may put new parameters in their place

    def _apply(self, *args, **kwargs):
        module = super()._apply(*args, **kwargs)
        self._tag()
        return module

    def _load_from_state_dict(self, *args, **kwargs):
        super()._load_from_state_dict(*args, **kwargs)
        self._tag()


def weights_digest(module: torch.nn.Module) -> str:
    """Return the SHA-256 of a module's weights and their names.

    Arguments
    ---------
    module : torch.nn.Module
        The module.

    Returns
    -------
    str
        In hexadecimal.

    Example
    -------
    >>> norm = torch.nn.LayerNorm(4)
    >>> before = weights_digest(norm)
    >>> torch.nn.init.zeros_(norm.bias)[0].item()
    0.0
    >>> weights_digest(norm) == before
    True
    >>> torch.nn.init.ones_(norm.bias)[0].item()
    1.0
    >>> weights_digest(norm) == before
    False
    """
    digest = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        digest.update(name.encode())
        values = tensor.cpu().contiguous().flatten()
        # NumPy lacks bfloat16
        digest.update(values.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
