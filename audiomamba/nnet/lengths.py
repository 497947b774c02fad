"""From SpeechBrain's relative lengths to steps, in one place."""

import torch


def absolute_lengths(lengths, n_steps):
    """Steps that belong to each clip of a padded batch.

    Arguments
    ---------
    lengths : torch.Tensor
        Relative lengths in (0, 1], [B].
    n_steps : int
        Steps of the padded batch: samples, frames, tokens.

    Returns
    -------
    torch.Tensor
        round(lengths * n_steps), at least 1; [B], int64.

    Example
    -------
    >>> absolute_lengths(torch.tensor([1.0, 0.5, 0.0]), 10)
    tensor([10,  5,  1])
    """
    return (lengths * n_steps).round().long().clamp(1, n_steps)


def padding_mask(n_own, n_steps):
    """Where a padded batch is padding.

    Arguments
    ---------
    n_own : torch.Tensor
        Steps of each clip, [B].
    n_steps : int
        Steps of the padded batch.

    Returns
    -------
    torch.Tensor
        True from a clip's end on, [B, n_steps].

    Example
    -------
    >>> padding_mask(torch.tensor([3, 1]), 3).int()
    tensor([[0, 0, 0],
            [0, 1, 1]], dtype=torch.int32)
    """
    return torch.arange(n_steps, device=n_own.device) >= n_own[:, None]
