"""Audio files: their headers, and their samples as mono float32.

Files that cannot be trained on (empty, truncated, not audio, NaN) raise an
`AudioError` that names the file, what is wrong and the remedy.
"""

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import soundfile
import torch

from audiomamba.dataio.formats import (
    announced,
    converting_command,
    is_cut_ogg,
    is_raw,
    kind_of_file,
    says_length,
)
from audiomamba.nnet.lengths import check_sizes

_GET_AGAIN = "download or extract it again"
_BLOCK = 1 << 16
# libsndfile's number of frames where the header has none is larger
_MOST_FRAMES = 1 << 48
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
        Any format of libsndfile: wav (16, 24, 32 bit, float), flac, mp3, ...
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
    >>> path = getfixture("tmp_path") / "a.wav"
    >>> soundfile.write(path, [0.0] * 800, 8000)
    >>> tuple(audio_info(path))
    (800, 8000, 1)
    """
    with _opened(path) as source:
        if verify and not source.is_raw:
            for block in source.blocks(_BLOCK):
                _check_finite(block, path)
            if source.file.format == "OGG" and is_cut_ogg(path):
                raise AudioError(
                    f"{path}: truncated, its end is missing; {_GET_AGAIN}"
                )
        return AudioInfo(source.n_frames, source.sample_rate, source.channels)


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
    with _opened(path) as source:
        start, stop = choose(source.n_frames, source.sample_rate)
        stop = source.n_frames if stop is None else stop
        if not 0 <= start < stop <= source.n_frames:
            raise AudioError(
                f"{path}: has {source.n_frames} frames, so frames {start} to "
                f"{stop} cannot be read; correct the segment in the list, or "
                "the file"
            )
        wav = source.read(start, stop).mean(dim=1)
        file_rate = source.sample_rate
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
    with _opened(path) as source:
        for frames in source.blocks(n_frames):
            _check_finite(frames, path)
            yield frames.mean(dim=1)


class _Source:
    """An open audio file whose frames are read in order, from any position."""

    def __init__(self, file, path):
        self.file, self.path, self.position = file, path, 0
        self.sample_rate, self.channels = file.samplerate, file.channels
        self.is_raw = is_raw(file.format, file.subtype)
        self.n_frames = file.frames
        if file.format == "MP3" and not says_length(path):
            # what libsndfile has is a guess
            self.n_frames = sum(map(len, self.blocks(_BLOCK, to_end=False)))
            file.seek(0)
            self.position = 0

    def read(self, start, stop):
        """Frames [stop - start, channels]."""
        if start != self.position and self.file.seekable():
            with self._reported():
                self.file.seek(start)
            self.position = start
        # telephony codecs cannot seek
        while self.position < start:
            self._take(min(start - self.position, _BLOCK))
        frames = self._take(stop - start)
        if len(frames) < stop - start:
            raise AudioError(
                f"{self.path}: truncated, {len(frames)} of {stop - start} "
                f"frames could be read from frame {start}; {_GET_AGAIN}"
            )
        return frames

    def blocks(self, size, to_end=True):
        """Yield all frames in blocks; up to the announced end, or any."""
        if not to_end:
            while len(frames := self._take(size)):
                yield frames
            return
        for start in range(0, self.n_frames, size):
            yield self.read(start, min(start + size, self.n_frames))

    def _take(self, size):
        """The next frames, fewer at the end."""
        with self._reported():
            frames = self.file.read(size, dtype="float32", always_2d=True)
        self.position += len(frames)
        return torch.from_numpy(frames)

    @contextmanager
    def _reported(self):
        """Turn errors of libsndfile into an AudioError."""
        try:
            yield
        except soundfile.LibsndfileError as error:
            reason = error.error_string.rstrip(".")
            raise AudioError(
                f"{self.path}: truncated or damaged ({reason}); {_GET_AGAIN}, "
                "or, if other programs play it whole, convert it: "
                f"{converting_command(self.path)}"
            ) from error


@contextmanager
def _opened(path):
    """Open a file with at least one frame, or raise an AudioError."""
    path = Path(path)
    try:
        # bytes, as names need not be UTF-8; Windows has none that are not
        name = os.fsencode(path) if os.name == "posix" else path
        file = soundfile.SoundFile(name)
    except (soundfile.LibsndfileError, TypeError) as error:
        # TypeError: soundfile wants the rate of headerless formats (.raw)
        raise AudioError(f"{path}: {_why_unreadable(path, error)}") from error
    with file:
        if lacking := announced(file.extra_info):
            raise AudioError(
                f"{path}: truncated, its header announces {lacking[0]} "
                f"{lacking[2]} of audio and {lacking[1]} are there; "
                f"{_GET_AGAIN}"
            )
        if not file.frames:
            raise AudioError(f"{path}: has no audio (0 frames); {_GET_AGAIN}")
        if file.frames > _MOST_FRAMES:
            raise AudioError(
                f"{path}: does not say how long it is; convert it: "
                f"{converting_command(path)}"
            )
        yield _Source(file, path)


def _why_unreadable(path, error):
    """What is wrong with a file that libsndfile cannot open, and the remedy."""
    if not path.exists():
        return "is missing; restore it, or correct the path"
    if not path.is_file():
        return "is not a file; put the audio file in its place"
    if not path.stat().st_size:
        return f"is empty (0 bytes); {_GET_AGAIN}"
    if not os.access(path, os.R_OK):
        return "may not be read; change its permissions (chmod a+r)"
    with open(path, "rb") as file:
        kind = kind_of_file(file.read(512))
    reason = getattr(error, "error_string", error)
    if kind and kind.is_audio:
        return (
            f"is {kind.name}, which libsndfile cannot read; convert it: "
            f"{converting_command(path)}"
        )
    if kind:
        return f"is not an audio file, but {kind.name}; {_GET_AGAIN}"
    return (
        "is not an audio file that libsndfile can read, or is damaged "
        f"({reason}); {_GET_AGAIN}, or convert it: {converting_command(path)}"
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
