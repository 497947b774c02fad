"""A second reader for what libsndfile cannot read: m4a, webm and others.

It decodes through FFmpeg's libraries, which come with PyAV (extra ``av``).
"""

import os
from collections.abc import Generator
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np

# Endings of files that it reads, and libsndfile does not
DECODED_SUFFIXES = (
    ".m4a", ".mp4", ".m4b", ".mov", ".aac", ".webm", ".mkv", ".mka", ".wma",
    ".3gp",
)  # fmt: skip
# What messages offer besides converting a file
PYAV_READS = '; or install PyAV, which reads it: pip install "audiomamba[av]"'
# Codecs pad the end of a stream by a frame or two
_TOLERANCE_S = 0.1


class DecodeError(ValueError):
    """A file that cannot be decoded, or not to its end."""


def has_decoder() -> bool:
    """Whether PyAV is installed.

    Returns
    -------
    bool

    Example
    -------
    >>> has_decoder() in (True, False)
    True
    """
    return find_spec("av") is not None


class DecodedFile:
    """An open file whose samples come from FFmpeg's decoders, in order.

    It has what `audiomamba.dataio.audio` uses of `soundfile.SoundFile`. Headers
    are not trusted: the number of frames is counted by decoding the whole file
    once, and remembered as long as the file does not change.

    Arguments
    ---------
    path : str or Path
        A file of any format that FFmpeg knows; of a video, the first audio
        stream is read.

    Raises
    ------
    DecodeError
        If it has no audio, or is damaged or truncated.
    ModuleNotFoundError
        If PyAV is not installed.

    Example
    -------
    >>> import soundfile
    >>> path = getfixture("tmp_path") / "a.flac"
    >>> soundfile.write(path, [[0.5, 0.25]] * 800, 8000)
    >>> with DecodedFile(path) as file:
    ...     print(file.frames, file.samplerate, file.read(300).shape)
    800 8000 (300, 2)
    """

    format, subtype, extra_info = "DECODED", "", ""

    def __init__(self, path: str | Path):
        self.path = str(path)
        stat = os.stat(path)
        self.frames, self.samplerate, self.channels = _measure(
            self.path, stat.st_mtime_ns, stat.st_size
        )
        self._blocks = _decode(self.path)
        self._rest = np.empty((0, self.channels), dtype=np.float32)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._blocks.close()

    def seekable(self) -> bool:
        """Whether samples can be read out of order: they cannot.

        A position in compressed audio is exact only when counted from the
        start.

        Returns
        -------
        bool
        """
        return False

    def read(
        self, frames: int, dtype: str = "float32", always_2d: bool = True
    ) -> np.ndarray:
        """Decode the next samples.

        Arguments
        ---------
        frames : int
            How many; at the end there are fewer.
        dtype, always_2d
            As ``soundfile`` has them; there is no other form.

        Returns
        -------
        np.ndarray
            [frames, channels], float32.
        """
        found, count = [self._rest], len(self._rest)
        while (
            count < frames and (block := next(self._blocks, None)) is not None
        ):
            found.append(block)
            count += len(block)
        samples = np.concatenate(found)
        self._rest = samples[frames:]
        return samples[:frames]


@lru_cache(maxsize=1 << 16)
def _measure(path, mtime, size):
    """Number of frames, rate and channels, by decoding all of it."""
    n_frames, rate, channels = 0, 0, 0
    for block in _decode(path, with_rate=True):
        samples, rate = block
        n_frames, channels = n_frames + len(samples), samples.shape[1]
    if not n_frames:
        raise DecodeError("has no audio that FFmpeg can decode")
    announced, is_exact = _announced(path)
    shortage = announced - n_frames / rate
    if shortage > (0.5 / rate if is_exact else _TOLERANCE_S):
        raise DecodeError(
            f"truncated, {n_frames / rate:.2f} of {announced:.2f} s of audio "
            "are there"
        )
    return n_frames, rate, channels


def _announced(path):
    """Seconds that the header promises, and whether that is to the sample."""
    import av

    with av.open(path) as container:
        stream = container.streams.audio[0]
        if stream.duration is not None:
            seconds = float(stream.duration * stream.time_base)
            return seconds, container.format.name == "flac"
        alone = len(container.streams) == 1 and container.duration is not None
        return (container.duration / av.time_base if alone else 0.0), False


def _decode(path: str, with_rate: bool = False) -> Generator:
    """Yield blocks [n, channels], float32, all of one rate."""
    import av

    try:
        with av.open(path) as container:
            if not container.streams.audio:
                raise DecodeError("has no audio stream")
            stream = container.streams.audio[0]
            # a damaged frame is an error, not silence
            stream.codec_context.options = {"err_detect": "crccheck+explode"}
            form = None
            for frame in container.decode(stream):
                form = form or (frame.sample_rate, frame.layout.name)
                if form != (frame.sample_rate, frame.layout.name):
                    raise DecodeError("changes its rate or channels midway")
                samples = _as_floats(frame)
                yield (samples, form[0]) if with_rate else samples
    except av.error.FFmpegError as error:
        raise DecodeError(f"FFmpeg says: {error.strerror}") from error


def _as_floats(frame):
    """Samples of a frame, [n, channels], in [-1, 1]."""
    samples = frame.to_ndarray()
    # packed formats have the channels of a sample side by side
    if not frame.format.is_planar:
        samples = samples.reshape(frame.samples, -1).T
    if samples.dtype.kind == "u":
        samples = samples.astype(np.float32) / 128 - 1
    elif samples.dtype.kind == "i":
        full_scale = float(1 << (8 * samples.dtype.itemsize - 1))
        samples = samples.astype(np.float64) / full_scale
    return samples.astype(np.float32).T
