"""Random streams, good files and bad files of miniature corpora."""

from hashlib import blake2b

import numpy as np
import soundfile
from scipy.io import wavfile

# Every sort of file that a preparation has to refuse -> what it is
FAULTS = {
    "empty": "an empty file",
    "truncated": "cut short: half the sound its header promises",
    "text": "a text file under an audio name",
    "not_finite": "floating-point samples with NaN",
}
# What single-rate mono corpora have to refuse as well
FORMAT_FAULTS = {
    "stereo": "two channels",
    "other_rate": "half the sampling rate",
}


def stream(*names):
    """A random generator of its own for anything that has a name.

    So a file's content does not depend on what else is made, or when.

    Arguments
    ---------
    *names : int or str
        The seed, and what tells this stream from the others.

    Returns
    -------
    numpy.random.Generator
    """
    digest = blake2b(repr(names).encode(), digest_size=16).digest()
    return np.random.default_rng(int.from_bytes(digest, "big"))


def write_audio(path, samples, rate):
    """Write 16-bit audio (wav, flac), making its folder.

    Arguments
    ---------
    path : Path
        The file; its suffix tells the format.
    samples : np.ndarray
        [N] or [N, channels], within [-1, 1].
    rate : int
        In Hz.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, subtype="PCM_16")


def write_fault(path, fault, samples, rate):
    """Write a bad file.

    Arguments
    ---------
    path : Path
        The file.
    fault : str
        A key of `FAULTS` or `FORMAT_FAULTS`.
    samples : np.ndarray
        Good sound [N] to spoil.
    rate : int
        In Hz.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if fault == "empty":
        path.write_bytes(b"")
    elif fault == "text":
        path.write_text("This video is no longer available.\n" * 20)
    elif fault == "stereo":
        write_audio(path, np.stack([samples, samples], axis=1), rate)
    elif fault == "other_rate":
        write_audio(path, samples[::2], rate // 2)
    elif fault == "not_finite":
        spoilt = samples.copy()
        spoilt[len(spoilt) // 2] = np.nan
        # libsndfile would write the date into a floating-point wav
        wavfile.write(path, rate, spoilt.astype(np.float32))
    else:
        write_audio(path, samples, rate)
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
