"""Open audio files: by libsndfile, or where it cannot by FFmpeg's decoders.

Imports no PyTorch: `audiomamba.lite` reads its files here, too.
"""

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import soundfile

from audiomamba.dataio.codecs.decoder import (
    PYAV_READS,
    DecodedFile,
    DecodeError,
)
from audiomamba.dataio.codecs.formats import (
    announced,
    converting_command,
    is_raw,
    kind_of_file,
    says_length,
)
from audiomamba.dataio.codecs.members import open_bytes, place_of

_NO_FILE = "is not a file; put the audio file in its place"
GET_AGAIN = "download or extract it again"
BLOCK = 1 << 16
# The power spectrum of larger samples overflows in float32
LARGEST = 1e15
# libsndfile's number of frames where the header has none is larger
_MOST_FRAMES = 1 << 48
# Size of a resampling kernel; 44056 -> 16000 Hz needs 2e7
_MAX_KERNEL = 30_000_000


class AudioError(ValueError):
    """An audio file that cannot be used: says which, why, and the remedy."""


class AudioSource:
    """An open audio file whose frames are read in order, from any position.

    Arguments
    ---------
    file : soundfile.SoundFile or DecodedFile
        Open, at its start.
    path : Path
        Its name.
    """

    def __init__(self, file, path):
        self.file, self.path, self.position = file, path, 0
        self.sample_rate, self.channels = file.samplerate, file.channels
        self.is_raw = is_raw(file.format, file.subtype)
        self.n_frames = file.frames
        if file.format == "MP3" and not says_length(path):
            # what libsndfile has is a guess
            try:
                self.n_frames = sum(map(len, self.blocks(BLOCK, to_end=False)))
                file.seek(0)
            except soundfile.LibsndfileError as error:
                self._go_on_with_ffmpeg(error)
            self.position = 0

    def read(self, start, stop):
        """Frames [stop - start, channels]."""
        try:
            return self._read(start, stop)
        except DecodeError as error:
            raise AudioError(f"{self.path}: {error}; {GET_AGAIN}") from error
        except soundfile.LibsndfileError as error:
            self._go_on_with_ffmpeg(error)
        return self._read(start, stop)

    def _read(self, start, stop):
        """As `read`; may raise errors of libsndfile."""
        if start != self.position and self.file.seekable():
            self.file.seek(start)
            self.position = start
        # telephony codecs cannot seek
        while self.position < start:
            self._take(min(start - self.position, BLOCK))
        frames = self._take(stop - start)
        if len(frames) < stop - start:
            raise AudioError(
                f"{self.path}: truncated, {len(frames)} of {stop - start} "
                f"frames could be read from frame {start}; {GET_AGAIN}"
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
        frames = self.file.read(size, dtype="float32", always_2d=True)
        self.position += len(frames)
        return frames

    def _go_on_with_ffmpeg(self, error):
        """Open a FLAC file again that libsndfile gives up, or raise why not."""
        fault = f"truncated or damaged ({error.error_string.rstrip('.')})"
        remedy = (
            f"{GET_AGAIN}, or, if other programs play it whole, convert it: "
            f"{converting_command(self.path)}"
        )
        if self.file.format == "FLAC":
            try:
                self.file, self.position = DecodedFile(self.path), 0
                return
            except DecodeError as second:
                fault += f"; {second}"
            except ModuleNotFoundError:
                remedy += PYAV_READS
        raise AudioError(f"{self.path}: {fault}; {remedy}") from error


@contextmanager
def opened(path: str | Path) -> Iterator[AudioSource]:
    """Open a file with at least one frame.

    Arguments
    ---------
    path : str or Path
        The file.

    Yields
    ------
    AudioSource

    Raises
    ------
    AudioError
        Saying what is wrong with the file, and the remedy.

    Example
    -------
    >>> path = getfixture("tmp_path") / "a.wav"
    >>> soundfile.write(path, [0.0] * 800, 8000)
    >>> with opened(path) as source:
    ...     source.n_frames, source.read(100, 300).shape
    (800, (200, 1))
    """
    path = Path(path)
    if path.exists() and not path.is_file():  # opening a pipe would wait
        raise AudioError(f"{path}: {_NO_FILE}")
    try:
        if place_of(path):
            file = _open_member(path)
        else:
            # bytes: names need not be UTF-8; Windows has none that are not
            name = os.fsencode(path) if os.name == "posix" else path
            file = soundfile.SoundFile(name)
    except (soundfile.LibsndfileError, TypeError) as error:
        # TypeError: soundfile wants the rate of headerless formats (.raw)
        file, fault = _open_with_ffmpeg(path)
        if file is None:
            fault = _why_unreadable(path, error, fault)
            raise AudioError(f"{path}: {fault}") from error
    with file:
        if lacking := announced(file.extra_info):
            raise AudioError(
                f"{path}: truncated, its header announces {lacking[0]} "
                f"{lacking[2]} of audio and {lacking[1]} are there; "
                f"{GET_AGAIN}"
            )
        if not file.frames:
            raise AudioError(f"{path}: has no audio (0 frames); {GET_AGAIN}")
        if file.frames > _MOST_FRAMES:
            raise AudioError(
                f"{path}: does not say how long it is; convert it: "
                f"{converting_command(path)}"
            )
        yield AudioSource(file, path)


def _open_member(path):
    """A member of an archive, or what is wrong with it."""
    archive = place_of(path).archive
    try:
        return soundfile.SoundFile(open_bytes(path))
    except OSError as error:
        fault = f"{archive}: cannot be read ({error.strerror})"
        raise AudioError(f"{fault}; restore it, or correct data_folder") from (
            error
        )
    except (soundfile.LibsndfileError, TypeError, ValueError) as error:
        reason = getattr(error, "error_string", error)
        raise AudioError(
            f"{path}: is not the archive that the manifest was written for, or "
            f"is damaged ({reason}); sha256sum -c SHA256SUMS in its folder "
            "tells, and tools/make_shards.py writes it again"
        ) from error


def _open_with_ffmpeg(path):
    """A file that libsndfile cannot open, or None and why there is none."""
    if not (path.is_file() and os.access(path, os.R_OK) and _may_sound(path)):
        return None, None
    try:
        return DecodedFile(path), None
    except DecodeError as error:
        return None, str(error)
    except ModuleNotFoundError:
        return None, None


def _kind(path):
    """What a file is by its first bytes, if that is known."""
    with open(path, "rb") as file:
        return kind_of_file(file.read(512))


def _may_sound(path):
    """Whether a file is worth a second try."""
    kind = _kind(path)
    return path.stat().st_size > 0 and (kind is None or kind.is_audio)


def _why_unreadable(path, error, second):
    """What is wrong with a file that cannot be opened, and the remedy.

    ``second`` is what FFmpeg's decoders say, None without them.
    """
    if not path.exists():
        return "is missing; restore it, or correct the path"
    if not path.stat().st_size:
        return f"is empty (0 bytes); {GET_AGAIN}"
    if not os.access(path, os.R_OK):
        return "may not be read; change its permissions (chmod a+r)"
    kind = _kind(path)
    if kind and not kind.is_audio:
        return f"is not an audio file, but {kind.name}; {GET_AGAIN}"
    convert = f"convert it: {converting_command(path)}"
    if kind and second:
        return f"is {kind.name}, but cannot be decoded ({second}); {GET_AGAIN}"
    if kind:
        return (
            f"is {kind.name}, which libsndfile cannot read; {convert}"
            f"{PYAV_READS}"
        )
    reason = getattr(error, "error_string", error)
    reason = f"{reason}; {second}" if second else reason
    return (
        "is not an audio file that libsndfile can read, or is damaged "
        f"({reason}); {GET_AGAIN}, or {convert}"
    )


def check_finite(samples: np.ndarray, path: str | Path) -> None:
    """Refuse NaN, infinity, and samples whose power would be infinite.

    Arguments
    ---------
    samples : np.ndarray
        Of any shape.
    path : str or Path
        Their file.

    Raises
    ------
    AudioError
        If a sample is one of them.
    """
    # A comparison with NaN is false
    if not (np.abs(samples) <= LARGEST).all():
        raise AudioError(
            f"{path}: has samples that are NaN, infinite or beyond "
            f"{LARGEST:g}; {GET_AGAIN}, or convert it again from its source"
        )


def rate_ratio(
    file_rate: int, sample_rate: int, path: str | Path
) -> tuple[int, int]:
    """Return two sampling rates without their common divisor.

    Arguments
    ---------
    file_rate, sample_rate : int
        In Hz: of a file, and wanted.
    path : str or Path
        The file.

    Returns
    -------
    tuple of int

    Raises
    ------
    AudioError
        If a resampling kernel for this pair of rates would be too large.

    Example
    -------
    >>> rate_ratio(44100, 16000, "a.wav")
    (441, 160)
    """
    divisor = math.gcd(file_rate, sample_rate)
    ratio = file_rate // divisor, sample_rate // divisor
    if math.prod(ratio) > _MAX_KERNEL:
        raise AudioError(
            f"{path}: has the unusual rate of {file_rate} Hz, whose kernel "
            "does not fit in memory; convert it first: "
            f"ffmpeg -i {Path(path).name} -ar {sample_rate} <new file>"
        )
    return ratio
