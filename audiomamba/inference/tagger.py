"""Tag and embed sound with a trained model."""

import os
from collections.abc import Iterable, Iterator
from itertools import tee
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import torch
from speechbrain.inference.interfaces import Pretrained
from torch.nn.utils.rnn import pad_sequence

from audiomamba.dataio.audio import audio_info, read_blocks
from audiomamba.dataio.samples import Samples, as_tensor, mono_blocks
from audiomamba.inference.published import is_published, published_parts
from audiomamba.inference.waveforms import (
    bounded_batches,
    equal_lengths,
    window_samples,
    windows,
)
from audiomamba.lobes.clip_encoder import ClipEncoder
from audiomamba.pretrained.sources import is_run
from audiomamba.training.metrics import ACTIVATIONS

# A path, or samples [N]
Clip = str | os.PathLike | Samples
# Most clips in a batch, most windows of a stream, most seconds with padding
_BATCH_CLIPS, _BATCH_WINDOWS, _BATCH_SECONDS = 32, 8, 320


class TaggedWindow(NamedTuple):
    """A window of a stream: seconds, tags, and all probabilities [C]."""

    start: float
    stop: float
    tags: list[tuple[str, float]]
    probabilities: torch.Tensor


class AudioTagger(Pretrained):
    """Tags the sounds in recordings of any format, sample rate and length.

    Loads models written by ``tools/export_pretrained.py`` and
    ``tools/convert_checkpoint.py``.  A clip's result equals that of the
    recipe's evaluation and does not depend on the rest of the batch.  The model
    hears at most `max_duration` of a clip; `tag_stream` processes all of it.

    A model's ``hyperparams.yaml`` names Python objects to create, as everywhere
    in SpeechBrain: from an untrusted source it can run arbitrary code.

    Arguments
    ---------
    modules, hparams, **kwargs
        As for SpeechBrain's ``Pretrained``; see `from_hparams`. Of modules
        with the same name, the one in ``hparams`` counts.

    Example
    -------
    >>> from speechbrain.dataio.encoder import CategoricalEncoder
    >>> from audiomamba.inference.waveforms import WaveformNormalizer
    >>> from audiomamba.lobes import AudioMamba, KaldiFbank, SpectrogramNorm
    >>> labels = CategoricalEncoder()
    >>> labels.update_from_iterable(["dog", "rain"])
    >>> tagger = AudioTagger(
    ...     modules={
    ...         "compute_features": KaldiFbank(),
    ...         "mean_var_norm": SpectrogramNorm(mean=-4.0, std=4.0),
    ...         "embedding_model": AudioMamba(embed_dim=32, depth=1),
    ...         "classifier": torch.nn.Linear(32, 2),
    ...     },
    ...     hparams={
    ...         "label_encoder": labels,
    ...         "activation": "softmax",
    ...         "audio_normalizer": WaveformNormalizer(),
    ...     },
    ... )
    >>> tags = tagger.tag_batch([torch.randn(16000), torch.randn(9000)])
    >>> len(tags), sorted(label for label, probability in tags[0])
    (2, ['dog', 'rain'])
    """

    HPARAMS_NEEDED = ["label_encoder", "activation", "audio_normalizer"]
    MODULES_NEEDED = [
        "compute_features",
        "mean_var_norm",
        "embedding_model",
        "classifier",
    ]

    def __init__(self, modules: dict, hparams: dict, **kwargs):
        # In an exported model, `modules` are made for EncoderClassifier
        own = {k: hparams[k] for k in self.MODULES_NEEDED if k in hparams}
        super().__init__({**modules, **own}, hparams, **kwargs)
        missing = set(self.MODULES_NEEDED) - set(self.mods)
        if missing:
            raise ValueError(f"The model lacks modules: {sorted(missing)}.")
        named = self.hparams.label_encoder.ind2lab
        self.labels = [named[index] for index in sorted(named)]
        self.sample_rate = self.hparams.audio_normalizer.sample_rate
        self._activation = ACTIVATIONS[self.hparams.activation]
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

    @classmethod
    def from_hparams(
        cls,
        source: str | Path,
        savedir: str | Path | None = None,
        run_opts: dict | None = None,
        **kwargs,
    ) -> "AudioTagger":
        """Load an exported model, a finished run, or a published model.

        Arguments
        ---------
        source : str or Path
            A folder, the output folder of a run, or ``owner/name`` on the hub;
            only from a source you trust: its ``hyperparams.yaml`` can run
            arbitrary code. A published model has a ``config.json`` instead,
            which cannot; see `audiomamba.inference.published`.
        savedir : str or Path, optional
            Folder for links to the fetched files; None: only the hub's cache.
        run_opts : dict, optional
            For example ``{"device": "cuda:0"}``; None: a GPU if there is one.
        **kwargs
            As for SpeechBrain's ``Pretrained.from_hparams``.

        Returns
        -------
        AudioTagger

        Raises OSError or ValueError if it is none of them, or a run that is not
        finished.
        """
        if is_run(source):
            from audiomamba.inference.export import export_run

            with TemporaryDirectory() as place:
                model = export_run(source, f"{place}/model", centred=False)
                return cls.from_hparams(model, None, run_opts, **kwargs)
        if is_published(source):
            return cls(**published_parts(source), run_opts=run_opts)
        return super().from_hparams(
            str(source), savedir=savedir, run_opts=run_opts, **kwargs
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
            (label, probability), the most likely first.  Over all classes the
            probabilities of a single-label model sum to 1; those of a
            multi-label model are independent.

        Raises
        ------
        AudioError
            If the file cannot be read.
        """
        return self.tag_batch([path], top_k)[0]

    def tag_batch(
        self, clips: list[Clip], top_k: int | None = 5
    ) -> list[list[tuple[str, float]]]:
        """Tag several clips.

        Arguments
        ---------
        clips : list
            Paths, or waveforms [N] at the model's ``sample_rate``: floats in
            [-1, 1], or integers of 8, 16 or 32 bits.
        top_k : int or None
            Number of tags; None means all classes.

        Returns
        -------
        list of list of tuple
            For every clip, see `tag_file`.
        """
        n_tags = self._n_tags(top_k)
        return [self._top(row, n_tags) for row in self.score_batch(clips)]

    def score_batch(self, clips: list[Clip]) -> torch.Tensor:
        """Compute the probabilities of all classes.

        Arguments
        ---------
        clips : list
            See `tag_batch`.

        Returns
        -------
        torch.Tensor
            [B, C], in the order of `labels`, on the CPU.
        """
        return self._stacked(clips, with_classifier=True)

    def embed_batch(self, clips: list[Clip]) -> torch.Tensor:
        """Compute the embeddings of clips.

        Arguments
        ---------
        clips : list
            See `tag_batch`.

        Returns
        -------
        torch.Tensor
            [B, D], on the CPU.
        """
        return self._stacked(clips, with_classifier=False)

    def embed_file(self, path: str | Path) -> torch.Tensor:
        """Compute a file's embedding.

        Arguments
        ---------
        path : str or Path
            See `tag_file`.

        Returns
        -------
        torch.Tensor
            [D], on the CPU.
        """
        return self.embed_batch([path])[0]

    def forward(
        self, wavs: torch.Tensor, lengths: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Compute the probabilities of a padded batch.

        Arguments
        ---------
        wavs : torch.Tensor
            [B, N], at the model's sample rate, normalised like the recipe's.
        lengths : torch.Tensor, optional
            Relative lengths [B].

        Returns
        -------
        torch.Tensor
            [B, C].
        """
        emb = self._embed(wavs, lengths)
        logits = self.mods.classifier(emb).squeeze(1)
        return self._activation(logits.float())

    def _embed(self, wavs, lengths):
        """Return embeddings, [B, 1, D]."""
        if lengths is None:
            lengths = torch.ones(len(wavs))
        wavs, lengths = wavs.to(self.device), lengths.to(self.device)
        with torch.no_grad(), self.inference_ctx:
            return self.clip_encoder(wavs, lengths)

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

    def _run(self, wavs, with_classifier, max_clips=_BATCH_CLIPS):
        """Yield one row per waveform, in order and in bounded memory."""
        max_samples = _BATCH_SECONDS * self.sample_rate
        for part in bounded_batches(wavs, max_clips, max_samples):
            yield from self._rows(part, with_classifier)

    def _rows(self, wavs, with_classifier):
        """Return one row per waveform of a batch."""
        # float32 is too coarse for the sample counts of clips over four minutes
        precise = torch.float32 if self.device == "mps" else torch.float64
        rows = [None] * len(wavs)
        together = self.clip_encoder.batch_invariant
        for batch in [range(len(wavs))] if together else equal_lengths(wavs):
            padded = pad_sequence([wavs[i] for i in batch], batch_first=True)
            n_own = torch.tensor([len(wavs[i]) for i in batch], dtype=precise)
            lengths = n_own / padded.shape[1]
            with torch.no_grad():
                if with_classifier:
                    result = self(padded, lengths)
                else:
                    result = self._embed(padded, lengths).squeeze(1).float()
            for index, row in zip(batch, result.cpu()):
                rows[index] = row
        return rows

    def _stacked(self, clips, with_classifier):
        """Return the rows of clips, [B, C] or [B, D]."""
        rows = list(self._run(self._waveforms(clips), with_classifier))
        if not rows:
            raise ValueError("clips is empty; give at least one clip.")
        return torch.stack(rows)

    def _n_tags(self, top_k):
        """Return how many tags there will be; at most one per class."""
        if top_k is not None and top_k < 1:
            raise ValueError(f"top_k is {top_k}; at least 1, or None for all.")
        return min(top_k or len(self.labels), len(self.labels))

    def _top(self, probabilities, n_tags):
        """Return (label, probability) of the most likely classes."""
        values, indices = (part.tolist() for part in probabilities.topk(n_tags))
        return [(self.labels[i], value) for i, value in zip(indices, values)]

    def tag_stream(
        self,
        source: str | Path | Iterable[Samples],
        window: float | None = None,
        hop: float | None = None,
        top_k: int | None = 5,
        sample_rate: int | None = None,
    ) -> Iterator[TaggedWindow]:
        """Tag hours of sound over time, in bounded memory.

        Every window is processed as a separate clip.  All have the same
        length: the last one is shifted back to end with the stream.

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
        top_k : int or None
            Number of tags; None means all classes.
        sample_rate : int, optional
            Sample rate of the blocks in Hz; None: the model's.

        Yields
        ------
        TaggedWindow
            Seconds, tags (see `tag_file`), and all probabilities.

        Raises
        ------
        ValueError
            If the hop is longer than the window, or the window longer than
            `max_duration`.
        AudioError
            If the file cannot be read, as soon as the error is found.
        """
        if isinstance(source, (str, os.PathLike)):
            name, rate = source, audio_info(source).sample_rate
            blocks = read_blocks(source)
        else:
            name, rate = "a stream", sample_rate or self.sample_rate
            blocks = mono_blocks(source, name)
        size, step = window_samples(window, hop, rate, self.max_duration)
        n_tags = self._n_tags(top_k)
        # one iterator for the places, one for the sound
        places, cut = tee(windows(blocks, size, step))
        normalize = self.hparams.audio_normalizer
        wavs = (normalize(wav, rate, name) for _, wav in cut)
        rows = self._run(wavs, True, _BATCH_WINDOWS)
        for row, (start, wav) in zip(rows, places):
            stop, tags = start + len(wav), self._top(row, n_tags)
            yield TaggedWindow(start / rate, stop / rate, tags, row)
