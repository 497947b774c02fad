"""Checks of arguments and input, relative lengths in steps, padding."""

import math
from collections.abc import Collection
from numbers import Integral

import torch

# How far a relative length may exceed 1 by rounding
_ROUNDING = 1e-3


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


def check_sizes(**sizes: int) -> None:
    """Refuse sizes that are not positive integers.

    Arguments
    ---------
    **sizes : int
        The arguments by name.

    Raises
    ------
    ValueError
        If one of them is something else.

    Example
    -------
    >>> check_sizes(embed_dim=192, depth=24)
    """
    for name, value in sizes.items():
        whole = isinstance(value, Integral) and not isinstance(value, bool)
        if not whole or value < 1:
            raise ValueError(
                f"{name} is {value!r}; it must be an integer of at least 1."
            )


def check_positive(**values: float) -> None:
    """Refuse values that are not positive and finite.

    Arguments
    ---------
    **values : float
        The arguments by name.

    Raises
    ------
    ValueError
        If one of them is something else.

    Example
    -------
    >>> check_positive(max_duration=10.24)
    """
    for name, value in values.items():
        # A comparison with NaN is false
        if not 0 < value < math.inf:
            raise ValueError(
                f"{name} is {value!r}; it must be positive and finite."
            )


def check_rate(name: str, value: float) -> None:
    """Refuse a rate of dropping that is not in [0, 1).

    Arguments
    ---------
    name : str
        The argument's name, for the message.
    value : float
        Its value.

    Raises
    ------
    ValueError
        If it is outside: with 1 nothing would be left to scale up.

    Example
    -------
    >>> check_rate("drop_path", 0.1)
    """
    if not 0 <= value < 1:
        raise ValueError(f"{name} is {value!r}; it must be in [0, 1).")


def check_lengths(lengths: torch.Tensor, n_clips: int | None = None) -> None:
    """Refuse lengths that are not relative ones.

    Only the dtype is checked while compiling, and only dtype and shape on a
    GPU, for whose values the CPU would have to wait.

    Arguments
    ---------
    lengths : torch.Tensor
        Should be in (0, 1], [B].
    n_clips : int or None
        B, if it is known.

    Raises
    ------
    ValueError
        If they are something else, such as numbers of frames.

    Example
    -------
    >>> check_lengths(torch.tensor([1.0, 0.5]), 2)
    """
    compiling = torch.compiler.is_compiling()
    shape = lengths.shape
    fits = compiling or (len(shape) == 1 and n_clips in (None, shape[0]))
    if not (fits and lengths.is_floating_point()):
        wanted = "[batch]" if n_clips is None else [n_clips]
        raise ValueError(
            f"lengths are {lengths.dtype} of shape {list(shape)}; they must be "
            f"floats {wanted} in (0, 1], relative to the longest clip: divide "
            "numbers of samples or frames by those of the padded batch."
        )
    if compiling or lengths.device.type != "cpu":
        return
    wrong = ~((lengths > 0) & (lengths <= 1 + _ROUNDING))
    if wrong.any():
        raise ValueError(
            f"a length is {lengths[wrong][0].item():g}; lengths must be in "
            "(0, 1], relative to the longest clip: divide numbers of samples "
            "or frames by those of the padded batch."
        )


def check_feats(feats: torch.Tensor, n_mels: int, least: int = 1) -> None:
    """Refuse input that is not a batch of spectrograms with ``n_mels`` bins.

    Arguments
    ---------
    feats : torch.Tensor
        Should be [B, T, n_mels].
    n_mels : int
        Mel bins that the encoder was built for.
    least : int
        The fewest frames that the encoder takes.

    Raises
    ------
    ValueError
        If the shape is another one, or there are fewer frames.

    Example
    -------
    >>> check_feats(torch.randn(2, 100, 128), 128)
    """
    fits = feats.ndim == 3 and feats.shape[2] == n_mels
    if not fits or feats.shape[1] < least:
        raise ValueError(
            f"feats has shape {list(feats.shape)}; this encoder takes "
            f"[batch, frames, {n_mels}] with at least one frame: compute "
            f"features with {n_mels} mel bins, or build the encoder with "
            "another n_mels."
        )


def absolute_lengths(lengths: torch.Tensor, n_steps: int) -> torch.Tensor:
    """Turn relative lengths into steps.

    Exact for float32 lengths of fewer than 2^24 steps, 17 minutes of samples at
    16 kHz, and for float64 lengths of any number.

    Arguments
    ---------
    lengths : torch.Tensor
        Relative lengths in (0, 1], [B].
    n_steps : int
        Steps of the padded batch that they are relative to: samples, frames,
        tokens.

    Returns
    -------
    torch.Tensor
        round(lengths * n_steps), at least 1; [B], int64.

    Raises
    ------
    ValueError
        See `check_lengths`.

    Example
    -------
    >>> absolute_lengths(torch.tensor([1.0, 0.5, 0.01]), 10)
    tensor([10,  5,  1])
    """
    check_lengths(lengths)
    # Apple's GPUs have no float64
    if lengths.device.type != "mps":
        lengths = lengths.double()
    return (lengths * n_steps).round().long().clamp(1, n_steps)


def relative_lengths(n_own: torch.Tensor, n_steps: int) -> torch.Tensor:
    """Turn steps into relative lengths.

    Never rounded up: times ``n_steps`` they are at most ``n_own``.  Some of
    SpeechBrain's modules count every step that has begun, and would take a
    length above by the last digit for one step more.

    Arguments
    ---------
    n_own : torch.Tensor
        Steps of each clip, integers [B].
    n_steps : int
        Steps of the padded batch, at least ``n_own``.

    Returns
    -------
    torch.Tensor
        In (0, 1], [B], float32.

    Example
    -------
    >>> lengths = relative_lengths(torch.tensor([61, 183]), 183)
    >>> lengths, bool((lengths * 183 <= torch.tensor([61, 183])).all())
    (tensor([0.3333, 1.0000]), True)
    """
    lengths = n_own / n_steps
    above = lengths * n_steps > n_own
    return torch.where(above, lengths * (1 - 2**-23), lengths)


def frame_counts(lengths: torch.Tensor, n_frames: int) -> torch.Tensor:
    """Turn relative lengths of spectrograms or their waveforms into frames.

    Lengths from `relative_lengths` give back the frames that they were made
    from.  SpeechBrain's scripts pass n / N, the samples of a clip over those of
    the batch.  Then the clip alone has 1 + n // hop frames and the batch 1 + N
    // hop (centred frames, as in SpeechBrain's ``Fbank``), and the rest of N
    divided by hop, half a hop on average, is lost: within rounding, n / hop is
    lengths * (n_frames - 0.5).

    Arguments
    ---------
    lengths : torch.Tensor
        Relative lengths in (0, 1], [B].
    n_frames : int
        Frames of the padded batch.

    Returns
    -------
    torch.Tensor
        ceil(lengths * (n_frames - 0.5)), at least 1; [B], int64.

    Raises
    ------
    ValueError
        See `check_lengths`.

    Example
    -------
    >>> frame_counts(torch.tensor([1.0, 0.5, 1 / 3]), 6)
    tensor([6, 3, 2])
    >>> # One clip of 48,100 samples and one of 20,050, in frames of 160 samples
    >>> frame_counts(torch.tensor([1.0, 20050 / 48100]), 1 + 48100 // 160)
    tensor([301, 126])
    """
    check_lengths(lengths)
    counts = (lengths * n_frames - 0.5 * lengths).ceil()
    return counts.long().clamp(1, n_frames)


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
        Relative lengths in (0, 1], [B]; see `frame_counts`.

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
    n_frames = frame_counts(lengths.to(feats.device), feats.shape[1])
    padding = padding_mask(n_frames, feats.shape[1])
    return feats.masked_fill(padding[..., None], 0.0), n_frames
