"""Samples in memory: one gate for the arrays that users hand over.

Microphones, ``scipy`` and ``torchaudio.load(normalize=False)`` give integers,
``torchaudio`` puts the channels first, ``soundfile`` last.
"""

import logging
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch

from audiomamba.dataio.codecs.opening import LARGEST

logger = logging.getLogger(__name__)

# Anything that holds numbers: a tensor, an array, a list
Samples = Any
MAX_CHANNELS = 32
# Integers, and the distance from silence to full scale
_FULL_SCALE = {
    torch.uint8: 1 << 7,
    torch.int8: 1 << 7,
    torch.int16: 1 << 15,
    torch.int32: 1 << 31,
}
# Above it, floats are integers that were never scaled
_LOUD = 100.0


def as_tensor(samples: Samples, name: str = "a waveform") -> torch.Tensor:
    """Return samples as a tensor of the same numbers.

    Arguments
    ---------
    samples : torch.Tensor, np.ndarray or list
        Of any shape.
    name : str
        What to call them in messages.

    Returns
    -------
    torch.Tensor

    Raises
    ------
    ValueError
        If they are not numbers.

    Example
    -------
    >>> as_tensor([0.5, -0.5]).dtype
    torch.float64
    """
    if isinstance(samples, torch.Tensor):
        return samples
    try:
        array = np.ascontiguousarray(samples)
        array = array.astype(array.dtype.newbyteorder("="), copy=False)
        tensor = torch.from_numpy(array)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{name} is a {type(samples).__name__} that is no array of "
            f"numbers ({error}); give a tensor or a numpy array of samples"
        ) from error
    return tensor.reshape(np.shape(samples))


def to_float(samples: torch.Tensor, name: str = "a waveform") -> torch.Tensor:
    """Return samples as float32, integers scaled to [-1, 1).

    Arguments
    ---------
    samples : torch.Tensor
        Floats, or integers of 8, 16 or 32 bits; of 8 also unsigned.
    name : str
        What to call them in messages.

    Returns
    -------
    torch.Tensor
        The same shape.

    Raises
    ------
    ValueError
        If the dtype does not tell which number is full scale.

    Example
    -------
    >>> to_float(torch.tensor([-32768, 16384], dtype=torch.int16))
    tensor([-1.0000,  0.5000])
    """
    if samples.is_floating_point():
        return samples.float()
    if samples.dtype not in _FULL_SCALE:
        raise ValueError(
            f"{name} has samples of {samples.dtype}; give floats in [-1, 1], "
            "or integers of 8, 16 or 32 bits"
        )
    scale = _FULL_SCALE[samples.dtype]
    offset = scale if samples.dtype == torch.uint8 else 0
    # float64, as float32 does not hold 32 bits
    return ((samples.double() - offset) / scale).float()


def check_finite(samples: torch.Tensor, name: str = "a waveform") -> None:
    """Refuse NaN, infinity, and samples whose power would be infinite.

    Arguments
    ---------
    samples : torch.Tensor
        Floats.
    name : str
        What to call them in messages.

    Raises
    ------
    ValueError
        If a sample is one of them.

    Example
    -------
    >>> check_finite(torch.zeros(3))
    """
    # A comparison with NaN is false
    if not (samples.abs() <= LARGEST).all():
        raise ValueError(
            f"{name} has samples that are NaN, infinite or beyond {LARGEST:g}; "
            "leave them out, or set them to 0"
        )


def time_first(samples: Samples, name: str = "a waveform") -> torch.Tensor:
    """Return samples with time as the first axis.

    Arguments
    ---------
    samples : torch.Tensor, np.ndarray or list
        [N], [N, channels] or [channels, N].
    name : str
        What to call them in messages.

    Returns
    -------
    torch.Tensor
        [N] or [N, channels], of the same dtype.

    Raises
    ------
    ValueError
        If they are empty, or have a shape that does not tell which axis is
        time.

    Example
    -------
    >>> time_first(torch.zeros(2, 16000)).shape
    torch.Size([16000, 2])
    """
    samples = as_tensor(samples, name)
    shape = samples.shape
    if samples.ndim == 2 and 0 < shape[0] <= MAX_CHANNELS < shape[1]:
        return samples.T
    _check_shape(samples, name)
    return samples


def _check_shape(samples, name):
    """Refuse all but [N] and [N, channels] with a sample."""
    shape = list(samples.shape)
    n_channels = shape[1] if len(shape) == 2 else 1
    n_samples = shape[0] if shape else 0
    if (
        samples.ndim not in (1, 2)
        or not samples.numel()
        or n_channels > min(MAX_CHANNELS, n_samples)
    ):
        raise ValueError(
            f"{name} has shape {shape}; it must be [samples] or [samples, "
            f"channels], not empty, with at most {MAX_CHANNELS} channels"
        )


def to_mono(samples: torch.Tensor, name: str = "a waveform") -> torch.Tensor:
    """Return the mean of the channels, finite and in float32.

    Arguments
    ---------
    samples : torch.Tensor
        [N] or [N, channels].
    name : str
        What to call them in messages.

    Returns
    -------
    torch.Tensor
        [N], float32.

    Raises
    ------
    ValueError
        If the dtype cannot be scaled, or a sample is not finite.

    Example
    -------
    >>> to_mono(torch.tensor([[0.5, -0.3], [0.0, 1.0]]))
    tensor([0.1000, 0.5000])
    """
    samples = to_float(samples, name)
    check_finite(samples, name)
    peak = samples.abs().max() if samples.numel() else 0.0
    if peak > _LOUD:
        logger.warning(
            "%s: the largest sample is %g, but floats lie in [-1, 1]; divide "
            "samples of 16 bits by 32768",
            name,
            peak,
        )
    return samples.mean(dim=1) if samples.ndim == 2 else samples


def mono_blocks(
    blocks: Iterable[Samples], name: str = "a stream"
) -> Iterator[torch.Tensor]:
    """Downmix the blocks of a stream.

    The first block tells which axis is time.

    Arguments
    ---------
    blocks : iterable
        Blocks [n], [n, channels] or [channels, n]; empty ones are skipped.
    name : str
        What to call the stream in messages.

    Yields
    ------
    torch.Tensor
        [n], float32.

    Raises
    ------
    ValueError
        If a block has another shape or number of channels, samples of another
        kind, or samples that are not finite; if the stream has no sample.

    Example
    -------
    >>> stream = [torch.zeros(2, 800), torch.zeros(2, 1), torch.zeros(2, 0)]
    >>> [len(block) for block in mono_blocks(stream)]
    [800, 1]
    """
    first, swapped = None, False
    for block in blocks:
        block = as_tensor(block, name)
        if not block.numel():
            continue
        if first is None:
            turned = time_first(block, name)
            swapped = turned.shape != block.shape
        block = block.T if swapped and block.ndim == 2 else block
        if first is not None and block.shape[1:] != first:
            raise ValueError(
                f"{name} has a block of shape {list(block.shape)} after blocks "
                f"of [n{''.join(f', {size}' for size in first)}]; all must "
                "have the same channels"
            )
        first = block.shape[1:]
        yield to_mono(block, name)
    if first is None:
        raise ValueError(f"{name} has no samples")
