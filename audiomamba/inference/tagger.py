"""Tagging and embedding of sound with a trained model."""

import os
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import torch
from speechbrain.inference.interfaces import Pretrained
from torch.nn.utils.rnn import pad_sequence

from audiomamba.dataio.audio import audio_info, read_blocks
from audiomamba.inference.waveforms import windows
from audiomamba.lobes.clip_encoder import ClipEncoder
from audiomamba.training.metrics import ACTIVATIONS

HPARAMS_FILE = "hyperparams.yaml"
DEFAULT_WINDOW = 10.0  # seconds
# Windows of a stream that are computed at a time
_STREAM_BATCH = 8


class TaggedWindow(NamedTuple):
    """A window of a stream: seconds, tags, and all probabilities [C]."""

    start: float
    stop: float
    tags: list
    probabilities: torch.Tensor


class AudioTagger(Pretrained):
    """Names the sounds of recordings of any format, rate and length.

    Loads what ``tools/export_pretrained.py`` and
    ``tools/convert_checkpoint.py`` write.  A clip's result does not depend on
    the clips that it is computed with, and is what the recipe's evaluation
    computed: of a long clip the model hears as much as in training, the first
    10.24 s in the paper; `tag_stream` goes through all of it.

    ``hyperparams.yaml`` of a model names Python objects to make, as everywhere
    in SpeechBrain: that of an untrusted source can run any code.

    Arguments
    ---------
    *args, **kwargs
        As for SpeechBrain's ``Pretrained``; see `from_hparams`.

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

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        missing = set(self.MODULES_NEEDED) - set(self.mods)
        if missing:
            raise ValueError(f"The model has no module {sorted(missing)}.")
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
    def max_duration(self):
        """Seconds of a clip that the model hears; None for all."""
        limits = [self.hparams.audio_normalizer.max_duration]
        samples = getattr(self.mods.compute_features, "max_samples", None)
        if samples:
            limits.append(samples / self.sample_rate)
        return min(filter(None, limits), default=None)

    @classmethod
    def from_hparams(cls, source, savedir=None, run_opts=None, **kwargs):
        """Load an exported model.

        Arguments
        ---------
        source : str or Path
            A folder, or ``owner/name`` on the Hugging Face hub.  Only from
            whom you trust: its ``hyperparams.yaml`` can run any code.
        savedir : str or Path, optional
            Where to link what is fetched; None: only the hub's cache.
        run_opts : dict, optional
            For example ``{"device": "cuda:0"}``; the GPU where there is one.
        **kwargs
            As for SpeechBrain's ``Pretrained.from_hparams``.

        Returns
        -------
        AudioTagger

        Raises
        ------
        FileNotFoundError
            If the folder is no exported model.
        """
        folder = Path(source)
        if folder.is_dir() and not (folder / HPARAMS_FILE).is_file():
            raise FileNotFoundError(
                f"{folder} has no {HPARAMS_FILE}: it is no exported model. "
                "tools/export_pretrained.py makes one of a run's output "
                "folder, tools/convert_checkpoint.py of a checkpoint."
            )
        return super().from_hparams(
            str(source), savedir=savedir, run_opts=run_opts, **kwargs
        )

    # --------------------------------------------------------------- clips

    def tag_file(self, path, top_k=5):
        """Name what is heard in a file.

        Arguments
        ---------
        path : str or Path
            Any format of soundfile, any rate, any number of channels.
        top_k : int or None
            How many tags; None for all classes.

        Returns
        -------
        list of tuple
            (label, probability), the likeliest first.  Probabilities of a
            model with one label per clip sum up to 1 over all classes; of a
            multi-label model every class has its own.

        Raises
        ------
        AudioError
            If the file cannot be read; names it, the fault, the remedy.
        """
        return self.tag_batch([path], top_k)[0]

    def tag_batch(self, clips, top_k=5):
        """Name what is heard in each of several clips.

        Arguments
        ---------
        clips : list
            Paths, and waveforms [N] at the model's ``sample_rate``.
        top_k : int or None
            How many tags; None for all classes.

        Returns
        -------
        list of list of tuple
            As of `tag_file`, for every clip.
        """
        return [self._top(row, top_k) for row in self.score_batch(clips)]

    def score_batch(self, clips):
        """Compute the probabilities of all classes.

        Arguments
        ---------
        clips : list
            As for `tag_batch`.

        Returns
        -------
        torch.Tensor
            [B, C], in the order of ``labels``, on the CPU.
        """
        return self._run(map(self._waveform, clips), with_classifier=True)

    def embed_batch(self, clips):
        """Compute the embeddings of clips.

        Arguments
        ---------
        clips : list
            As for `tag_batch`.

        Returns
        -------
        torch.Tensor
            [B, D], on the CPU.
        """
        return self._run(map(self._waveform, clips), with_classifier=False)

    def embed_file(self, path):
        """Compute a file's embedding.

        Arguments
        ---------
        path : str or Path
            As for `tag_file`.

        Returns
        -------
        torch.Tensor
            [D], on the CPU.
        """
        return self.embed_batch([path])[0]

    def forward(self, wavs, lengths=None):
        """Compute the probabilities of a padded batch.

        Arguments
        ---------
        wavs : torch.Tensor
            [B, N], at the model's rate, as the recipe's reader gives them.
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
        """Return a clip, path or samples, as the model was trained on it."""
        normalizer = self.hparams.audio_normalizer
        if isinstance(clip, (str, os.PathLike)):
            return normalizer.read(clip)
        wav = torch.as_tensor(clip)
        if wav.ndim != 1 or not len(wav):
            raise ValueError(
                f"A waveform has shape {list(wav.shape)}; it must be [samples] "
                "with at least one, mono."
            )
        return normalizer(wav.cpu(), self.sample_rate)

    def _batches(self, wavs):
        """Return the clips that can share a batch without changing a result.

        All, if the encoder is batch-invariant; else clips of equal length.
        """
        if self.clip_encoder.batch_invariant:
            return [range(len(wavs))]
        by_length = {}
        for index, wav in enumerate(wavs):
            by_length.setdefault(len(wav), []).append(index)
        return by_length.values()

    def _run(self, wavs, with_classifier):
        """Return one row per waveform, in order."""
        wavs = list(wavs)
        # Single precision cannot count the samples of clips over four minutes
        precise = torch.float32 if self.device == "mps" else torch.float64
        rows = [None] * len(wavs)
        for batch in self._batches(wavs):
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
        return torch.stack(rows)

    def _top(self, probabilities, top_k):
        """Return (label, probability) of the likeliest classes."""
        k = min(top_k or len(self.labels), len(self.labels))
        values, indices = probabilities.topk(k)
        return [
            (self.labels[index], value)
            for index, value in zip(indices.tolist(), values.tolist())
        ]

    # -------------------------------------------------------------- streams

    def tag_stream(
        self, source, window=None, hop=None, top_k=5, sample_rate=None
    ):
        """Name what is heard when, in hours of sound and bounded memory.

        Every window is computed as a clip of its own.  All have the same
        length: the last one is moved back to end with the stream.

        Arguments
        ---------
        source : str, Path or iterable of torch.Tensor
            A file, or a stream in blocks [n] or [n, channels].
        window : float, optional
            Seconds of a window; None: 10, or what the model hears of a clip
            if that is less.
        hop : float, optional
            Seconds from one window's start to the next's, at most a window;
            None: half a window.
        top_k : int or None
            How many tags; None for all classes.
        sample_rate : int, optional
            Of the blocks, in Hz; None: the model's.

        Yields
        ------
        TaggedWindow
            Seconds, tags as of `tag_file`, and all probabilities.

        Raises
        ------
        ValueError
            If window and hop do not fit each other, or the model does not
            hear as much as a window.
        AudioError
            If the file cannot be read, when the fault is reached.
        """
        if isinstance(source, (str, os.PathLike)):
            name, rate = source, audio_info(source).sample_rate
            blocks = read_blocks(source)
        else:
            name, rate = "a stream", sample_rate or self.sample_rate
            blocks = map(_mono, source)
        size, step = self._window_samples(window, hop, rate)
        cut = windows(blocks, size, step)
        while chunk := list(islice(cut, _STREAM_BATCH)):
            wavs = [
                self.hparams.audio_normalizer(wav, rate, name)
                for _, wav in chunk
            ]
            rows = self._run(wavs, with_classifier=True)
            for (start, wav), row in zip(chunk, rows):
                yield TaggedWindow(
                    start / rate,
                    (start + len(wav)) / rate,
                    self._top(row, top_k),
                    row,
                )

    def _window_samples(self, window, hop, rate):
        """Return a window and a hop in samples of the stream."""
        heard = self.max_duration
        if window is None:
            window = min(heard or DEFAULT_WINDOW, DEFAULT_WINDOW)
        hop = window / 2 if hop is None else hop
        size, step = round(window * rate), round(hop * rate)
        if not 1 <= step <= size:
            raise ValueError(
                f"window is {window} s and hop {hop} s; both must be positive, "
                "and a hop no longer than a window."
            )
        if heard and window > heard:
            raise ValueError(
                f"window is {window} s; this model hears {heard} s at a time: "
                "give a window no longer than that."
            )
        return size, step


def _mono(block):
    """Return a block [n] of a stream's block [n] or [n, channels]."""
    block = torch.as_tensor(block).float()
    return block.mean(dim=1) if block.ndim == 2 else block
