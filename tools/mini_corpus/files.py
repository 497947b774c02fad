"""Random streams and names, good files and bad files."""

from hashlib import blake2b
from pathlib import Path

import numpy as np
import soundfile
from scipy.io import wavfile

# Every kind of file that a preparation must refuse -> what it is
FAULTS = {
    "empty": "an empty file",
    "truncated": "cut short: half the sound its header promises",
    "text": "a text file under an audio name",
    "not_finite": "floating-point samples with NaN",
}
# What mono corpora of a single rate must refuse as well
FORMAT_FAULTS = {
    "stereo": "two channels",
    "other_rate": "half the sampling rate",
}
_LETTERS = list(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
)


def stream(*names: int | str) -> np.random.Generator:
    """Return the generator of a name: seed first, then what is generated.

    A file's content therefore does not depend on what else is made, or when.
    """
    digest = blake2b(repr(names).encode(), digest_size=16).digest()
    return np.random.default_rng(int.from_bytes(digest, "big"))


def video_id(rng: np.random.Generator) -> str:
    """Return an ID in the form of YouTube's: 11 characters.

    One in four begins with ``-``, which some programs take for an option.
    """
    letters = "".join(rng.choice(_LETTERS, 11))
    return f"-{letters[1:]}" if rng.random() < 0.25 else letters


def write_lines(path: Path, lines: list[str]):
    """Write lines of text."""
    path.write_text("".join(f"{line}\n" for line in lines))


def write_audio(path: Path, samples: np.ndarray, rate: int):
    """Write samples [N] or [N, channels] in [-1, 1] as 16-bit wav or flac."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, subtype="PCM_16")


def write_faults(folder, names, samples, rate, faults=FAULTS):
    """Write one bad file per fault.

    Arguments
    ---------
    folder : Path
        Of the corpus.
    names : iterable of str
        Of the files, relative to it; as many as there are faults.
    samples : np.ndarray
        Good sound [N] to spoil.
    rate : int
        In Hz.
    faults : dict
        Fault -> description.

    Returns
    -------
    list of str
        A line per file.
    """
    lines = []
    for (fault, what), name in zip(faults.items(), names, strict=True):
        _write_fault(folder / name, fault, samples, rate)
        lines.append(f"{name}: {what}")
    return lines


def _write_fault(path, fault, samples, rate):
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
        # libsndfile would write the date into a floating-point wav.
        wavfile.write(path, rate, spoilt.astype(np.float32))
    else:
        write_audio(path, samples, rate)
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
