"""Checks of arguments and input, relative lengths in steps, padding."""

from collections.abc import Collection

import torch


def check_choice(name: str, value: object, choices: Collection) -> None:
    """Refuse a value that is not one of the choices.

    Arguments
    ---------
    name : str
        The argument's name, for the message.
    value : object
        Its value.
    choices : collection
        The values allowed.

    Raises
    ------
    ValueError
        If it is none of them; the message lists them.

    Example
    -------
    >>> check_choice("output", "frames", ("embedding", "frames"))
    """
    if value not in choices:
        allowed = ", ".join(repr(choice) for choice in choices)
        raise ValueError(f"{name} is {value!r}; it can be {allowed}.")


def check_feats(feats: torch.Tensor, n_mels: int) -> None:
    """Refuse input that is not a batch of spectrograms with ``n_mels`` bins.

    Arguments
    ---------
    feats : torch.Tensor
        Should be [B, T, n_mels].
    n_mels : int
        Mel bins that the encoder was built for.

    Raises
    ------
    ValueError
        If the shape is another one, or there is no frame.

    Example
    -------
    >>> check_feats(torch.randn(2, 100, 128), 128)
    """
    fits = feats.ndim == 3 and feats.shape[2] == n_mels and feats.shape[1] > 0
    if not fits:
        raise ValueError(
            f"feats has shape {list(feats.shape)}; this encoder takes "
            f"[batch, frames, {n_mels}] with at least one frame: compute "
            f"features with {n_mels} mel bins, or build the encoder with "
            "another n_mels."
        )


def absolute_lengths(lengths: torch.Tensor, n_steps: int) -> torch.Tensor:
    """Turn relative lengths into steps.

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


def padding_mask(n_own: torch.Tensor, n_steps: int) -> torch.Tensor:
    """Mark the padding of a batch.

    Arguments
    ---------
    n_own : torch.Tensor
        Steps of each clip, [B].
    n_steps : int
        Steps of the padded batch.

    Returns
    -------
    torch.Tensor
        True past the end of a clip, [B, n_steps].

    Example
    -------
    >>> padding_mask(torch.tensor([3, 1]), 3).int()
    tensor([[0, 0, 0],
            [0, 1, 1]], dtype=torch.int32)
    """
    return torch.arange(n_steps, device=n_own.device) >= n_own[:, None]


def clear_padding(
    feats: torch.Tensor, lengths: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Set padded frames to zero.

    Arguments
    ---------
    feats : torch.Tensor
        [B, T, F].
    lengths : torch.Tensor
        Relative lengths in (0, 1], [B].

    Returns
    -------
    feats : torch.Tensor
        [B, T, F].
    n_frames : torch.Tensor
        Frames of each clip, at least 1; [B], int64.

    Example
    -------
    >>> feats, n_frames = clear_padding(
    ...     torch.ones(2, 4, 1), torch.tensor([0.5, 1.0])
    ... )
    >>> feats[..., 0].tolist(), n_frames.tolist()
    ([[1.0, 1.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]], [2, 4])
    """
    n_frames = absolute_lengths(lengths.to(feats.device), feats.shape[1])
    padding = padding_mask(n_frames, feats.shape[1])
    return feats.masked_fill(padding[..., None], 0.0), n_frames
