"""Losses of logits [B, C] and targets: class indices [B] or rows [B, C]."""

import inspect
from collections.abc import Callable

import torch
import torch.nn.functional as F
from speechbrain.dataio.batch import PaddedData

from audiomamba.dataio.problems import PreparationError


def plain_targets(targets: torch.Tensor | PaddedData) -> torch.Tensor:
    """Return a batch's targets in the form that losses take.

    Arguments
    ---------
    targets : torch.Tensor or PaddedData
        Class indices [B] or [B, 1], or rows [B, C].

    Returns
    -------
    torch.Tensor
        Class indices [B] or rows [B, C].

    Example
    -------
    >>> plain_targets(torch.tensor([[2], [0]]))
    tensor([2, 0])
    """
    if isinstance(targets, PaddedData):
        targets = targets.data
    is_column = targets.dim() == 2 and targets.shape[1] == 1
    if is_column and not targets.is_floating_point():
        return targets.squeeze(1)
    return targets


def as_indices(targets: torch.Tensor) -> torch.Tensor:
    """Convert indices or (soft) rows to class indices.

    Arguments
    ---------
    targets : torch.Tensor
        Class indices [B], or rows [B, C], of which the argmax is taken.

    Returns
    -------
    torch.Tensor
        Indices [B], int64.

    Example
    -------
    >>> as_indices(torch.tensor([[0.3, 0.7], [1.0, 0.0]]))
    tensor([1, 0])
    """
    return targets if targets.dim() == 1 else targets.argmax(dim=-1)


def as_rows(targets: torch.Tensor, n_classes: int) -> torch.Tensor:
    """Convert indices or (soft) rows to rows.

    Arguments
    ---------
    targets : torch.Tensor
        Indices [B] or rows [B, C].
    n_classes : int
        Number of classes C.

    Returns
    -------
    torch.Tensor
        Rows [B, C], float32.

    Example
    -------
    >>> as_rows(torch.tensor([1, 0]), 2)
    tensor([[0., 1.],
            [1., 0.]])
    """
    if targets.dim() == 1:
        targets = F.one_hot(targets, n_classes)
    return targets.float()


def smoothed(rows: torch.Tensor, label_smoothing: float) -> torch.Tensor:
    """Move a share of the targets to all classes, in equal parts.

    Arguments
    ---------
    rows : torch.Tensor
        Targets [B, C], which may be mixed: smoothing and mixing commute.
    label_smoothing : float
        The share, in [0, 1).

    Returns
    -------
    torch.Tensor
        [B, C].

    Example
    -------
    >>> smoothed(torch.tensor([[0.0, 1.0]]), 0.2)
    tensor([[0.1000, 0.9000]])
    """
    return (1 - label_smoothing) * rows + label_smoothing / rows.shape[1]


def cross_entropy(
    logits: torch.Tensor,
    targets: torch.Tensor,
    label_smoothing: float = 0.0,
    class_weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """Compute the cross-entropy, averaged over clips.

    Arguments
    ---------
    logits : torch.Tensor
        [B, C].
    targets : torch.Tensor
        Indices [B] or, after mixup, soft rows [B, C].
    label_smoothing : float
        See `smoothed`.
    class_weights : torch.Tensor, optional
        Factor of each class' part of the loss, [C].

    Returns
    -------
    torch.Tensor
        The mean loss, float32.  It is divided by the number of clips, not by
        their weights, so that a clip's share does not depend on its batch.

    Example
    -------
    >>> targets = torch.tensor([0, 1, 1])
    >>> cross_entropy(torch.zeros(3, 2), targets)
    tensor(0.6931)
    >>> weights = torch.tensor([3.0, 0.0])
    >>> cross_entropy(torch.zeros(3, 2), targets, class_weights=weights)
    tensor(0.6931)
    """
    if label_smoothing or class_weights is not None:
        rows = as_rows(targets, logits.shape[-1])
        targets = smoothed(rows, label_smoothing)
    return F.cross_entropy(logits.float(), targets, weight=class_weights)


def binary_cross_entropy(
    logits: torch.Tensor,
    targets: torch.Tensor,
    label_smoothing: float = 0.0,
    class_weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """Compute the binary cross-entropy, averaged over clips and classes.

    Arguments
    ---------
    logits : torch.Tensor
        [B, C].
    targets : torch.Tensor
        Rows [B, C] or indices [B].
    label_smoothing : float
        See `smoothed`.
    class_weights : torch.Tensor, optional
        Factor of the positive part of each class, [C].

    Returns
    -------
    torch.Tensor
        The mean loss, float32.

    Example
    -------
    >>> binary_cross_entropy(torch.zeros(3, 2), torch.tensor([0, 1, 1]))
    tensor(0.6931)
    """
    rows = smoothed(as_rows(targets, logits.shape[-1]), label_smoothing)
    return F.binary_cross_entropy_with_logits(
        logits.float(), rows, pos_weight=class_weights
    )


def loss_options(
    compute_loss: Callable, options: dict[str, object]
) -> dict[str, object]:
    """Return the options of the training loss that are on.

    Arguments
    ---------
    compute_loss : callable
        The loss.
    options : dict
        Name -> value; 0 and None are off, a tensor is on.

    Returns
    -------
    dict

    Raises
    ------
    PreparationError
        If the loss does not take one; names both.

    Example
    -------
    >>> from audiomamba.training.losses import cross_entropy
    >>> options = {"label_smoothing": 0.1, "class_weights": None}
    >>> loss_options(cross_entropy, options)
    {'label_smoothing': 0.1}
    """
    given = {
        name: value
        for name, value in options.items()
        if isinstance(value, torch.Tensor) or value
    }
    known = inspect.signature(compute_loss).parameters
    for name in given:
        if name not in known:
            what = getattr(
                compute_loss, "__name__", type(compute_loss).__name__
            )
            raise PreparationError(
                f"{name} has no effect on the loss {what}, which does not "
                "take it: leave it out, or give cross_entropy or "
                "binary_cross_entropy of audiomamba.training.losses."
            )
    return given


def classification_loss(
    logits: torch.Tensor,
    targets: torch.Tensor,
    multi_label: bool = False,
    label_smoothing: float = 0.0,
    class_weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """Compute the loss that fits the number of labels per clip.

    Arguments
    ---------
    logits : torch.Tensor
        [B, C].
    targets : torch.Tensor
        Indices [B] or rows [B, C].
    multi_label : bool
        Whether a clip has any number of labels: `binary_cross_entropy` instead
        of `cross_entropy`.
    label_smoothing, class_weights
        As for the two.

    Returns
    -------
    torch.Tensor
        The mean loss, float32.

    Example
    -------
    >>> logits, rows = torch.zeros(1, 3), torch.tensor([[1.0, 1.0, 0.0]])
    >>> classification_loss(logits, rows, multi_label=True)
    tensor(0.6931)
    """
    loss = binary_cross_entropy if multi_label else cross_entropy
    return loss(logits, targets, label_smoothing, class_weights)


def frame_cross_entropy(
    logits: torch.Tensor, targets: torch.Tensor, own: torch.Tensor
) -> torch.Tensor:
    """Compute the binary cross-entropy of frames, averaged over known ones.

    Arguments
    ---------
    logits : torch.Tensor
        [B, T', C].
    targets : torch.Tensor
        Rows [B, T, C], NaN where unknown; steps that only one of both has, by
        rounding, do not count.
    own : torch.Tensor
        Whether a frame is a clip's own, not padding, [B, T', 1].

    Returns
    -------
    torch.Tensor
        The mean loss, float32; 0 if nothing is known.

    Example
    -------
    >>> logits, own = torch.zeros(1, 3, 1), torch.tensor([[[True]] * 3])
    >>> frame_cross_entropy(logits, torch.tensor([[[1.0], [0.0]]]), own)
    tensor(0.6931)
    """
    n_steps = min(logits.shape[1], targets.shape[1])
    logits, targets = logits[:, :n_steps].float(), targets[:, :n_steps]
    known = own[:, :n_steps] & ~targets.isnan()
    losses = F.binary_cross_entropy_with_logits(
        logits, targets.nan_to_num(), reduction="none"
    )
    return (losses * known).sum() / known.sum().clamp(min=1)


class SpeechBrainLoss:
    """Adapter of a SpeechBrain loss to logits [B, C] and targets [B].

    Arguments
    ---------
    loss : callable
        For example ``LogSoftmaxWrapper`` over ``AdditiveAngularMargin``.

    Example
    -------
    >>> from speechbrain.nnet.losses import (
    ...     AdditiveAngularMargin,
    ...     LogSoftmaxWrapper,
    ... )
    >>> margin = AdditiveAngularMargin(margin=0.2, scale=30)
    >>> loss = SpeechBrainLoss(LogSoftmaxWrapper(margin))
    >>> cosines = torch.tensor([[1.0, -1.0], [0.0, 0.9]])
    >>> loss(cosines, torch.tensor([0, 1])) < 0.01
    tensor(True)
    """

    def __init__(self, loss: Callable[..., torch.Tensor]):
        self.loss = loss

    def __call__(
        self, logits: torch.Tensor, targets: torch.Tensor
    ) -> torch.Tensor:
        """Compute the mean loss.

        Arguments
        ---------
        logits : torch.Tensor
            [B, C].
        targets : torch.Tensor
            Indices [B] or rows [B, C].

        Returns
        -------
        torch.Tensor
            The mean loss, float32.
        """
        targets = as_indices(targets)
        return self.loss(logits.float().unsqueeze(1), targets.unsqueeze(1))
