"""A trained model that turns recordings into vectors: one per clip or more."""

import math
import os
from collections.abc import Iterable, Iterator
from itertools import tee
from pathlib import Path
from typing import NamedTuple, Self

import torch

from audiomamba.dataio.audio import audio_info, read_blocks
from audiomamba.dataio.samples import Samples, as_tensor, mono_blocks
from audiomamba.inference.batches import Compute, run_in_batches
from audiomamba.inference.exported.loading import LoadedModel
from audiomamba.inference.published import is_published, published_parts
from audiomamba.inference.waveforms import window_samples, windows
from audiomamba.lobes.clip_encoder import ClipEncoder
from audiomamba.lobes.dass import DASS
from audiomamba.lobes.patch_encoder import PatchEncoder
from audiomamba.nnet.frame_classifier import mean_frame, own_frames
from audiomamba.nnet.lengths import absolute_lengths
from audiomamba.nnet.patch_embed import grid_length

# A path, or samples [N]
Clip = str | os.PathLike | Samples
# Most clips in a batch, most windows of a file, most seconds with padding
_BATCH_CLIPS, _BATCH_WINDOWS, _BATCH_SECONDS = 32, 8, 320


class Window(NamedTuple):
    """A window of a stream: seconds, and what a model computes from it."""

    start: float
    stop: float
    values: torch.Tensor


class ClipModel(LoadedModel):
    """Embeds recordings of any format, sample rate and length.

    The base of `audiomamba.inference.AudioTagger`, which has its own example.

    Arguments
    ---------
    modules, hparams, **kwargs
        As for SpeechBrain's ``Pretrained``; see `from_hparams`. Of modules
        with the same name, the one in ``hparams`` counts.
    """

    HPARAMS_NEEDED = ["audio_normalizer"]
    MODULES_NEEDED = ["compute_features", "mean_var_norm", "embedding_model"]

    def __init__(self, modules: dict, hparams: dict, **kwargs):
        # In an exported model, `modules` are made for EncoderClassifier
        own = {k: hparams[k] for k in self.MODULES_NEEDED if k in hparams}
        super().__init__({**modules, **own}, hparams, **kwargs)
        missing = set(self.MODULES_NEEDED) - set(self.mods)
        if missing:
            raise ValueError(f"The model lacks modules: {sorted(missing)}.")
        self.sample_rate = self.hparams.audio_normalizer.sample_rate
        self.clip_encoder = ClipEncoder(
            self.mods.compute_features,
            self.mods.mean_var_norm,
            self.mods.embedding_model,
        )

    @property
    def max_duration(self) -> float | None:
        """Seconds of a clip that the model hears; None means all."""
        limits = [self.hparams.audio_normalizer.max_duration]
        samples = getattr(self.mods.compute_features, "max_samples", None)
        if samples:
            limits.append(samples / self.sample_rate)
        return min(filter(None, limits), default=None)

    @property
    def frame_seconds(self) -> float:
        """Seconds from one of the encoder's frames to the next.

        Raises
        ------
        ValueError
            If the encoder has no frames.
        """
        encoder = self.mods.embedding_model
        if not isinstance(encoder, (PatchEncoder, DASS)):
            raise ValueError(
                f"the encoder of this model, {type(encoder).__name__}, has no "
                "frames: take windows instead."
            )
        n_samples = self.mods.compute_features.hop * encoder.frames_per_column
        return n_samples / self.sample_rate

    def frame_windows(
        self, window: float | None = None, rate: int | None = None
    ) -> tuple[int, int]:
        """Return the length of windows whose frames adjoin, and of their hop.

        Features and patches have a width, so a window has fewer frames than
        times: the next one starts where its last whole frame ends.

        Arguments
        ---------
        window : float, optional
            See `embed_timeline`.
        rate : int, optional
            Sample rate of the recording in Hz; None: the model's.

        Returns
        -------
        tuple of int
            Samples.

        Raises
        ------
        ValueError
            If the encoder has no frames, or a window is longer than what the
            model hears or shorter than a frame.
        """
        rate = rate or self.sample_rate
        size, _ = window_samples(window, None, rate, self.max_duration)
        frame = self.frame_seconds * rate
        if size < math.floor(frame):
            raise ValueError(
                f"window is {size / rate:g} s, shorter than a frame of this "
                f"model, {self.frame_seconds} s: choose a longer window."
            )
        encoder = self.mods.embedding_model
        n_feats = self.mods.compute_features.count_frames(
            size * self.sample_rate // rate
        )
        sizes = encoder.patch_size[1], encoder.stride[1]
        n_frames = min(grid_length(n_feats, *sizes), int(size / frame) or 1)
        return size, round(n_frames * frame)

    @classmethod
    def from_hparams(
        cls,
        source: str | Path,
        savedir: str | Path | None = None,
        run_opts: dict | None = None,
        **kwargs,
    ) -> Self:
        """Load an exported model, a finished run, or a published model.

        Arguments
        ---------
        source, savedir, run_opts, **kwargs
            See `LoadedModel.from_hparams`. A published model has a
            ``config.json``, which cannot run code; see
            `audiomamba.inference.published`.

        Returns
        -------
        ClipModel
            Of the class that this is called on.

        Raises
        ------
        OSError or ValueError
            If there is no such model, the run is not finished, or a file is
            damaged.
        """
        if is_published(source):
            return cls(**published_parts(source), run_opts=run_opts)
        return super().from_hparams(source, savedir, run_opts, **kwargs)

    def embed_batch(self, clips: list[Clip]) -> torch.Tensor:
        """Compute the embeddings of clips.

        Arguments
        ---------
        clips : list
            Paths, or waveforms [N] at the model's ``sample_rate``: floats in
            [-1, 1], or integers of 8, 16 or 32 bits.

        Returns
        -------
        torch.Tensor
            [B, D], on the CPU.
        """
        return self._stacked(clips, self._embeddings)

    def embed_file(self, path: str | Path) -> torch.Tensor:
        """Compute a file's embedding.

        Arguments
        ---------
        path : str or Path
            Any format that soundfile reads, any rate and number of channels.

        Returns
        -------
        torch.Tensor
            [D], on the CPU.

        Raises
        ------
        AudioError
            If the file cannot be read.
        """
        return self.embed_batch([path])[0]

    def embed_frames(self, clips: list[Clip]) -> list[torch.Tensor]:
        """Compute the encoder's frames, one per `frame_seconds`.

        Arguments
        ---------
        clips : list
            See `embed_batch`.

        Returns
        -------
        list of torch.Tensor
            For every clip [T', D], on the CPU.
        """
        return list(self._run(self._waveforms(clips), self._frames))

    def embed_stream(
        self,
        source: str | Path | Iterable[Samples],
        window: float | None = None,
        hop: float | None = None,
        sample_rate: int | None = None,
    ) -> Iterator[Window]:
        """Embed hours of sound window by window, in bounded memory.

        Arguments
        ---------
        source : str, Path or iterable of torch.Tensor
            A file, or a stream in blocks [n], [n, channels] or [channels, n].
        window : float, optional
            Length of a window in seconds; None: 10, or `max_duration` if that
            is less.
        hop : float, optional
            Seconds between the starts of windows, at most ``window``; None:
            half a window.
        sample_rate : int, optional
            Sample rate of the blocks in Hz; None: the model's.

        Yields
        ------
        Window
            Seconds, and the embedding [D].
        """
        return self._stream(source, self._embeddings, window, hop, sample_rate)

    def embed_timeline(
        self,
        source: str | Path | Iterable[Samples],
        window: float | None = None,
        sample_rate: int | None = None,
    ) -> Iterator[Window]:
        """Compute the encoder's frames over hours of sound, each time once.

        Arguments
        ---------
        source, window, sample_rate
            See `embed_stream`; the windows overlap so far that their frames
            adjoin.

        Yields
        ------
        Window
            Seconds, and frames [T', D], one per `frame_seconds`.
        """
        step, done = self.frame_seconds, 0.0
        for start, stop, frames in self._stream(
            source, self._frames, window, None, sample_rate, adjoin=True
        ):
            first = max(0, round((done - start) / step))
            if first < len(frames):
                yield Window(start + first * step, stop, frames[first:])
            done = start + len(frames) * step

    def _encoded(self, wavs, lengths):
        """Return what the encoder gives: [B, 1, D], or frames [B, T', D]."""
        if lengths is None:
            lengths = torch.ones(len(wavs))
        wavs, lengths = wavs.to(self.device), lengths.to(self.device)
        with torch.no_grad(), self.inference_ctx:
            return self.clip_encoder(wavs, lengths)

    def _embeddings(self, wavs, lengths):
        """Return embeddings, [B, D]."""
        return mean_frame(self._encoded(wavs, lengths)).float()

    def _frames(self, wavs, lengths):
        """Return a list of frames [T', D], without those past a clip's end."""
        n_samples = absolute_lengths(lengths, wavs.shape[1])
        spacing = self.frame_seconds * self.sample_rate
        heard = (n_samples / spacing).ceil().clamp(min=1).long().tolist()
        wavs, lengths = wavs.to(self.device), lengths.to(self.device)
        with torch.no_grad(), self.inference_ctx:
            feats, lengths = self.clip_encoder.features(wavs, lengths)
            encoder = self.mods.embedding_model
            frames = encoder(feats, lengths, output="frames").float()
        n_own = own_frames(frames).flatten(1).sum(1).tolist()
        return [
            clip[: min(count, most)]
            for clip, count, most in zip(frames, n_own, heard)
        ]

    def _waveform(self, clip):
        """Return a clip (path or samples), normalised as in training."""
        normalizer = self.hparams.audio_normalizer
        if isinstance(clip, (str, os.PathLike)):
            return normalizer.read(clip)
        wav = as_tensor(clip)
        if wav.ndim != 1 or not len(wav):
            raise ValueError(
                f"A waveform has shape {list(wav.shape)}; it must be mono, "
                "[samples], and not empty."
            )
        return normalizer(wav.cpu(), self.sample_rate)

    def _waveforms(self, clips):
        """Return an iterator over the clips, each read when it is needed."""
        if isinstance(clips, (str, os.PathLike)):
            raise ValueError(f"clips is {clips!r}; give a list: [{clips!r}].")
        return map(self._waveform, clips)

    def _run(self, wavs, compute: Compute, max_clips=_BATCH_CLIPS):
        """Yield the result of every waveform, in bounded memory."""
        # Apple's GPUs have no float64
        precise = torch.float32 if self.device == "mps" else torch.float64
        return run_in_batches(
            wavs,
            compute,
            max_clips,
            _BATCH_SECONDS * self.sample_rate,
            self.clip_encoder.batch_invariant,
            precise,
        )

    def _stacked(self, clips, compute: Compute):
        """Return the rows of clips, [B, C] or [B, D]."""
        rows = list(self._run(self._waveforms(clips), compute))
        if not rows:
            raise ValueError("clips is empty; give at least one clip.")
        return torch.stack(rows)

    def _stream(self, source, compute, window, hop, sample_rate, adjoin=False):
        """Yield every window of a file or a stream with its result.

        Windows of a file are computed in batches, those of a stream as soon as
        each is complete. Where their frames are to adjoin, ``hop`` does not
        count.
        """
        is_file = isinstance(source, (str, os.PathLike))
        if is_file:
            name, rate = source, audio_info(source).sample_rate
            blocks = read_blocks(source)
        else:
            name, rate = "a stream", sample_rate or self.sample_rate
            blocks = mono_blocks(source, name)
        if adjoin:
            size, step = self.frame_windows(window, rate)
            grid = self.frame_seconds * rate
        else:
            size, step = window_samples(window, hop, rate, self.max_duration)
            grid = 1
        # one iterator for the places, one for the sound
        places, cut = tee(windows(blocks, size, step, grid))
        normalize = self.hparams.audio_normalizer
        wavs = (normalize(wav, rate, name) for _, wav in cut)
        results = self._run(wavs, compute, _BATCH_WINDOWS if is_file else 1)
        for result, (start, wav) in zip(results, places):
            yield Window(start / rate, (start + len(wav)) / rate, result)
