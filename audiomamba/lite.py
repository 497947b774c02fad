"""Tag and embed sound with a model in ONNX, without PyTorch.

Needs NumPy, soundfile and onnxruntime alone, and is installed without the rest
of the package by ``pip install audiomamba-lite``.  ``audiomamba-export`` writes
the models.
"""

import json
import math
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime

from audiomamba.dataio.codecs.opening import check_finite, opened, rate_ratio
from audiomamba.dataio.seals import is_whole

# Of torchaudio's resampling: zero crossings of the kernel on either side, and
# the share of the lower rate's band that is kept
_CROSSINGS, _ROLLOFF = 6, 0.99
DEFAULT_WINDOW = 10.0  # seconds
# What is read of the metadata; see `audiomamba.inference.programs.onnx`
_KNOWN = ("labels", "sample_rate", "heard", "max_duration", "keep")


class TaggedWindow(NamedTuple):
    """A window of a recording: seconds, tags, and all probabilities [C]."""

    start: float
    stop: float
    tags: list[tuple[str, float]]
    probabilities: np.ndarray


class LiteTagger:
    """Tags the sounds in recordings of any format, sample rate and length.

    The results are those of `audiomamba.inference.AudioTagger` with the model
    that was exported.

    Arguments
    ---------
    path : str or Path
        A file written by ``audiomamba-export``.
    threads : int
        Threads to compute with; 0: as many as there are cores.

    Raises
    ------
    OSError
        If there is no such file.
    ValueError
        If it is no model, is damaged, or was not written by
        ``audiomamba-export``.

    Example
    -------
    >>> tagger = LiteTagger("model.onnx")  # doctest: +SKIP
    >>> tagger.tag_file("dog.wav", top_k=2)  # doctest: +SKIP
    [('dog', 0.93), ('rooster', 0.04)]
    """

    def __init__(self, path: str | Path, threads: int = 0):
        if not Path(path).is_file():
            raise FileNotFoundError(f"There is no file {path}.")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        try:
            self._session = onnxruntime.InferenceSession(
                path, options, providers=["CPUExecutionProvider"]
            )
            stored = self._session.get_modelmeta().custom_metadata_map
            known = {key: json.loads(stored[key]) for key in _KNOWN}
            n_outputs = self._session.get_outputs()[0].shape[-1]
            self.labels: list[str] = known["labels"]
            self.sample_rate: int = known["sample_rate"]
            self.max_duration: float | None = known["heard"]
            self._kept: float | None = known["max_duration"]
            self._keep: str = known["keep"]
        # onnxruntime has an exception of its own for each status
        except Exception as error:
            raise ValueError(
                f"{path} is no model of audiomamba-export, or damaged "
                f"({type(error).__name__}: {error}); export it again."
            ) from error
        # Older files have none
        seal = stored.get("sha256")
        if seal and not is_whole(path, json.loads(seal)):
            raise ValueError(
                f"{path} is damaged: its digest is not the one that it was "
                "written with; copy or export it again."
            )
        if len(self.labels) != n_outputs:
            raise ValueError(
                f"{path} has {len(self.labels)} labels for {n_outputs} "
                "outputs; export it again."
            )

    def tag_file(
        self, path: str | Path, top_k: int | None = 5
    ) -> list[tuple[str, float]]:
        """Tag a file.

        Arguments
        ---------
        path : str or Path
            Any format that soundfile reads, any rate and number of channels.
        top_k : int or None
            Number of tags; None means all classes.

        Returns
        -------
        list of tuple
            (label, probability), the most likely first.

        Raises
        ------
        AudioError
            If the file cannot be read.
        """
        probabilities, _ = self.run([self.read(path)])
        return self._top(probabilities[0], top_k)

    def embed_file(self, path: str | Path) -> np.ndarray:
        """Compute a file's embedding.

        Arguments
        ---------
        path : str or Path
            See `tag_file`.

        Returns
        -------
        np.ndarray
            [D], float32.
        """
        return self.run([self.read(path)])[1][0]

    def tag_stream(
        self,
        path: str | Path,
        window: float | None = None,
        hop: float | None = None,
        top_k: int | None = 5,
    ) -> Iterator[TaggedWindow]:
        """Tag a recording of any length over time.

        Every window is a clip of its own; the last one ends with the recording.

        Arguments
        ---------
        path : str or Path
            See `tag_file`.
        window : float, optional
            Length of a window in seconds; None: 10, or what the model hears if
            that is less.
        hop : float, optional
            Seconds between the starts of windows, at most ``window``; None:
            half a window.
        top_k : int or None
            Number of tags; None means all classes.

        Yields
        ------
        TaggedWindow

        Raises
        ------
        ValueError
            If samples would be left out.
        """
        heard = self.max_duration or math.inf
        window = min(heard, DEFAULT_WINDOW) if window is None else window
        hop = window / 2 if hop is None else hop
        # A comparison with NaN is false
        if not 0 < hop <= window < math.inf or window > heard:
            raise ValueError(
                f"window is {window} s and hop {hop} s; both must be "
                "positive, the hop no longer than the window, and the window "
                f"no longer than the {heard} s that this model hears."
            )
        with opened(path) as source:
            rate = source.sample_rate
            size, step = round(window * rate), round(hop * rate)
            if step < 1:
                raise ValueError(
                    f"hop is {hop} s, less than a sample; both window and hop "
                    "must be positive, at least one sample."
                )
            for start, frames in _spans(source, size, step):
                wav = self._prepare(source, frames)
                row = self.run([wav])[0][0]
                tags, stop = self._top(row, top_k), start + len(frames)
                yield TaggedWindow(start / rate, stop / rate, tags, row)

    def read(self, path: str | Path) -> np.ndarray:
        """Read the part of a file that the model hears.

        Arguments
        ---------
        path : str or Path
            See `tag_file`.

        Returns
        -------
        np.ndarray
            [N], float32, mono at the model's sample rate.

        Raises
        ------
        AudioError
            If the file cannot be read.
        """
        with opened(path) as source:
            start, stop = 0, source.n_frames
            if self._kept:
                kept = math.ceil(self._kept * source.sample_rate)
                spare = max(stop - kept, 0)
                start = spare // 2 if self._keep == "centre" else 0
                stop = min(stop, start + kept)
            return self._prepare(source, source.read(start, stop))

    def _prepare(self, source, frames):
        """Turn frames of a file into mono at the model's rate."""
        check_finite(frames, source.path)
        wav = frames.mean(axis=1)
        ratio = rate_ratio(source.sample_rate, self.sample_rate, source.path)
        wav = resample(wav, *ratio)
        # Rounded up to whole frames of the file, it may be a bit too long
        return (
            wav[: round(self._kept * self.sample_rate)] if self._kept else wav
        )

    def run(self, wavs: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Classify and embed clips in one batch.

        Arguments
        ---------
        wavs : list of np.ndarray
            [N] each, floats in [-1, 1], mono at the model's sample rate.

        Returns
        -------
        probabilities : np.ndarray
            [B, C], in the order of `labels`.
        embeddings : np.ndarray
            [B, D].
        """
        n_samples = np.array([len(wav) for wav in wavs])
        batch = np.zeros((len(wavs), n_samples.max()), np.float32)
        for row, wav in zip(batch, wavs):
            row[: len(wav)] = wav
        feeds = {"wavs": batch, "n_samples": n_samples}
        return tuple(self._session.run(["probabilities", "embedding"], feeds))

    def _top(self, probabilities, top_k):
        """Return (label, probability) of the most likely classes."""
        if top_k is not None and top_k < 1:
            raise ValueError(f"top_k is {top_k}; at least 1, or None for all.")
        order = np.argsort(-probabilities, kind="stable")[:top_k]
        return [(self.labels[i], float(probabilities[i])) for i in order]


def _spans(source, size, step):
    """Yield the first frame and the frames of each window of a file."""
    # Read in order: not every file can seek
    held, first = source.read(0, min(size, source.n_frames)), 0
    last = source.n_frames - len(held)
    for start in [*range(0, last, step), last]:
        read, stop = first + len(held), start + min(size, source.n_frames)
        held, first = held[start - first :], start
        if stop > read:
            held = np.concatenate([held, source.read(read, stop)])
        yield start, held


def resample(wav: np.ndarray, old: int, new: int) -> np.ndarray:
    """Resample a waveform as torchaudio does by default.

    Arguments
    ---------
    wav : np.ndarray
        [N], float32.
    old, new : int
        Its rate and the wanted one, without a common divisor.

    Returns
    -------
    np.ndarray
        [ceil(N * new / old)].

    Example
    -------
    >>> resample(np.zeros(441, np.float32), 441, 160).shape
    (160,)
    """
    if old == new:
        return wav
    kernel, width = _kernel(old, new)
    padded = np.pad(wav, (width, width + old))
    spans = np.lib.stride_tricks.sliding_window_view(padded, kernel.shape[0])
    resampled = (spans[::old] @ kernel).ravel()
    return resampled[: math.ceil(len(wav) * new / old)]


@lru_cache(maxsize=4)
def _kernel(old, new):
    """Return a windowed sinc for each of ``new`` samples, [taps, new]."""
    band = min(old, new) * _ROLLOFF
    width = math.ceil(_CROSSINGS * old / band)
    taps = np.arange(-width, width + old)[:, None] / old
    times = (taps - np.arange(new) / new) * band
    times = times.clip(-_CROSSINGS, _CROSSINGS)
    window = np.cos(times * np.pi / _CROSSINGS / 2) ** 2
    kernel = np.sinc(times) * window * band / old
    return kernel.astype(np.float32), width
