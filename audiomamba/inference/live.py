"""Sound as it arrives: from a microphone, or from another program."""

import logging
import queue
from collections.abc import Iterator
from io import BufferedIOBase

import numpy as np

logger = logging.getLogger(__name__)

# Samples of a block from the microphone, in seconds
_BLOCK = 0.05
# Seconds of sound that may wait, and without any sound
_LAG, _PATIENCE = 5.0, 5.0
_HEADERS = (b"RIFF", b"fLaC", b"OggS", b"ID3", b"FORM")


class LiveError(ValueError):
    """There is no sound to hear; the message says why and what to do."""


def pcm_blocks(
    stream: BufferedIOBase, name: str = "stdin"
) -> Iterator[np.ndarray]:
    """Read raw samples as they arrive: signed, 16 bits, little-endian, mono.

    Arguments
    ---------
    stream : binary file
        With ``read1``, as ``sys.stdin.buffer``.
    name : str
        What to call it in messages.

    Yields
    ------
    np.ndarray
        int16, [n].

    Raises
    ------
    LiveError
        If it is the file of a format, or has no samples.

    Example
    -------
    >>> import io
    >>> list(pcm_blocks(io.BytesIO(b"\\x01\\x00\\x02\\x00")))
    [array([1, 2], dtype=int16)]
    """
    rest, n_bytes = b"", 0
    while data := stream.read1(1 << 16):
        if not n_bytes and data.startswith(_HEADERS):
            raise LiveError(
                f"{name} is a file in a format, not raw samples: write them "
                "with ffmpeg -f s16le -ac 1, or give the file's name"
            )
        n_bytes += len(data)
        data = rest + data
        whole = len(data) - len(data) % 2
        rest = data[whole:]
        if whole:
            yield np.frombuffer(data[:whole], "<i2").astype(np.int16)
    if n_bytes < 2:
        raise LiveError(f"{name} has no samples")


def microphone(rate: int) -> tuple[Iterator[np.ndarray], int]:
    """Open the default microphone.

    Arguments
    ---------
    rate : int
        Wanted sample rate in Hz.

    Returns
    -------
    blocks : iterator of np.ndarray
        float32, [n], without end; a `LiveError` if the device stops. Logs
        once that sound comes faster than it is taken.
    rate : int
        The rate: the wanted one, or the device's own.

    Raises
    ------
    LiveError
        If the package or PortAudio is not installed, or there is no
        microphone.
    """
    try:
        import sounddevice
    except ModuleNotFoundError as error:
        raise LiveError(
            "the microphone needs sounddevice: pip install "
            "'audiomamba[microphone]'"
        ) from error
    except OSError as error:
        raise LiveError(
            f"{error}: install PortAudio (Debian: apt install libportaudio2)"
        ) from error
    try:
        rate = _rate_of(sounddevice, rate)
    except (sounddevice.PortAudioError, ValueError) as error:
        raise LiveError(
            f"there is no microphone to listen to ({error}): connect one, or "
            "pipe sound in: ffmpeg ... -f s16le -ac 1 - | audiomamba-tag -"
        ) from error
    return _listen(sounddevice, rate), rate


def _rate_of(sounddevice, rate):
    """Return the wanted rate, or the device's own if it has no other."""
    own = sounddevice.query_devices(kind="input")["default_samplerate"]
    try:
        sounddevice.check_input_settings(channels=1, samplerate=rate)
    except sounddevice.PortAudioError:
        sounddevice.check_input_settings(channels=1, samplerate=own)
        return round(own)
    return rate


def _listen(sounddevice, rate):
    """Yield blocks of the microphone as they come."""
    heard: queue.SimpleQueue[np.ndarray] = queue.SimpleQueue()
    lags = False
    with sounddevice.InputStream(
        samplerate=rate,
        channels=1,
        dtype="float32",
        blocksize=round(_BLOCK * rate),
        callback=lambda data, *others: heard.put(data[:, 0].copy()),
    ):
        while True:
            try:
                yield heard.get(timeout=_PATIENCE)
            except queue.Empty:
                raise LiveError(
                    "the microphone gives no more sound: connect it again"
                ) from None
            if not lags and heard.qsize() * _BLOCK > _LAG:
                lags = True
                logger.warning(
                    f"The answers lag: {_LAG:g} s of the microphone's sound "
                    "wait. Take a smaller model, or windows further apart."
                )
