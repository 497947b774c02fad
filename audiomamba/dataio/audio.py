"""Audio files: their headers, and their samples as mono float32.

Files that cannot be trained on (empty, truncated, not audio, NaN) raise an
`AudioError` that names the file, what is wrong and the remedy.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch

from audiomamba.dataio.codecs.formats import is_cut_ogg
from audiomamba.dataio.codecs.opening import (
    BLOCK,
    GET_AGAIN,
    AudioError,
    check_finite,
    opened,
    rate_ratio,
)
from audiomamba.nnet.lengths import check_sizes

# Two steps of 16 bits, which dither and codecs add to silence
_SILENT_RANGE = 2**-14


class AudioInfo(NamedTuple):
    """The header: number of frames, sample rate in Hz, channels."""

    n_frames: int
    sample_rate: int
    channels: int


def audio_info(path: str | Path, verify: bool = False) -> AudioInfo:
    """Read the header of an audio file.

    Arguments
    ---------
    path : str or Path
        Any format of libsndfile: wav (16, 24, 32 bit, float), flac, mp3, ...;
        with PyAV (extra ``av``) also m4a, webm and others.
    verify : bool
        Also check what the header does not say, by reading the file in
        blocks: whether compressed audio can be decoded to its end, and
        whether floating-point samples are finite. Plain PCM costs nothing.

    Returns
    -------
    AudioInfo
        ``(n_frames, sample_rate, channels)``.

    Raises
    ------
    AudioError
        If the file is missing, empty, not audio or truncated, or does not
        pass the verification.

    Example
    -------
    >>> import soundfile
    >>> path = getfixture("tmp_path") / "a.wav"
    >>> soundfile.write(path, [0.0] * 800, 8000)
    >>> tuple(audio_info(path))
    (800, 8000, 1)
    """
    with opened(path) as source:
        if verify and not source.is_raw:
            for _ in _checked_blocks(source):
                pass
        return AudioInfo(source.n_frames, source.sample_rate, source.channels)


def decode_audio(path: str | Path) -> tuple[AudioInfo, bool]:
    """Decode an audio file to its end, plain PCM as well, and check it.

    Arguments
    ---------
    path : str or Path
        The file.

    Returns
    -------
    info : AudioInfo
        See `audio_info`.
    silent : bool
        See `is_silent`.

    Raises
    ------
    AudioError
        As `audio_info` with ``verify``.

    Example
    -------
    >>> import soundfile
    >>> path = getfixture("tmp_path") / "a.wav"
    >>> soundfile.write(path, [0.0] * 800, 8000)
    >>> info, silent = decode_audio(path)
    >>> info.n_frames, silent
    (800, True)
    """
    with opened(path) as source:
        silent = is_silent(_checked_blocks(source))
        info = AudioInfo(source.n_frames, source.sample_rate, source.channels)
        return info, silent


def is_silent(blocks: Iterable) -> bool:
    """Whether samples are silent: all have about the same value.

    Arguments
    ---------
    blocks : iterable of np.ndarray or torch.Tensor
        The samples in [-1, 1], of any shape; all blocks are taken.

    Returns
    -------
    bool

    Example
    -------
    >>> is_silent([torch.zeros(3), torch.zeros(2)])
    True
    >>> is_silent([torch.zeros(3), torch.ones(2)])
    False
    """
    low, high = math.inf, -math.inf
    for block in blocks:
        low, high = min(low, block.min()), max(high, block.max())
    return bool(high - low <= _SILENT_RANGE)


def _checked_blocks(source):
    """Yield all frames of an open file, or raise what is wrong with them."""
    for block in source.blocks(BLOCK):
        check_finite(block, source.path)
        yield block
    if source.file.format == "OGG" and is_cut_ogg(source.path):
        raise AudioError(
            f"{source.path}: truncated, its end is missing; {GET_AGAIN}"
        )


def read_audio(
    path: str | Path,
    sample_rate: int = 16000,
    start: int = 0,
    stop: int | None = None,
) -> torch.Tensor:
    """Read a file, or a segment of it, as mono at a given rate.

    Arguments
    ---------
    path : str or Path
        The file.
    sample_rate : int
        Target rate in Hz; files of other rates are resampled.
    start : int
        First frame, at the file's own rate.
    stop : int, optional
        Frame after the last one, at the file's own rate; None for the end.

    Returns
    -------
    torch.Tensor
        [N], float32, the mean of the channels.

    Raises
    ------
    AudioError
        If the file is missing, empty, not audio or truncated, has NaN or
        infinite samples, or does not have the frames ``start`` to ``stop``.

    Example
    -------
    >>> import soundfile
    >>> path = getfixture("tmp_path") / "a.wav"
    >>> soundfile.write(path, [[0.5, -0.3]] * 800, 8000)
    >>> wav = read_audio(path, sample_rate=16000, start=200, stop=600)
    >>> wav.shape, round(wav[400].item(), 2)
    (torch.Size([800]), 0.1)
    """
    return read_window(path, lambda n_frames, rate: (start, stop), sample_rate)


def read_window(
    path: str | Path,
    choose: Callable[[int, int], tuple[int, int | None]],
    sample_rate: int = 16000,
) -> torch.Tensor:
    """Read a segment of a file, chosen once its header is known.

    Arguments
    ---------
    path : str or Path
        The file.
    choose : callable
        ``choose(n_frames, file_rate)`` returns ``(start, stop)`` in frames of
        the file; only these are decoded.
    sample_rate : int
        Target rate in Hz.

    Returns
    -------
    torch.Tensor
        [N], float32, the mean of the channels.

    Raises
    ------
    AudioError
        See `read_audio`.

    Example
    -------
    >>> import soundfile
    >>> path = getfixture("tmp_path") / "a.wav"
    >>> soundfile.write(path, [0.0] * 16000, 16000)
    >>> read_window(path, lambda n_frames, rate: (0, rate // 4)).shape
    torch.Size([4000])
    """
    with opened(path) as source:
        start, stop = choose(source.n_frames, source.sample_rate)
        stop = source.n_frames if stop is None else stop
        if not 0 <= start < stop <= source.n_frames:
            raise AudioError(
                f"{path}: has {source.n_frames} frames, so frames {start} to "
                f"{stop} cannot be read; correct the segment in the list, or "
                "the file"
            )
        frames, file_rate = source.read(start, stop), source.sample_rate
    check_finite(frames, path)
    wav = torch.from_numpy(frames).mean(dim=1)
    return resample(wav, file_rate, sample_rate, path)


def read_blocks(
    path: str | Path, n_frames: int = 1 << 16
) -> Iterator[torch.Tensor]:
    """Read a file of any length in blocks, in bounded memory.

    Arguments
    ---------
    path : str or Path
        The file.
    n_frames : int
        Frames per block; the last block may have fewer.

    Yields
    ------
    torch.Tensor
        [n_frames], float32, the mean of the channels at the file's own rate.

    Raises
    ------
    AudioError
        See `read_audio`; when the faulty block is read.

    Example
    -------
    >>> import soundfile
    >>> path = getfixture("tmp_path") / "a.wav"
    >>> soundfile.write(path, [0.0] * 800, 8000)
    >>> [len(block) for block in read_blocks(path, n_frames=300)]
    [300, 300, 200]
    """
    with opened(path) as source:
        for frames in source.blocks(n_frames):
            check_finite(frames, path)
            yield torch.from_numpy(frames).mean(dim=1)


def resample(
    wav: torch.Tensor, file_rate: int, sample_rate: int, path: str | Path
) -> torch.Tensor:
    """Resample a waveform.

    Arguments
    ---------
    wav : torch.Tensor
        [N].
    file_rate : int
        Its rate in Hz.
    sample_rate : int
        Target rate in Hz.
    path : str or Path
        Its file, for the error.

    Returns
    -------
    torch.Tensor
        [ceil(N * sample_rate / file_rate)].

    Raises
    ------
    AudioError
        If the kernel of this pair of rates is too large.
    ValueError
        If a rate is not a positive integer.

    Example
    -------
    >>> resample(torch.zeros(441), 44100, 16000, "a.wav").shape
    torch.Size([160])
    """
    check_sizes(file_rate=file_rate, sample_rate=sample_rate)
    if file_rate == sample_rate:
        return wav
    rate_ratio(file_rate, sample_rate, path)
    return _resampler(file_rate, sample_rate)(wav)


def resample_blocks(
    blocks: Iterable[torch.Tensor],
    file_rate: int,
    sample_rate: int,
    path: str | Path,
) -> Iterator[torch.Tensor]:
    """Resample a stream, as `resample` does the whole, in bounded memory.

    Arguments
    ---------
    blocks : iterable of torch.Tensor
        The stream in blocks [n] of any size.
    file_rate, sample_rate, path
        See `resample`.

    Yields
    ------
    torch.Tensor
        The next samples, [n].

    Raises
    ------
    AudioError, ValueError
        See `resample`.

    Example
    -------
    >>> wav = torch.randn(44100)
    >>> parts = resample_blocks(wav.split(1000), 44100, 16000, "a.wav")
    >>> whole = resample(wav, 44100, 16000, "a.wav")
    >>> torch.allclose(torch.cat([*parts]), whole, atol=1e-5)
    True
    """
    check_sizes(file_rate=file_rate, sample_rate=sample_rate)
    if file_rate == sample_rate:
        yield from blocks
        return
    rate_ratio(file_rate, sample_rate, path)
    resampler = _resampler(file_rate, sample_rate)
    # So many samples become so many others
    group, others = (rate // resampler.gcd for rate in (file_rate, sample_rate))
    # What the filter reaches, in whole groups
    context = (resampler.width // group + 2) * group
    waiting, n_before = torch.empty(0), 0
    for block in blocks:
        waiting = torch.cat([waiting, block])
        stop = (len(waiting) - context) // group * group
        if stop > n_before:
            first, last = (n // group * others for n in (n_before, stop))
            yield resampler(waiting)[first:last]
            n_before = min(stop, context)
            waiting = waiting[stop - n_before :]
    if len(waiting) > n_before:
        yield resampler(waiting)[n_before // group * others :]


@lru_cache(maxsize=16)
def _resampler(file_rate, sample_rate):
    """The resampler of a pair of rates, which caches its kernel."""
    from torchaudio.transforms import Resample

    return Resample(file_rate, sample_rate)
