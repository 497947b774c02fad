"""Knowledge distillation from trained models, or from their stored scores."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F

from audiomamba.lobes.clip_encoder import ClipEncoder


class Heard(NamedTuple):
    """A training batch on its way to the student.

    Attributes
    ----------
    ids : list of str
        IDs of the clips.
    clips : torch.Tensor
        Waveforms before augmentation, [B, N].
    wavs, lengths : torch.Tensor
        Waveforms after augmentation, [B, N], and relative lengths [B].
    feats, feat_lengths : torch.Tensor
        The student's masked and normalised features, [B, T, F], and their
        relative lengths [B].
    """

    ids: Sequence[str]
    clips: torch.Tensor
    wavs: torch.Tensor
    lengths: torch.Tensor
    feats: torch.Tensor
    feat_lengths: torch.Tensor


class Taught(NamedTuple):
    """Class probabilities [B, C], and whether a clip has any, [B]."""

    probabilities: torch.Tensor
    known: torch.Tensor


class Student(NamedTuple):
    """What a teacher has to fit: the student's way to features, and its data.

    Attributes
    ----------
    clip_encoder : ClipEncoder
        Its features and normalisation are used.
    labels : list of str
        Class names, by index.
    sample_rate : int
        Of its waveforms, in Hz.
    ids : sequence of str
        IDs of the training clips.
    device : str or torch.device
        Where it is trained.
    """

    clip_encoder: ClipEncoder
    labels: list[str]
    sample_rate: int
    ids: Sequence[str]
    device: str | torch.device


class Distillation:
    """Knowledge distillation: (1 - weight) loss + weight KL(teacher, student).

    As DASS is trained (arXiv 2407.04082): the Kullback-Leibler
    divergence is between softmax distributions over the classes, also where
    the loss is binary, summed over classes and averaged over clips.  The
    temperature divides the teacher's logits only.

    Where only a share of a batch has a teacher's scores, the weight is that
    share of ``weight``.  Without teachers and scores, as in the recipes unless
    they are given, the object is false, and the recipe trains on the labels
    alone.

    Arguments
    ---------
    teachers : str or list of str
        Trained models, see `Teacher`; the mean of their class probabilities
        counts.
    scores : str or Path
        In place of teachers, a file of ``tools/store_scores.py``, see
        `StoredScores`.
    weight : float
        Weight of the divergence, in (0, 1].
    temperature : float
        Above 1, the teacher's distribution is softer.

    Raises
    ------
    ValueError
        If weight or temperature are out of range, or both teachers and scores
        are given.
    """

    def __init__(
        self,
        teachers: str | Sequence[str] = (),
        scores: str | Path | None = None,
        weight: float = 0.5,
        temperature: float = 1.0,
    ):
        if not 0 < weight <= 1:
            raise ValueError(f"weight is {weight}; it must be in (0, 1].")
        if not 0 < temperature < math.inf:
            raise ValueError(
                f"temperature is {temperature}; it must be positive and finite."
            )
        if teachers and scores:
            raise ValueError(
                f"teachers are {teachers!r} and their stored scores {scores}: "
                "give one of the two."
            )
        self.teachers = (
            [teachers] if isinstance(teachers, str) else list(teachers)
        )
        self.scores = scores
        self.weight, self.temperature = weight, temperature
        self.n_heard, self.n_taught = 0, torch.zeros(())

    def __bool__(self):
        return bool(self.teachers or self.scores)

    def prepare(
        self,
        clip_encoder: ClipEncoder,
        labels: list[str],
        sample_rate: int,
        ids: Sequence[str],
        device: str | torch.device,
    ) -> None:
        """Load the teacher and compare it with the student, before training.

        Arguments
        ---------
        clip_encoder, labels, sample_rate, ids, device
            As in `Student`.

        Raises
        ------
        CheckpointError, ScoreError
            If there is none, or they do not fit.
        """
        # Here, as most runs have no teacher and read no checkpoint
        from audiomamba.pretrained.teachers import StoredScores, Teachers

        self.teacher: StoredScores | Teachers
        if self.scores:
            self.teacher = StoredScores(self.scores)
        else:
            self.teacher = Teachers(self.teachers)
        self.teacher.prepare(
            Student(clip_encoder, labels, sample_rate, ids, device)
        )

    def ask(
        self,
        ids: Sequence[str],
        clips: torch.Tensor,
        wavs: torch.Tensor,
        lengths: torch.Tensor,
        feats: torch.Tensor,
        feat_lengths: torch.Tensor,
    ) -> Taught:
        """Return what the teacher says about a batch.

        Arguments
        ---------
        ids, clips, wavs, lengths, feats, feat_lengths
            As in `Heard`.

        Returns
        -------
        Taught
        """
        heard = Heard(ids, clips, wavs, lengths, feats, feat_lengths)
        taught = self.teacher.ask(heard, self.temperature)
        self.n_heard += len(taught.known)
        self.n_taught += taught.known.sum().cpu()
        return taught

    def __call__(
        self, loss: torch.Tensor, logits: torch.Tensor, taught: Taught
    ) -> torch.Tensor:
        """Compute the loss of a batch.

        Arguments
        ---------
        loss : torch.Tensor
            The mean loss of the labels.
        logits : torch.Tensor
            The student's, [B, C].
        taught : Taught
            From `ask`.

        Returns
        -------
        torch.Tensor
            The mean loss, float32.
        """
        log_probabilities = logits.float().log_softmax(-1)
        divergence = F.kl_div(
            log_probabilities, taught.probabilities, reduction="none"
        ).sum(-1)
        share = taught.known.mean()
        divergence = (divergence * taught.known).mean()
        return (1 - self.weight * share) * loss + self.weight * divergence

    def taught_share(self, whole: bool = True) -> float:
        """Return the share of taught clips since the last call.

        Arguments
        ---------
        whole : bool
            Whether these are all clips of an epoch, not the rest of one.

        Raises
        ------
        ValueError
            If it is zero of a whole epoch: augmentation leaves no clip as its
            scores know it.
        """
        share = float(self.n_taught) / self.n_heard
        self.n_heard, self.n_taught = 0, torch.zeros(())
        if share == 0 and whole:
            raise ValueError(
                "the teacher's stored scores were used for no clip of this "
                "epoch, as wav_augment changed all: lower its probability, or "
                "give teachers in place of scores."
            )
        return share
