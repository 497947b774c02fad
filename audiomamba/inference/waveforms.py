"""Turn files and streams into waveforms like those of the training data."""

import math
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch

from audiomamba.dataio.audio import resample
from audiomamba.dataio.reader import AudioReader
from audiomamba.dataio.samples import Samples, time_first, to_mono
from audiomamba.nnet.lengths import check_choice

DEFAULT_WINDOW = 10.0  # seconds


class _Centre:
    """Crops the centre of a clip, where `RandomCrop` crops a random part."""

    def offset(self, item_id, spare):
        return spare // 2


class WaveformNormalizer:
    """Prepares a recording like the recipe's reader.

    The result is mono, at the model's sample rate, no longer than in training
    and, by default, with the mean removed.  In an exported model this is the
    ``audio_normalizer`` that SpeechBrain's ``load_audio`` calls; SpeechBrain's
    own resamples a multichannel recording along the wrong axis.

    Arguments
    ---------
    sample_rate : int
        The model's sample rate in Hz.
    max_duration : float, optional
        Seconds to keep; None keeps all.
    remove_mean : bool
        Subtract the mean of the part that is kept.
    keep : str
        Part of a longer recording to keep: "start" or "centre".

    Example
    -------
    >>> normalize = WaveformNormalizer(16000, max_duration=0.5)
    >>> stereo = torch.full((8000, 2), 0.25)
    >>> wav = normalize(stereo, 8000)
    >>> wav.shape, wav[100:-100].abs().max() < 0.01
    (torch.Size([8000]), tensor(True))
    """

    def __init__(
        self,
        sample_rate: int = 16000,
        max_duration: float | None = None,
        remove_mean: bool = True,
        keep: str = "start",
    ):
        check_choice("keep", keep, ("start", "centre"))
        self.sample_rate = sample_rate
        self.max_duration = max_duration
        self.remove_mean = remove_mean
        self.keep = keep
        self._reader = self.reader("")

    def reader(self, data_folder: str | Path) -> AudioReader:
        """Return the reader of a manifest's rows.

        Arguments
        ---------
        data_folder : str or Path
            What their ``wav`` is relative to.

        Returns
        -------
        AudioReader
        """
        centred = self.max_duration and self.keep == "centre"
        return AudioReader(
            data_folder,
            self.sample_rate,
            self.max_duration,
            _Centre() if centred else None,
            self.remove_mean,
        )

    def __call__(
        self,
        audio: Samples,
        sample_rate: int,
        name: str | Path = "a waveform",
    ) -> torch.Tensor:
        """Normalise a recording in memory.

        Arguments
        ---------
        audio : torch.Tensor or np.ndarray
            [N], [N, channels] or [channels, N]: floats in [-1, 1], or integers
            of 8, 16 or 32 bits.
        sample_rate : int
            Its sample rate in Hz.
        name : str or Path
            Name of the recording, for error messages.

        Returns
        -------
        torch.Tensor
            [N'], float32.

        Raises
        ------
        ValueError
            If the recording is empty, or has another shape or dtype or
            samples that are not finite.
        """
        wav = time_first(audio, str(name))
        device = wav.device
        if self.max_duration:
            # Crop before resampling, like the reader: the filter sees the edge
            kept = math.ceil(self.max_duration * sample_rate)
            spare = max(0, len(wav) - kept)
            first = spare // 2 if self.keep == "centre" else 0
            wav = wav[first : first + kept]
        wav = to_mono(wav.cpu(), str(name))
        wav = resample(wav, sample_rate, self.sample_rate, name)
        if self.max_duration:
            wav = wav[: round(self.max_duration * self.sample_rate)]
        wav = wav - wav.mean() if self.remove_mean else wav
        return wav.to(device)

    def read(self, path: str | Path) -> torch.Tensor:
        """Read and normalise a file; only the part to keep is decoded.

        Arguments
        ---------
        path : str or Path
            Any format that soundfile reads.

        Returns
        -------
        torch.Tensor
            [N], float32.

        Raises
        ------
        AudioError
            If the file cannot be read.
        """
        return self._reader(str(path), str(path), 0, -1)


def windows(
    blocks: Iterable[torch.Tensor], size: int, hop: int, grid: float = 1
) -> Iterator[tuple[int, torch.Tensor]]:
    """Split a stream into overlapping windows, in bounded memory.

    All windows have the full size unless the whole stream is shorter.  The last
    one is shifted back to end with the stream, or, on a grid, up to a step of
    it less: then it is so much shorter.

    Arguments
    ---------
    blocks : iterable of torch.Tensor
        The stream in blocks [n] of any size.
    size : int
        Length of a window in samples.
    hop : int
        Samples between the starts of windows, at most ``size``.
    grid : float
        All windows start at multiples of so many samples, as ``hop`` is one.

    Yields
    ------
    int
        Index of the window's first sample.
    torch.Tensor
        Its samples.

    Example
    -------
    >>> stream = [torch.arange(4), torch.arange(4, 9)]
    >>> for start, window in windows(stream, size=4, hop=2):
    ...     print(start, window.tolist())
    0 [0, 1, 2, 3]
    2 [2, 3, 4, 5]
    4 [4, 5, 6, 7]
    5 [5, 6, 7, 8]
    """
    start, waiting, last = 0, torch.empty(0), None
    for block in blocks:
        waiting = torch.cat([waiting, block]) if len(waiting) else block
        while len(waiting) >= size:
            last = waiting[:size]
            yield start, last
            start, waiting = start + hop, waiting[hop:]
    if last is None:
        if len(waiting):
            yield start, waiting
    elif len(waiting) > size - hop:
        rest = torch.cat([last, waiting[size - hop :]])
        shift = round(math.ceil((len(rest) - size) / grid) * grid)
        yield start - hop + shift, rest[shift:]


def window_seconds(
    window: float | None, hop: float | None, heard: float | None
) -> tuple[float, float]:
    """Return the length of a window and of a hop in seconds.

    Arguments
    ---------
    window, hop : float or None
        None: 10, or ``heard`` if that is less, and half a window.
    heard : float or None
        Seconds that the model hears at a time; None: any number.

    Returns
    -------
    tuple of float

    Raises
    ------
    ValueError
        If a part of the stream would be left out.

    Example
    -------
    >>> window_seconds(None, None, heard=4.0)
    (4.0, 2.0)
    """
    if window is None:
        window = min(heard or DEFAULT_WINDOW, DEFAULT_WINDOW)
    hop = window / 2 if hop is None else hop
    # A comparison with NaN is false
    if not 0 < hop <= window < math.inf:
        raise ValueError(
            f"window is {window} s and hop {hop} s; both must be positive, "
            "and the hop no longer than the window."
        )
    if heard and window > heard:
        raise ValueError(
            f"window is {window} s, but this model hears {heard} s at a "
            "time: choose a window no longer than that."
        )
    return window, hop


def window_samples(
    window: float | None, hop: float | None, rate: int, heard: float | None
) -> tuple[int, int]:
    """Return the length of a window and of a hop in samples.

    Arguments
    ---------
    window, hop, heard
        See `window_seconds`.
    rate : int
        Sample rate of the stream in Hz.

    Returns
    -------
    tuple of int

    Raises
    ------
    ValueError
        If samples would be left out, or a hop is less than one.

    Example
    -------
    >>> window_samples(None, None, rate=100, heard=4.0)
    (400, 200)
    """
    window, hop = window_seconds(window, hop, heard)
    if round(hop * rate) < 1:
        raise ValueError(
            f"hop is {hop} s, less than a sample; both window and hop must be "
            "positive, at least one sample."
        )
    return round(window * rate), round(hop * rate)
