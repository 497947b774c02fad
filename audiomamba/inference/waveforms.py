"""From files and streams to the waveforms that a model was trained on."""

import math

import torch

from audiomamba.dataio.audio import resample
from audiomamba.dataio.pipeline import AudioReader
from audiomamba.nnet.lengths import check_choice


class _Centre:
    """Chooses the middle of a clip, where `RandomCrop` chooses any part."""

    def offset(self, item_id, spare):
        return spare // 2


class WaveformNormalizer:
    """Makes any recording what the recipe's reader made of its clips.

    Mono, at the model's rate, not longer than in training, mean removed.  In
    an exported model it is the ``audio_normalizer`` that SpeechBrain's
    ``load_audio`` calls, in place of SpeechBrain's own, which resamples the
    channels instead of the samples of a recording with several.

    Arguments
    ---------
    sample_rate : int
        The model's, in Hz.
    max_duration : float, optional
        Seconds that are kept; None keeps all.
    remove_mean : bool
        Whether the recipe's reader subtracts the mean of what is kept.
    keep : str
        Which part is kept of a longer recording: "start" or "centre".

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
        sample_rate=16000,
        max_duration=None,
        remove_mean=True,
        keep="start",
    ):
        check_choice("keep", keep, ("start", "centre"))
        self.sample_rate = sample_rate
        self.max_duration = max_duration
        self.remove_mean = remove_mean
        self.keep = keep
        crop = _Centre() if max_duration and keep == "centre" else None
        self._reader = AudioReader(
            "", sample_rate, max_duration, crop, remove_mean
        )

    def __call__(self, audio, sample_rate, name="a waveform"):
        """Normalise a recording in memory.

        Arguments
        ---------
        audio : torch.Tensor
            [N] or [N, channels].
        sample_rate : int
            Its rate in Hz.
        name : str or Path
            What it is, for an error.

        Returns
        -------
        torch.Tensor
            [N'], float32.
        """
        wav = audio.float()
        wav = wav.mean(dim=1) if wav.ndim == 2 else wav
        if self.max_duration:
            # Before resampling, as the reader: its filter hears no further
            kept = math.ceil(self.max_duration * sample_rate)
            spare = max(0, len(wav) - kept)
            first = spare // 2 if self.keep == "centre" else 0
            wav = wav[first : first + kept]
        wav = resample(wav.cpu(), sample_rate, self.sample_rate, name)
        if self.max_duration:
            wav = wav[: round(self.max_duration * self.sample_rate)]
        wav = wav - wav.mean() if self.remove_mean else wav
        return wav.to(audio.device)

    def read(self, path):
        """Read and normalise a file; only what is kept is decoded.

        Arguments
        ---------
        path : str or Path
            Anything that soundfile reads.

        Returns
        -------
        torch.Tensor
            [N], float32.

        Raises
        ------
        AudioError
            If it cannot be read; names the file, the fault, the remedy.
        """
        return self._reader(str(path), str(path), 0, -1)


def windows(blocks, size, hop):
    """Cut a stream into overlapping windows, in bounded memory.

    All windows have the full size, but for a stream that is shorter than one.
    Where the hops do not end with the stream, the last window is moved back.

    Arguments
    ---------
    blocks : iterable of torch.Tensor
        The stream in pieces [n] of any sizes.
    size : int
        Samples of a window.
    hop : int
        Samples from one window's start to the next's, at most ``size``.

    Yields
    ------
    int
        The window's first sample.
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
        yield start - hop + len(rest) - size, rest[-size:]
