"""Protocols: which weights of a run are tested.

The best epoch on the validation or on the reported split, the last epoch, or
an average of the weights.
"""

import math

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from audiomamba.dataio.problems import PreparationError
from audiomamba.pretrained.weights import CheckpointError

MODEL = ("embedding_model", "classifier")
# protocol -> (split that chooses the epoch, or None; the rule in words)
PROTOCOLS = {
    "honest": (
        "valid",
        "best epoch on the validation split, of equals the earliest",
    ),
    "paper": (
        "test",
        "best epoch on the reported split, as the authors, of equals the "
        "earliest",
    ),
    "last": (None, "last epoch, whatever its figures"),
    "average": (
        None,
        "mean of the weights after each epoch of average_from on",
    ),
    "ema": (None, "exponential moving average of the weights, with ema_decay"),
}


def best_first(key, higher_is_better=True):
    """Importance of a checkpoint: the best value, of equals the earliest.

    The earliest, as the published code replaces its best model only by a
    strictly better one.  Checkpoints without the key, as those within an epoch,
    come last.

    Arguments
    ---------
    key : str
        Name of a value in the meta.
    higher_is_better : bool
        False for error rates.

    Returns
    -------
    callable
        For ``importance_key`` of the checkpointer's methods.

    Example
    -------
    >>> from speechbrain.utils.checkpoints import Checkpoint
    >>> metas = [{"epoch": epoch, "accuracy": 0.9} for epoch in (1, 2)]
    >>> ckpts = [Checkpoint(str(meta), meta, {}) for meta in metas]
    >>> max(ckpts, key=best_first("accuracy")).meta["epoch"]
    1
    """

    def importance(ckpt):
        if key not in ckpt.meta:
            return -math.inf, 0
        value = ckpt.meta[key] if higher_is_better else -ckpt.meta[key]
        return value, -ckpt.meta["epoch"]

    return importance


def check_protocols(protocols, has_valid):
    """Refuse protocols that are unknown, or have no split to choose by.

    Arguments
    ---------
    protocols : list of str
        Keys of ``PROTOCOLS``, the headline first.
    has_valid : bool
        Whether there is a validation split.

    Raises
    ------
    PreparationError
        (a ValueError) Naming what is wrong.

    Example
    -------
    >>> check_protocols(["paper", "last"], has_valid=False)
    """
    if not protocols or set(protocols) - set(PROTOCOLS):
        raise PreparationError(
            f"protocols: {protocols}; a list of {', '.join(PROTOCOLS)}, the "
            "headline first."
        )
    if "honest" in protocols and not has_valid:
        raise PreparationError(
            "protocol 'honest' needs a validation split that is not the "
            "reported one. With valid_share, give a share, or protocols: "
            "[paper] or [last]."
        )


def check_averages(protocols, average_from, ema_decay, n_epochs):
    """Refuse an average that no protocol tests, and one that is never made.

    Arguments
    ---------
    protocols : list of str
        Keys of ``PROTOCOLS``.
    average_from : int or None
        First epoch of the mean that the protocol ``average`` tests.
    ema_decay : float or None
        Decay of the moving average that the protocol ``ema`` tests.
    n_epochs : int
        Epochs of the run.

    Raises
    ------
    PreparationError
        Naming the key.

    Example
    -------
    >>> check_averages(["average", "last"], 6, None, n_epochs=25)
    """
    for protocol, key, value in (
        ("average", "average_from", average_from),
        ("ema", "ema_decay", ema_decay),
    ):
        if (protocol in protocols) != (value is not None):
            raise PreparationError(
                f"{key} is {value}, and protocols are {protocols}: the "
                f"protocol {protocol!r} and {key} belong together; give both "
                "or neither."
            )
    if average_from is not None and not 1 <= average_from <= n_epochs:
        raise PreparationError(
            f"average_from is {average_from}; it must be an epoch of the run, "
            f"1 to number_of_epochs: {n_epochs}."
        )
    if ema_decay is not None and not 0 < ema_decay < 1:
        raise PreparationError(
            f"ema_decay is {ema_decay}; it must be between 0 and 1, for "
            "example 0.999."
        )


class Average(AveragedModel):
    """A running average of a model: of its parameters and running statistics.

    PyTorch averages either no buffers or all, whole numbers too.

    Arguments
    ---------
    model : torch.nn.Module
        The model, which is copied.
    decay : float, optional
        Of an exponential moving average; None: the mean.

    Example
    -------
    >>> norm = torch.nn.BatchNorm1d(1)
    >>> average = Average(norm)
    >>> for value in (1.0, 4.0):
    ...     _ = norm.running_mean.fill_(value)
    ...     average.update_parameters(norm)
    >>> average.module.running_mean.item()
    2.5
    """

    def __init__(self, model, decay=None):
        update = decay and get_ema_multi_avg_fn(decay)
        super().__init__(model, multi_avg_fn=update)
        self.decay = decay

    @torch.no_grad()
    def update_parameters(self, model):
        """Take in the model's present weights."""
        before = [buffer.clone() for buffer in self.module.buffers()]
        # copies the buffers
        super().update_parameters(model)
        weight = 1 / self.n_averaged.item()
        if self.decay and weight < 1:
            weight = 1 - self.decay
        for buffer, old in zip(self.module.buffers(), before, strict=True):
            if buffer.is_floating_point():
                # the mean of two infinite values is none
                mean = old.lerp(buffer, weight)
                buffer.copy_(torch.where(old == buffer, buffer, mean))


def make_averages(modules, average_from, ema_decay):
    """Make the running averages of a model's weights.

    Arguments
    ---------
    modules : torch.nn.ModuleDict
        The model, without wrappers.
    average_from, ema_decay
        See `check_averages`.

    Returns
    -------
    dict
        Protocol -> `Average`, to be saved in checkpoints under that name.

    Example
    -------
    >>> modules = torch.nn.ModuleDict({"classifier": torch.nn.Linear(1, 1)})
    >>> average = make_averages(modules, 1, None)["average"]
    >>> for value in (1.0, 4.0):
    ...     _ = torch.nn.init.constant_(modules["classifier"].bias, value)
    ...     average.update_parameters(modules)
    >>> average.module["classifier"].bias.item()
    2.5
    """
    averages = {}
    if average_from is not None:
        averages["average"] = Average(modules)
    if ema_decay is not None:
        averages["ema"] = Average(modules, ema_decay)
    return averages


def weights_of(checkpoint, protocol):
    """Read the weights that a protocol tests from its checkpoint.

    Arguments
    ---------
    checkpoint : speechbrain.utils.checkpoints.Checkpoint
        The chosen one.
    protocol : str
        Key of ``PROTOCOLS``.

    Returns
    -------
    dict
        ``embedding_model`` and ``classifier`` -> state dict.
    """
    # only averages are saved under the name of their protocol
    averaged = checkpoint.paramfiles.get(protocol)
    return {
        name: module_weights(averaged or checkpoint.paramfiles[name], name)
        for name in MODEL
    }


def check_averaged(n_averaged, path):
    """Refuse an average of nothing, as before the epoch ``average_from``.

    Arguments
    ---------
    n_averaged : int
        How many weights were averaged.
    path : str or Path
        The checkpoint.

    Raises
    ------
    CheckpointError
        If there were none.
    """
    if n_averaged == 0:
        raise CheckpointError(
            f"{path} has no average yet: train longer, for the protocol "
            "'average' until the epoch average_from."
        )


def module_weights(path, name):
    """Read a module's weights from its own file, or from that of an average.

    Arguments
    ---------
    path : str or Path
        A file of a checkpoint.
    name : str
        One of ``MODEL``.

    Returns
    -------
    dict
        Its state dict.

    Raises
    ------
    CheckpointError
        If it is an average of nothing.
    """
    state = torch.load(path, map_location="cpu", weights_only=True)
    if "n_averaged" not in state:
        return state
    check_averaged(state["n_averaged"], path)
    prefix = f"module.{name}."
    return {
        key.removeprefix(prefix): value
        for key, value in state.items()
        if key.startswith(prefix)
    }
