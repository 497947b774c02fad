"""Log-mel spectrograms of whole batches, on the model's device, in float32."""

import logging
from collections.abc import Callable

import torch
import torch.nn.functional as F
import torchaudio
from torchaudio.compliance import kaldi

from audiomamba.dataio.samples import check_finite, to_float
from audiomamba.nnet.lengths import (
    absolute_lengths,
    check_lengths,
    check_positive,
    check_sizes,
    padding_mask,
    relative_lengths,
)
from audiomamba.nnet.patch_embed import Steps, grid_length
from audiomamba.nnet.spectrum import power_spectrum

logger = logging.getLogger(__name__)

# Mel bins without a point of the spectrum in the paper's features
_USUAL_EMPTY = 1
# Frames per block: on a CPU what fits in a core's cache, on a GPU what keeps an
# hour of audio from filling the memory
_CPU_BLOCK = 512
_GPU_BLOCK = 1 << 17


def _check_bins(n_mels, low, high, nyquist, fewest):
    """Refuse mel bins that do not lie between 0 Hz and half the rate."""
    check_sizes(n_mels=n_mels)
    if n_mels < fewest:
        raise ValueError(f"n_mels is {n_mels}; it must be at least {fewest}.")
    top = high if high > 0 else high + nyquist
    if not 0 <= low < top <= nyquist:
        raise ValueError(
            f"the mel bins reach from low_freq {low:g} Hz to {top:g} Hz; both "
            f"must be in [0, {nyquist:g}] Hz, half of sample_rate, low_freq "
            "first."
        )


class _LogMel(torch.nn.Module):
    """Shared by the log-mel features: framing, FFT and mel filters.

    Subclasses define what happens to a frame before the FFT (`_condition`),
    what the mel filters sum (`_spectrum`), the logarithm (`_log`), and what
    fills the frames past the end of a clip (`_finish`).

    Arguments
    ---------
    size : int
        Samples per frame.
    hop : int
        Samples from one frame to the next.
    n_fft : int
        FFT size.
    mel : torch.Tensor
        Mel filters, [n_fft // 2 + 1, n_mels].
    margins : tuple of int
        Zeros before and after a clip.
    n_frames : int, optional
        Pad or cut every batch to this many frames; None keeps its own number.
    """

    _finish: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

    def __init__(self, size, hop, n_fft, mel, margins, n_frames):
        super().__init__()
        if hop < 1 or not 2 <= size <= n_fft:
            raise ValueError(
                f"A window of {size} samples every {hop} with {n_fft} "
                "points makes no spectrogram: the shift must be at least 1 "
                "sample, the window at least 2 and at most the points of the "
                "transform."
            )
        if n_frames is not None and n_frames < 1:
            raise ValueError(f"n_frames is {n_frames}; at least 1, or None.")
        self.size, self.hop, self.n_fft = size, hop, n_fft
        self.margins, self.n_frames = margins, n_frames
        # A constant, no weight: it follows the device, not the checkpoint
        self.register_buffer("mel", mel, persistent=False)

    @property
    def max_samples(self) -> int | None:
        """Samples that fill ``n_frames`` frames; None where any number do."""
        if self.n_frames is None:
            return None
        spare = self.size - sum(self.margins)
        return (self.n_frames - 1) * self.hop + spare

    def forward(
        self, wavs: torch.Tensor, lengths: torch.Tensor | None = None
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """Compute the features.

        Arguments
        ---------
        wavs : torch.Tensor
            Waveforms, [B, N].
        lengths : torch.Tensor, optional
            Relative lengths in (0, 1], [B].

        Returns
        -------
        feats : torch.Tensor
            [B, T, n_mels], float32; T is ``n_frames`` where it is set.
        lengths : torch.Tensor
            Relative lengths of ``feats``, [B].  Without ``lengths`` every clip
            has N samples, and ``feats`` alone is returned, as by SpeechBrain's
            ``Fbank``.

        Raises
        ------
        ValueError
            If ``wavs`` is not [B, N], is empty or of another dtype than floats
            and integers of 8, 16 or 32 bits; on the CPU also if not finite.
        """
        if wavs.ndim != 2 or 0 in wavs.shape:
            raise ValueError(
                f"wavs has shape {list(wavs.shape)}; the features take "
                "[batch, samples], mono, with at least one sample."
            )
        n_samples = wavs.shape[1]
        if lengths is None:
            n_own = torch.full((len(wavs),), n_samples, device=wavs.device)
        else:
            check_lengths(lengths, wavs.shape[0])
            n_own = absolute_lengths(lengths.to(wavs.device), n_samples)
        # Half precision holds neither a power spectrum nor its logarithm
        with torch.autocast(wavs.device.type, enabled=False):
            padding = padding_mask(n_own, n_samples)
            wavs = to_float(wavs, "wavs").masked_fill(padding, 0.0)
            if not (wavs.is_cuda or torch.compiler.is_compiling()):
                # On a GPU this would wait; readers and tagger check as well
                check_finite(wavs, "wavs")
            wavs = F.pad(wavs, (self.margins[0], self._after(n_samples)))
            frames = wavs.unfold(1, self.size, self.hop)
            feats = self._in_blocks(frames[:, : self.n_frames])
        n_own = self.count_frames(n_own)
        feats = self._finish(feats, n_own)
        if lengths is None:
            return feats
        n_frames = self.n_frames or self.count_frames(n_samples)
        return feats, relative_lengths(n_own.clamp(max=n_frames), n_frames)

    def _after(self, n_samples):
        """Zeros to append to the batch; if negative, samples to drop."""
        before, after = self.margins
        if torch.compiler.is_compiling() and self.n_frames:
            # One graph for short and long batches: always n_frames
            after = (self.n_frames - 1) * self.hop - before - n_samples
            return after + self.size
        return max(after, self.size - before - n_samples)

    def count_frames(self, n_samples: Steps) -> Steps:
        """Return the frames of clips; ``n_frames`` does not count.

        Arguments
        ---------
        n_samples : int or torch.Tensor
            Samples of each clip.

        Returns
        -------
        int or torch.Tensor
        """
        return grid_length(n_samples, self.size - sum(self.margins), self.hop)

    def _in_blocks(self, frames):
        """Log-mel features of frames [B, T, window]; T may be symbolic."""
        if torch.compiler.is_compiling():
            return self._log_mel(frames)
        block = _CPU_BLOCK if frames.device.type == "cpu" else _GPU_BLOCK
        blocks = frames.split(max(block // frames.shape[0], 1), dim=1)
        return torch.cat([self._log_mel(frames) for frames in blocks], dim=1)

    def _log_mel(self, frames):
        power = power_spectrum(self._condition(frames), self.n_fft)
        spectrum = self._spectrum(power)
        if spectrum.is_cuda:
            # SpeechBrain allows TF32, which keeps three digits of a product
            mel = spectrum.double() @ self.mel.double()
            return self._log(mel.float())
        return self._log(spectrum @ self.mel)


class KaldiFbank(_LogMel):
    """Kaldi's log-mel filter banks: the features of AST and Audio Mamba.

    For every clip in the batch the same as that clip alone through
    ``torchaudio.compliance.kaldi.fbank``, with ``htk_compat=True,
    use_energy=False, window_type="hanning", dither=0.0`` (arXiv 2406.03344).
    Frames lie inside the clip: 1 + (n - window) // shift of them.  Frames past
    its end are 0.  A clip shorter than one window is zero-padded to one.

    Arguments
    ---------
    sample_rate : int
        In Hz.
    n_mels : int
        Mel bins.
    frame_length : float
        Window length in ms.
    frame_shift : float
        Hop in ms.
    n_frames : int, optional
        Zero-pad or cut at the end to this many frames; 1024 in the paper.
    low_freq : float
        Lower edge of the first mel bin, in Hz.
    high_freq : float
        Upper edge of the last mel bin, in Hz; 0 or less is relative to the
        Nyquist frequency.
    preemphasis : float
        Pre-emphasis coefficient.

    Example
    -------
    >>> features = KaldiFbank()
    >>> wavs, lengths = torch.randn(2, 16000), torch.tensor([1.0, 0.5])
    >>> feats, lengths = features(wavs, lengths)
    >>> feats.shape, (lengths * 98).round()
    (torch.Size([2, 98, 128]), tensor([98., 48.]))
    >>> feats[1, 48:].abs().max()
    tensor(0.)
    >>> KaldiFbank(n_frames=1024).max_samples / 16000
    10.255
    """

    def __init__(
        self,
        sample_rate: int = 16000,
        n_mels: int = 128,
        frame_length: float = 25.0,
        frame_shift: float = 10.0,
        n_frames: int | None = None,
        low_freq: float = 20.0,
        high_freq: float = 0.0,
        preemphasis: float = 0.97,
    ):
        check_positive(
            sample_rate=sample_rate,
            frame_length=frame_length,
            frame_shift=frame_shift,
        )
        _check_bins(n_mels, low_freq, high_freq, sample_rate / 2, 3)
        if not 0 <= preemphasis <= 1:
            raise ValueError(f"preemphasis is {preemphasis}; it is in [0, 1].")
        # Truncated, not rounded, as Kaldi does
        size = int(sample_rate * frame_length * 0.001)
        n_fft = 1 << max(size - 1, 1).bit_length()
        # The last three arguments switch vocal tract length warping off
        mel, _ = kaldi.get_mel_banks(
            n_mels, n_fft, sample_rate, low_freq, high_freq, 100.0, -500.0, 1.0
        )
        n_empty = int((mel.sum(dim=1) == 0).sum())
        if n_empty > _USUAL_EMPTY:
            logger.warning(
                "%d of %d mel bins are empty at %g Hz with windows of %g ms: "
                "take a smaller n_mels, or a larger frame_length",
                n_empty,
                n_mels,
                sample_rate,
                frame_length,
            )
        super().__init__(
            size=size,
            hop=int(sample_rate * frame_shift * 0.001),
            n_fft=n_fft,
            # Kaldi's filters leave out the Nyquist bin
            mel=F.pad(mel, (0, 1)).T.contiguous(),
            margins=(0, 0),
            n_frames=n_frames,
        )
        self.sample_rate = sample_rate
        self.preemphasis = preemphasis
        window = torch.hann_window(size, periodic=False)
        self.register_buffer("window", window, persistent=False)

    def _condition(self, frames):
        # In torchaudio's order of operations: next to a loud tone, quiet bins
        # hold nothing but rounding errors
        frames = frames - frames.mean(dim=2, keepdim=True)
        shifted = torch.cat((frames[..., :1], frames[..., :-1]), dim=2)
        return (frames - self.preemphasis * shifted) * self.window

    def _spectrum(self, power):
        return power

    def _log(self, mel):
        return mel.clamp(min=torch.finfo(torch.float32).eps).log()

    def _finish(self, feats, n_own):
        feats = feats.masked_fill(
            padding_mask(n_own, feats.shape[1])[..., None], 0.0
        )
        missing = (self.n_frames or feats.shape[1]) - feats.shape[1]
        return F.pad(feats, (0, 0, 0, missing))


class LogMelSpectrogram(_LogMel):
    """Log-mel magnitudes with centred frames: the features of EPIC-Sounds.

    log(x + eps) of the magnitude of a centred, zero-padded STFT through HTK mel
    filters without norm.  For every clip in the batch within 1e-4 of the
    authors' librosa code: ``stft(pad_mode="constant")`` and
    ``filters.mel(htk=True, norm=None)``.  A clip of n samples has
    1 + n // hop frames.

    Arguments
    ---------
    sample_rate : int
        In Hz.
    n_mels : int
        Mel bins.
    n_fft : int
        FFT size.
    window_length : float
        Periodic Hann window, in ms.
    hop_length : float
        Hop in ms.
    n_frames : int, optional
        Cut to this many frames, or repeat the clip's last frame; 1024 in the
        paper.  Without it, frames past a clip's end are 0.
    eps : float
        Added before the logarithm.

    Example
    -------
    >>> features = LogMelSpectrogram(n_frames=300)
    >>> wavs, lengths = torch.randn(2, 24000), torch.tensor([1.0, 0.5])
    >>> feats, lengths = features(wavs, lengths)
    >>> feats.shape, bool((feats[1, 101:] == feats[1, 100]).all())
    (torch.Size([2, 300, 128]), True)
    >>> (lengths * 300).round()
    tensor([201., 101.])
    """

    def __init__(
        self,
        sample_rate: int = 24000,
        n_mels: int = 128,
        n_fft: int = 2048,
        window_length: float = 10.0,
        hop_length: float = 5.0,
        n_frames: int | None = None,
        eps: float = 1e-6,
    ):
        check_positive(
            sample_rate=sample_rate,
            window_length=window_length,
            hop_length=hop_length,
            eps=eps,
        )
        _check_bins(n_mels, 0.0, 0.0, sample_rate / 2, 1)
        size = round(sample_rate * window_length * 0.001)
        super().__init__(
            size=size,
            hop=round(sample_rate * hop_length * 0.001),
            n_fft=n_fft,
            mel=torchaudio.functional.melscale_fbanks(
                n_fft // 2 + 1, 0.0, sample_rate / 2, n_mels, sample_rate
            ),
            # librosa centres the window in n_fft points; the zeros around it
            # do not change the magnitude
            margins=(size - size // 2, size // 2),
            n_frames=n_frames,
        )
        self.sample_rate = sample_rate
        self.eps = eps

    def _condition(self, frames):
        # float64 as in librosa: next to a loud tone, float32 rounding is ten
        # times eps.  Apple's GPUs have no float64
        is_mps = frames.device.type == "mps"
        window = torch.hann_window(
            self.size,
            dtype=torch.float32 if is_mps else torch.float64,
            device=frames.device,
        )
        return frames.to(window.dtype) * window

    def _spectrum(self, power):
        return power.sqrt().float()

    def _log(self, mel):
        return (mel + self.eps).log()

    def _finish(self, feats, n_own):
        if self.n_frames is None:
            padding = padding_mask(n_own, feats.shape[1])
            return feats.masked_fill(padding[..., None], 0.0)
        last = n_own.clamp(max=feats.shape[1])[:, None] - 1
        index = torch.arange(self.n_frames, device=feats.device)
        index = torch.minimum(index, last)[..., None]
        return feats.gather(1, index.expand(-1, -1, feats.shape[2]))
