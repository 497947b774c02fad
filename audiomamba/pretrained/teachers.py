"""Teachers for knowledge distillation: trained models, or their stored scores.

A `Teacher` hears what the student hears; `StoredScores` were computed once, by
``tools/store_scores.py``.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from speechbrain.inference.interfaces import Pretrained

from audiomamba.dataio.scores import ScoreFile
from audiomamba.lobes.clip_encoder import ClipEncoder, encode, unwrapped
from audiomamba.pretrained.distillation import Heard, Student, Taught
from audiomamba.pretrained.official import load_official
from audiomamba.pretrained.sources import (
    CheckpointError,
    is_run,
    settings_file,
)
from audiomamba.pretrained.weights import label_difference, read_class_names
from audiomamba.pretrained.wholeness import check_model

logger = logging.getLogger(__name__)


class _Exported(Pretrained):
    """An exported model, as SpeechBrain loads it."""

    HPARAMS_NEEDED = [
        "sample_rate",
        "compute_features",
        "mean_var_norm",
        "embedding_model",
        "classifier",
    ]


class Teacher(torch.nn.Module):
    """A frozen model that scores what the student hears.

    A model with features of its own hears the augmented waveforms; if its
    features are the student's, and for a published checkpoint, which has none,
    it gets the very features that the student gets, masks included.  Such a
    checkpoint hears padding, as in its training, where the student's features
    have a fixed number of frames; elsewhere its scores would depend on the
    batch, so it masks padding.

    An exported model's ``hyperparams.yaml`` names Python objects to create:
    from an untrusted source it can run arbitrary code.

    Arguments
    ---------
    source : str or Path
        An exported model, or what `audiomamba.pretrained.load_official` takes:
        a file of weights or a folder with one. Both can be on the hub, by
        ``owner/name``.

    Raises
    ------
    CheckpointError
        If there is no such model, or it has no classifier.
    """

    def __init__(self, source: str | Path):
        super().__init__()
        if is_run(source):
            raise CheckpointError(
                f"{source} is the output folder of a run: export its model "
                "with tools/export_pretrained.py, and give that folder."
            )
        self.name, self.labels = str(source), read_class_names(source)
        if settings_file(source) is not None:
            check_model(source)
            model = _Exported.from_hparams(
                str(source), run_opts={"device": "cpu"}
            ).hparams
            self.features: ClipEncoder | None = ClipEncoder(
                model.compute_features,
                model.mean_var_norm,
                model.embedding_model,
            )
            self.sample_rate = model.sample_rate
            self.encoder = model.embedding_model
            self.classifier = model.classifier
        else:
            self.features, self.sample_rate = None, None
            self.encoder, self.classifier = load_official(source)
        if self.classifier is None:
            raise CheckpointError(
                f"{source} has no classifier, so it cannot teach: give a "
                "model that was trained on the classes of the data."
            )
        self.eval().requires_grad_(False)

    def prepare(self, student: Student) -> None:
        """Compare with the student, and choose the features.

        Arguments
        ---------
        student : Student
            Who is to learn.

        Raises
        ------
        CheckpointError
            If classes, sample rate or mel bins are not the student's.
        """
        self._check_classes(student)
        if self.sample_rate not in (None, student.sample_rate):
            raise CheckpointError(
                f"The teacher {self.name} hears {self.sample_rate} Hz, the "
                f"student {student.sample_rate} Hz. Store its scores with "
                "tools/store_scores.py, which reads clips at its own rate."
            )
        if self.features is None:
            # Published models have heard padding, as `AudioTagger` gives them
            features = student.clip_encoder.compute_features
            self.encoder.mask_padding = not getattr(features, "n_frames", None)
        self._choose_features(student)
        self.to(student.device)
        what = "the student's features" if self.features is None else "its own"
        logger.info(f"teacher {self.name}, on {what}")

    def _check_classes(self, student):
        names, n_classes = self.labels, len(student.labels)
        difference = names and label_difference(names, student.labels)
        if names is None:
            n_own = getattr(self.classifier, "out_features", n_classes)
            if n_own != n_classes:
                difference = f"{n_own} classes instead of {n_classes}"
            else:
                logger.warning(
                    f"teacher {self.name} has no class names: its {n_own} "
                    "classes are taken to be those of the data, in order."
                )
        if difference:
            raise CheckpointError(
                f"The teacher {self.name} knows other classes than the data "
                f"has: {difference}. Give one that was trained on them."
            )

    def _choose_features(self, student):
        """Take the student's features if they are the same, or have to be."""
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(1, 2 * student.sample_rate, generator=generator)
        full = torch.ones(1)
        theirs, lengths = student.clip_encoder.features(
            noise.to(student.device), full.to(student.device)
        )
        theirs, lengths = theirs.cpu(), lengths.cpu()
        if self.features is None:
            try:
                encode(self.encoder, theirs, lengths)
            except ValueError as error:
                raise CheckpointError(
                    f"The teacher {self.name} cannot take the student's "
                    f"features: {error}"
                ) from error
            return
        own, _ = self.features.features(noise, full)
        if getattr(unwrapped(self.encoder), "mask_padding", False):
            n_frames = min(own.shape[1], theirs.shape[1])
            own, theirs = own[:, :n_frames], theirs[:, :n_frames]
        if own.shape == theirs.shape and torch.allclose(own, theirs, atol=1e-3):
            self.features = None

    def forward(self, heard: Heard) -> torch.Tensor:
        """Score a batch.

        Arguments
        ---------
        heard : Heard
            The batch.

        Returns
        -------
        torch.Tensor
            Logits [B, C].
        """
        if self.features is None:
            emb = encode(self.encoder, heard.feats, heard.feat_lengths)
        else:
            emb = self.features(heard.wavs, heard.lengths)
        return self.classifier(emb).squeeze(1)


class Teachers:
    """One teacher or several, whose class probabilities are averaged.

    Arguments
    ---------
    sources : list of str
        See `Teacher`.

    Raises
    ------
    CheckpointError
        If one cannot teach.
    """

    def __init__(self, sources: Sequence[str | Path]):
        self.teachers = [Teacher(source) for source in sources]

    def prepare(self, student: Student) -> None:
        """Compare all with the student; see `Teacher.prepare`."""
        for teacher in self.teachers:
            teacher.prepare(student)

    @torch.no_grad()
    def ask(self, heard: Heard, temperature: float) -> Taught:
        """Return the mean of the teachers' probabilities, for every clip."""
        rows = [
            (teacher(heard).float() / temperature).softmax(-1)
            for teacher in self.teachers
        ]
        known = torch.ones(len(rows[0]), device=rows[0].device)
        return Taught(torch.stack(rows).mean(0), known)


class StoredScores:
    """A teacher's logits from a file of ``tools/store_scores.py``.

    They hold for a clip as it is in the manifest: a clip whose waveform was
    changed, by mixup or otherwise, is not taught.

    Arguments
    ---------
    path : str or Path
        The HDF5 file.
    """

    def __init__(self, path: str | Path):
        self.file = ScoreFile(path)

    def prepare(self, student: Student) -> None:
        """Compare the file with the student's classes and clips.

        Raises
        ------
        CheckpointError
            If it has other classes, or lacks clips.
        """
        difference = label_difference(self.file.labels, student.labels)
        if difference:
            raise CheckpointError(
                f"{self.file.path} holds scores of other classes than the "
                f"data has: {difference}. Store those of another model."
            )
        missing = self.file.missing(student.ids)
        if missing:
            raise CheckpointError(
                f"{self.file.path} lacks the scores of {len(missing)} training "
                f"clips, the first is {missing[0]!r}: run "
                "tools/store_scores.py on the present manifest."
            )

    @torch.no_grad()
    def ask(self, heard: Heard, temperature: float) -> Taught:
        """Return the stored probabilities of the clips that are unchanged."""
        device = heard.feats.device
        if heard.wavs.shape != heard.clips.shape:
            raise CheckpointError(
                "wav_augment changes the shape of the batch, so stored scores "
                "cannot be assigned to its clips: give teachers in place of "
                "scores."
            )
        known = (heard.wavs == heard.clips).all(dim=1)
        logits = self.file.read(heard.ids).to(device)
        probabilities = (logits / temperature).softmax(-1)
        return Taught(probabilities, known.to(probabilities))
