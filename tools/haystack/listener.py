"""A trained model that listens for needles in hay, in features."""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from audiomamba.inference import AudioTagger
from audiomamba.inference.programs.features import OwnFrames
from audiomamba.inference.waveforms import DEFAULT_WINDOW
from audiomamba.lobes.clip_encoder import encode
from audiomamba.lobes.features import KaldiFbank, LogMelSpectrogram
from audiomamba.nnet.lengths import absolute_lengths
from audiomamba.nnet.probabilities import ACTIVATIONS

from .noise import Noise

# One pass over the whole input; mean and maximum of the scores of windows
MODES = ("pass", "mean", "max")
# Frames of noise whose features are computed at a time
NOISE_FRAMES = 3000


class NeedleError(ValueError):
    """A measurement that cannot be made; says why and what to do."""


class Hay(NamedTuple):
    """Normalised features [T, F], and the scores of its windows [n, C]."""

    feats: torch.Tensor
    scores: torch.Tensor | None


def place(n_total: int, n_needle: int, position: float) -> int:
    """Return the frame where a needle starts.

    Arguments
    ---------
    n_total : int
        Frames of the whole input.
    n_needle : int
        Frames of the needle.
    position : float
        In [0, 1].

    Returns
    -------
    int
        int(n_total * position), or as late as the needle fits.

    Example
    -------
    >>> place(1000, 300, 0.5), place(1000, 300, 1.0)
    (500, 700)
    """
    return min(int(n_total * position), n_total - n_needle)


def hide(
    needle: torch.Tensor, feats: torch.Tensor, position: float
) -> torch.Tensor:
    """Return feats [T, F] with a needle [n, F] in their place."""
    first = place(len(feats), len(needle), position)
    row = feats.clone()
    row[first : first + len(needle)] = needle
    return row


def window_starts(n_total: int, size: int, hop: int) -> torch.Tensor:
    """Return the first frame of each window; the last window ends the input.

    Arguments
    ---------
    n_total : int
        Frames of the input.
    size : int
        Frames of a window, at most ``n_total``.
    hop : int
        Frames between windows.

    Returns
    -------
    torch.Tensor
        [windows].

    Example
    -------
    >>> window_starts(10, 4, 2).tolist(), window_starts(9, 4, 4).tolist()
    ([0, 2, 4, 6], [0, 4, 5])
    """
    starts = torch.arange(0, n_total - size + 1, hop)
    return torch.cat([starts, torch.tensor([n_total - size])]).unique()


class Listener:
    """Scores needles in hay with an exported model.

    Arguments
    ---------
    tagger : AudioTagger
        The model.
    modes : sequence of str
        Out of `MODES`.
    window : float, optional
        Seconds of a window; None for as much as the model hears of a clip.
    hop : float, optional
        Seconds between windows; None for half a window.
    batch_frames : int
        Frames of a batch, unless it is a single row.

    Raises
    ------
    NeedleError
        If the features are not this package's, or there can be no such windows.
    """

    def __init__(
        self,
        tagger: AudioTagger,
        modes: Sequence[str] = MODES,
        window: float | None = None,
        hop: float | None = None,
        batch_frames: int = 1 << 16,
    ):
        features = tagger.mods.compute_features
        if isinstance(features, OwnFrames):
            features = features.features
        if not isinstance(features, (KaldiFbank, LogMelSpectrogram)):
            raise NeedleError(
                f"the model's features are {type(features).__name__}; this "
                "measures models with KaldiFbank or LogMelSpectrogram."
            )
        self.tagger, self.features = tagger, features
        self.modes, self.batch_frames = modes, batch_frames
        self.encoder = tagger.clip_encoder.embedding_model
        self.masks_padding = getattr(self.encoder, "mask_padding", False)
        self.frame_shift = features.hop / tagger.sample_rate
        heard = tagger.max_duration or DEFAULT_WINDOW
        self.window = features.n_frames or self._own_frames(heard)
        if window is not None:
            self.window = self.frames(window)
        self.hop = max(self.window // 2, 1) if hop is None else self.frames(hop)
        if not 1 <= self.hop <= self.window:
            raise NeedleError(
                f"windows of {self.window} frames every {self.hop}: both must "
                "be positive, and --hop no longer than --window."
            )

    def frames(self, seconds: float) -> int:
        """Return the frames that start within some seconds."""
        return round(seconds / self.frame_shift)

    def _own_frames(self, seconds):
        """Return the frames of a clip without padding."""
        features = self.features
        n_samples = round(seconds * self.tagger.sample_rate)
        spare = n_samples + sum(features.margins) - features.size
        return 1 + max(spare, 0) // features.hop

    def needle_frames(self, seconds: float) -> int:
        """Return the frames of a needle; see `needle`."""
        if self.features.n_frames and not self.masks_padding:
            return self.features.n_frames
        return self._own_frames(
            min(seconds, self.tagger.max_duration or seconds)
        )

    @torch.no_grad()
    def needle(self, wav: torch.Tensor) -> torch.Tensor:
        """Compute the normalised features of a clip, as in a test.

        Arguments
        ---------
        wav : torch.Tensor
            [N].

        Returns
        -------
        torch.Tensor
            [T, F]; with padding if the model takes it for content.
        """
        whole = torch.ones(1, device=self.tagger.device)
        wavs = wav[None].to(self.tagger.device)
        feats, lengths = self.tagger.clip_encoder.features(wavs, whole)
        if self.masks_padding:
            feats = feats[:, : absolute_lengths(lengths, feats.shape[1])]
        return feats[0]

    @torch.no_grad()
    def score(self, feats: torch.Tensor) -> torch.Tensor:
        """Compute the probabilities of all classes in one pass.

        Arguments
        ---------
        feats : torch.Tensor
            Rows without padding, [B, T, F].

        Returns
        -------
        torch.Tensor
            [B, C], on the CPU.

        Raises
        ------
        NeedleError
            If the model cannot take inputs of this length, or its scores are
            not finite.
        """
        length = f"{feats.shape[1]} frames"
        try:
            with self.tagger.inference_ctx:
                emb = encode(self.encoder, feats)
                logits = self.tagger.mods.classifier(emb).squeeze(1).float()
        except (RuntimeError, ValueError) as error:
            raise NeedleError(
                f"the model cannot take {length} in one pass ({error}): name "
                "shorter --totals, or windows alone, --modes mean max."
            ) from error
        if not torch.isfinite(logits).all():
            raise NeedleError(f"a score of {length} is not finite.")
        return ACTIVATIONS[self.tagger.hparams.activation](logits).cpu()

    def _starts(self, n_total):
        """Return the first frame of each window of an input."""
        return window_starts(n_total, min(self.window, n_total), self.hop)

    def _score_windows(self, row, starts):
        """Return the scores of windows of a row [T, F], [windows, C]."""
        size = min(self.window, len(row))
        windows = row.unfold(0, size, 1).mT
        some = max(1, self.batch_frames // size)
        return torch.cat([self.score(windows[at]) for at in starts.split(some)])

    def zeros(self, n_frames: int, n_mels: int) -> Hay:
        """Return hay of zeros, whose windows all have the same scores."""
        feats = torch.zeros(n_frames, n_mels, device=self.tagger.device)
        starts = self._starts(n_frames)
        one = self._score_windows(feats, starts[:1])
        return Hay(feats, one.expand(len(starts), -1))

    @torch.no_grad()
    def noise(
        self, noise: Noise, clip: str, wav: torch.Tensor, n_frames: int
    ) -> Hay:
        """Return hay of noise, whose features are computed in pieces.

        Arguments
        ---------
        noise : Noise
            Where it comes from.
        clip : str
            The clip's ID.
        wav : torch.Tensor
            The clip [N]: the noise is as loud, but for its SNR.
        n_frames : int
            How much of it.

        Returns
        -------
        Hay
        """
        features, norm = self.features, self.tagger.mods.mean_var_norm
        level = wav.square().mean().sqrt() * 10 ** (-noise.snr / 20)
        # Frames at either end that reach beyond the samples
        edge = -(-features.margins[0] // features.hop)
        step = (features.n_frames or NOISE_FRAMES) - 2 * edge
        n_samples = (step + 2 * edge - 1) * features.hop + features.size
        pieces = []
        for first in range(0, n_frames, step):
            samples = noise.samples(clip, first * features.hop, n_samples)
            samples = (level * samples).to(self.tagger.device)
            piece = features(samples[None])[:, edge : edge + step]
            pieces.append(norm(piece)[0])
        feats = torch.cat(pieces)[:n_frames]
        if set(self.modes) == {"pass"}:
            return Hay(feats, None)
        return Hay(feats, self._score_windows(feats, self._starts(n_frames)))

    def search(
        self, needle: torch.Tensor, hay: Hay, positions: Sequence[float]
    ) -> dict[tuple[float, str], torch.Tensor]:
        """Score a needle at several positions in its hay.

        Arguments
        ---------
        needle : torch.Tensor
            [n, F].
        hay : Hay
            From `zeros` or `noise`.
        positions : sequence of float
            See `place`.

        Returns
        -------
        dict
            (position, mode) -> probabilities [C].
        """
        found = {}
        if "pass" in self.modes:
            some = max(1, self.batch_frames // len(hay.feats))
            for start in range(0, len(positions), some):
                batch = positions[start : start + some]
                rows = [hide(needle, hay.feats, p) for p in batch]
                for position, scores in zip(
                    batch, self.score(torch.stack(rows))
                ):
                    found[position, "pass"] = scores
        if set(self.modes) == {"pass"}:
            return found
        starts = self._starts(len(hay.feats))
        for position in positions:
            row = hide(needle, hay.feats, position)
            first = place(len(row), len(needle), position)
            touched = starts < first + len(needle)
            touched &= starts + min(self.window, len(row)) > first
            scores = hay.scores.clone()
            scores[touched] = self._score_windows(row, starts[touched])
            found[position, "mean"] = scores.mean(dim=0)
            found[position, "max"] = scores.amax(dim=0)
        return {key: found[key] for key in found if key[1] in self.modes}
