"""Tag and embed sound with a trained model."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch

from audiomamba.dataio.samples import Samples
from audiomamba.inference.model import Clip, ClipModel, Window
from audiomamba.nnet.frame_classifier import FrameClassifier
from audiomamba.nnet.probabilities import ACTIVATIONS, scaled


class TaggedWindow(NamedTuple):
    """A window of a stream: seconds, tags, and all probabilities [C]."""

    start: float
    stop: float
    tags: list[tuple[str, float]]
    probabilities: torch.Tensor


class Decision(NamedTuple):
    """A class, its calibrated probability, and whether it is heard."""

    label: str
    probability: float
    yes: bool


class AudioTagger(ClipModel):
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
    MODULES_NEEDED = [*ClipModel.MODULES_NEEDED, "classifier"]

    def __init__(self, modules: dict, hparams: dict, **kwargs):
        super().__init__(modules, hparams, **kwargs)
        named = self.hparams.label_encoder.ind2lab
        if sorted(named) != list(range(len(named))):
            raise ValueError(
                f"the class names have the numbers {str(sorted(named))[:80]}, "
                "which are not 0, 1, ... each once: the label file is damaged; "
                "export the model again"
            )
        self.labels = [named[index] for index in range(len(named))]
        self._activation = ACTIVATIONS[self.hparams.activation]
        # What is no linear layer may not know
        self._check_outputs(getattr(self.mods.classifier, "out_features", None))

    def _check_outputs(self, n_outputs):
        """Refuse class names that are too few or too many."""
        if n_outputs is not None and n_outputs != len(self.labels):
            raise ValueError(
                f"the classifier has {n_outputs} outputs, and there are "
                f"{len(self.labels)} class names: the label file is damaged, "
                "or that of another model; export the model again"
            )

    @property
    def classifies_frames(self) -> bool:
        """Whether the model has a probability for every frame."""
        return isinstance(self.mods.classifier, FrameClassifier)

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

    def decide_batch(self, clips: list[Clip]) -> list[list[Decision]]:
        """Say which classes are heard in several clips.

        The thresholds are those of the best F1 on the validation clips of the
        training, of probabilities that a temperature calibrates (see
        `audiomamba.training.decisions`).

        Arguments
        ---------
        clips : list
            See `tag_batch`.

        Returns
        -------
        list of list of Decision
            For every clip all classes, first those that are heard, then the
            others, the most likely first.

        Raises
        ------
        ValueError
            If the model has no thresholds.
        """
        decisions = getattr(self.hparams, "decisions", None)
        if decisions is None:
            raise ValueError(
                "this model has no thresholds: they are learned by runs with "
                "several labels per clip and a validation list"
            )
        rows = scaled(self.score_batch(clips).numpy(), decisions["temperature"])
        found = [
            [
                Decision(label, p, p >= threshold)
                for label, p, threshold in zip(
                    self.labels, row, decisions["thresholds"], strict=True
                )
            ]
            for row in rows.tolist()
        ]
        return [
            sorted(x, key=lambda d: (not d.yes, -d.probability)) for x in found
        ]

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
        return self._stacked(clips, self)

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
        emb = self._encoded(wavs, lengths)
        logits = self.mods.classifier(emb).squeeze(1)
        self._check_outputs(logits.shape[-1])
        return self._activation(logits.float())

    def _frame_scores(self, wavs, lengths):
        """Return a list of the probabilities of frames, [T', C]."""
        classify = self.mods.classifier.frame_logits
        with self.inference_ctx:
            return [
                classify(frames).float().sigmoid()
                for frames in self._frames(wavs, lengths)
            ]

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
        length: the last one is shifted back to end with the stream.  Windows
        of a file are computed in batches, those of a stream as soon as each is
        complete.

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
        n_tags = self._n_tags(top_k)
        for start, stop, row in self._stream(
            source, self, window, hop, sample_rate
        ):
            yield TaggedWindow(start, stop, self._top(row, n_tags), row)

    def frame_stream(
        self,
        source: str | Path | Iterable[Samples],
        window: float | None = None,
        hop: float | None = None,
        sample_rate: int | None = None,
    ) -> Iterator[Window]:
        """Compute the probabilities of every frame of hours of sound.

        Arguments
        ---------
        source, window, hop, sample_rate
            See `tag_stream`.

        Yields
        ------
        Window
            Seconds, and the probabilities [T', C] of its frames, one per
            `frame_seconds`.

        Raises
        ------
        ValueError
            If the model has no classifier of frames.
        """
        if not self.classifies_frames:
            raise ValueError(
                "this model classifies clips, not frames: take windows, or "
                "train with a FrameClassifier (recipes/Custom/hparams/"
                "aum_frames_tiny.yaml)."
            )
        return self._stream(
            source, self._frame_scores, window, hop, sample_rate
        )
