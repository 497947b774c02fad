"""What every encoder of spectrograms checks and clears before its layers."""

from audiomamba.nnet.lengths import absolute_lengths, padding_mask


def check_choice(name, value, choices):
    """Refuse an argument that has no meaning.

    Arguments
    ---------
    name : str
        The argument's name, for the message.
    value : object
        Its value.
    choices : iterable
        The values that have a meaning.

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


def check_feats(feats, n_mels):
    """Refuse input that is no batch of spectrograms of the wanted height.

    Arguments
    ---------
    feats : torch.Tensor
        Should be [B, T, n_mels].
    n_mels : int
        Mel bins that the encoder was built for.

    Raises
    ------
    ValueError
        If it is not, or has no frame.

    Example
    -------
    >>> import torch
    >>> check_feats(torch.randn(2, 100, 128), 128)
    """
    fits = feats.ndim == 3 and feats.shape[2] == n_mels and feats.shape[1] > 0
    if not fits:
        raise ValueError(
            f"feats has shape {list(feats.shape)}; this encoder takes "
            f"[batch, frames, {n_mels}] with at least one frame: give the "
            f"features {n_mels} mel bins, or build the encoder with n_mels "
            "to match."
        )


def clear_padding(feats, lengths):
    """Set what lies behind a clip's end to zero.

    Arguments
    ---------
    feats : torch.Tensor
        [B, T, F].
    lengths : torch.Tensor
        Relative lengths in (0, 1], [B].

    Returns
    -------
    torch.Tensor
        [B, T, F].
    torch.Tensor
        Frames of every clip, integers [B], at least one.

    Example
    -------
    >>> import torch
    >>> feats, n_frames = clear_padding(
    ...     torch.ones(2, 4, 1), torch.tensor([0.5, 1.0])
    ... )
    >>> feats[..., 0].tolist(), n_frames.tolist()
    ([[1.0, 1.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]], [2, 4])
    """
    n_frames = absolute_lengths(lengths.to(feats.device), feats.shape[1])
    padding = padding_mask(n_frames, feats.shape[1])
    return feats.masked_fill(padding[..., None], 0.0), n_frames
