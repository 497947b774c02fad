"""Audio files: their headers, and their samples as mono float32.

Files that cannot be trained on (empty, truncated, not audio, NaN) raise an
`AudioError` that names the file, what is wrong and the remedy.
"""

import math
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import soundfile
import torch

from audiomamba.nnet.lengths import check_sizes

_GET_AGAIN = "download or extract it again"
# libsndfile's remark on a chunk that is larger than the rest of the file
_TRUNCATED = re.compile(r"^data\s*: (\d+) \(should be (\d+)\)", re.MULTILINE)
# Written by programs that stream and do not know the size yet
_UNKNOWN_SIZE = 0x7FFF0000
_FLOAT_SUBTYPES = ("FLOAT", "DOUBLE")
_BLOCK = 1 << 16
# Size of a resampling kernel; 44056 -> 16000 Hz needs 2e7
_MAX_KERNEL = 30_000_000


class AudioError(ValueError):
    """An audio file that cannot be used: says which, why, and the remedy."""


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
        Any format of libsndfile: wav (16, 24, 32 bit, float), flac, ...
    verify : bool
        Also check what the header does not say: NaN and infinity in
        floating-point files (reads the file in blocks), and truncated FLAC
        (reads its last frame). Other formats cost nothing.

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
    >>> path = getfixture("tmp_path") / "a.wav"
    >>> soundfile.write(path, [0.0] * 800, 8000)
    >>> tuple(audio_info(path))
    (800, 8000, 1)
    """
    with _opened(path) as file:
        if verify and file.subtype in _FLOAT_SUBTYPES:
            for block in file.blocks(_BLOCK, dtype="float32", always_2d=True):
                _check_finite(torch.from_numpy(block), path)
        elif verify and file.format == "FLAC":
            _read_frames(file, file.frames - 1, file.frames, path)
        return AudioInfo(file.frames, file.samplerate, file.channels)


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
    >>> path = getfixture("tmp_path") / "a.wav"
    >>> soundfile.write(path, [0.0] * 16000, 16000)
    >>> read_window(path, lambda n_frames, rate: (0, rate // 4)).shape
    torch.Size([4000])
    """
    with _opened(path) as file:
        start, stop = choose(file.frames, file.samplerate)
        stop = file.frames if stop is None else stop
        if not 0 <= start < stop <= file.frames:
            raise AudioError(
                f"{path}: has {file.frames} frames, so frames {start} to "
                f"{stop} cannot be read; correct the segment in the list, or "
                "the file"
            )
        frames = _read_frames(file, start, stop, path)
        file_rate = file.samplerate
    wav = torch.from_numpy(frames).mean(dim=1)
    _check_finite(wav, path)
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
    >>> path = getfixture("tmp_path") / "a.wav"
    >>> soundfile.write(path, [0.0] * 800, 8000)
    >>> [len(block) for block in read_blocks(path, n_frames=300)]
    [300, 300, 200]
    """
    with _opened(path) as file:
        for start in range(0, file.frames, n_frames):
            stop = min(start + n_frames, file.frames)
            # continues at the end of the last block, without seeking
            frames = torch.from_numpy(_read_frames(file, start, stop, path))
            _check_finite(frames, path)
            yield frames.mean(dim=1)


def _read_frames(file, start, stop, path):
    """Frames [stop - start, channels] of an open file."""
    try:
        if file.tell() != start:
            file.seek(start)
        frames = file.read(stop - start, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        reason = error.error_string.rstrip(".")
        raise AudioError(
            f"{path}: truncated or damaged ({reason}); {_GET_AGAIN}"
        ) from error
    if len(frames) < stop - start:
        raise AudioError(
            f"{path}: truncated, {len(frames)} of {stop - start} frames could "
            f"be read from frame {start}; {_GET_AGAIN}"
        )
    return frames


@contextmanager
def _opened(path):
    """Open a file with at least one frame, or raise an AudioError."""
    path = Path(path)
    try:
        file = soundfile.SoundFile(path)
    except (soundfile.LibsndfileError, TypeError) as error:
        # TypeError: soundfile wants the rate of headerless formats (.raw)
        raise AudioError(f"{path}: {_why_unreadable(path, error)}") from error
    with file:
        announced = _TRUNCATED.search(file.extra_info)
        if announced and int(announced[1]) < _UNKNOWN_SIZE:
            raise AudioError(
                f"{path}: truncated, its header announces {announced[1]} bytes "
                f"of audio and {announced[2]} are there; {_GET_AGAIN}"
            )
        if not file.frames:
            raise AudioError(f"{path}: has no audio (0 frames); {_GET_AGAIN}")
        yield file


def _why_unreadable(path, error):
    """What is wrong with a file that libsndfile cannot open, and the remedy."""
    if not path.exists():
        return "is missing; restore it or remove it from the list"
    if not path.is_file():
        return "is not a file; put the audio file in its place"
    if not path.stat().st_size:
        return f"is empty (0 bytes); {_GET_AGAIN}"
    if not os.access(path, os.R_OK):
        return "may not be read; change its permissions (chmod a+r)"
    return (
        "is not an audio file that libsndfile can read, or is damaged "
        f"({getattr(error, 'error_string', error)}); {_GET_AGAIN}, or "
        "convert it to wav or flac with ffmpeg"
    )


def _check_finite(samples, path):
    """Refuse NaN and infinity."""
    if not torch.isfinite(samples).all():
        raise AudioError(
            f"{path}: has NaN or infinite samples; {_GET_AGAIN}, or convert "
            "it again from its source"
        )


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
    divisor = math.gcd(file_rate, sample_rate)
    if file_rate // divisor * (sample_rate // divisor) > _MAX_KERNEL:
        raise AudioError(
            f"{path}: has the unusual rate of {file_rate} Hz, whose kernel "
            "does not fit in memory; convert it first: "
            f"ffmpeg -i {Path(path).name} -ar {sample_rate} <new file>"
        )
    return _resampler(file_rate, sample_rate)(wav)


@lru_cache(maxsize=16)
def _resampler(file_rate, sample_rate):
    """The resampler of a pair of rates, which caches its kernel."""
    from torchaudio.transforms import Resample

    return Resample(file_rate, sample_rate)
