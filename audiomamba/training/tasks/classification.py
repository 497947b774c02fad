"""Clip classification over any encoder, with or without a teacher."""

import inspect
from typing import NamedTuple

import numpy as np
import torch
from speechbrain.augment.augmenter import Augmenter
from speechbrain.core import Stage

from audiomamba.dataio.problems import PreparationError
from audiomamba.lobes.augment import WithTargets
from audiomamba.lobes.clip_encoder import encode
from audiomamba.nnet.frame_classifier import own_frames
from audiomamba.training.brain import RecipeBrain
from audiomamba.training.finetuning import ENCODER
from audiomamba.training.losses import (
    frame_cross_entropy,
    loss_options,
    plain_targets,
)
from audiomamba.training.metrics import check_scores
from audiomamba.training.runs.environment import all_gather


class Predictions(NamedTuple):
    """Logits [B, C], targets after augmentation, and what a teacher says.

    ``emb`` is what the classifier took: [B, 1, D], or frames [B, T', D].
    """

    logits: torch.Tensor
    targets: torch.Tensor | None
    taught: tuple | None
    emb: torch.Tensor


def check_augment(name, augment):
    """Refuse an augmentation of features that cannot be called as one.

    Arguments
    ---------
    name : str
        Its key in the YAML.
    augment : callable or None
        Must take (feats, lengths) and return feats.

    Raises
    ------
    PreparationError
        Naming the key and the remedy.

    Example
    -------
    >>> from audiomamba.lobes import SpectrogramMask
    >>> check_augment("spec_augment", SpectrogramMask())
    """
    if augment is None:
        return
    kind = type(augment).__name__
    if isinstance(augment, Augmenter):
        raise PreparationError(
            f"{name} is SpeechBrain's {kind}, which may add clips: give it as "
            "wav_augment, or its augmentations of features in a "
            "LengthsCapableSequential."
        )
    forward = getattr(augment, "forward", augment)
    try:
        inspect.signature(forward).bind("feats", "lengths")
    except TypeError:
        raise PreparationError(
            f"{name}: {kind} does not take lengths: give it in a "
            "speechbrain.nnet.containers.LengthsCapableSequential."
        ) from None


class ClassificationBrain(RecipeBrain):
    """Trains and tests a clip classifier over any SpeechBrain encoder.

    The hyperparameters ``wav_augment``, ``spec_augment`` and ``norm_augment``
    are objects or null, called in training with (wavs, lengths, targets), and
    with (feats, lengths) before and after normalisation.  ``distillation``
    is an `audiomamba.pretrained.distillation.Distillation`.  Where training
    batches have ``events_rows``, see `audiomamba.dataio.corpora.strong_labels`,
    the frames are trained on them with ``strong_weight``.  Label smoothing and
    class weights are for the loss of training clips; the loss of validation is
    that of the labels.

    Arguments
    ---------
    *args, **kwargs
        As for `RecipeBrain`; the modules ``compute_features``,
        ``mean_var_norm``, ``embedding_model`` and ``classifier``.
    """

    REQUIRED = (
        *RecipeBrain.REQUIRED,
        "n_classes",
        "compute_loss",
        "label_smoothing",
        "class_weights",
        "distillation",
        "wav_augment",
        "spec_augment",
        "norm_augment",
    )

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        weights = self.hparams.class_weights
        if weights is not None:
            weights = weights.to(self.device)
        smoothing = self.hparams.label_smoothing
        self.loss_options = loss_options(
            self.hparams.compute_loss,
            {"label_smoothing": smoothing, "class_weights": weights},
        )
        if isinstance(self.hparams.wav_augment, Augmenter):
            self.hparams.wav_augment = WithTargets(self.hparams.wav_augment)
        for name in ("spec_augment", "norm_augment"):
            check_augment(name, getattr(self.hparams, name))

    def try_out(self, sample_rate):
        """As for `CarefulBrain`; check what comes out.

        Arguments
        ---------
        sample_rate : int
            Of the clips, in Hz.

        Returns
        -------
        together, alone : Predictions
        """
        together, alone = super().try_out(sample_rate)
        self.check_logits(together.logits, alone.logits)
        return together, alone

    def check_logits(self, together, alone):
        """Refuse a model that gives no logits, or depends on the batch.

        Arguments
        ---------
        together : torch.Tensor
            For a long and a short clip, [2, C].
        alone : torch.Tensor
            For the short one alone, [1, C].

        Raises
        ------
        PreparationError
            Naming the encoder and the remedy.
        """
        encoder = type(self.module(ENCODER, Stage.VALID)).__name__
        if together.shape != (2, self.hparams.n_classes):
            raise PreparationError(
                f"for 2 clips, the model gives {list(together.shape)}, not "
                f"logits [2, {self.hparams.n_classes}].  If {encoder} gives "
                "frames, wrap it in audiomamba.lobes.MeanOverTime."
            )
        differ = (together[1:] - alone).norm() > 0.01 * alone.norm()
        if differ and self.clip_encoder(Stage.VALID).batch_invariant:
            raise PreparationError(
                f"{encoder} depends on padding: a clip has other logits alone "
                "than in a batch.  Set masks_padding (of MeanOverTime) or "
                "mask_padding to False."
            )

    def compute_forward(self, batch, stage):
        """Compute logits.

        Arguments
        ---------
        batch : PaddedBatch
            With ``sig`` and, unless the data are unlabelled, ``target``.
        stage : Stage
            Augmentation is for training only.

        Returns
        -------
        Predictions
        """
        batch = batch.to(self.device)
        wavs, lengths = clips, _ = batch.sig
        has_target = hasattr(batch, "target")
        targets = plain_targets(batch.target) if has_target else None
        hparams, augment = self.hparams, ()
        if stage == Stage.TRAIN:
            augment = (hparams.spec_augment, hparams.norm_augment)
            if hparams.wav_augment is not None:
                wavs, lengths, targets = hparams.wav_augment(
                    wavs, lengths, targets
                )
        clip_encoder = self.clip_encoder(stage)
        feats, n_frames = clip_encoder.features(wavs, lengths, *augment)
        emb = encode(clip_encoder.embedding_model, feats, n_frames)
        logits = self.module("classifier", stage)(emb).squeeze(1)
        taught = None
        if stage == Stage.TRAIN and hparams.distillation:
            taught = hparams.distillation.ask(
                batch.id, clips, wavs, lengths, feats, n_frames
            )
        return Predictions(logits, targets, taught, emb)

    def on_stage_end(self, stage, stage_loss, epoch=None):
        """As for `RecipeBrain`; count the clips that a teacher scored."""
        super().on_stage_end(stage, stage_loss, epoch)
        distillation = self.hparams.distillation
        if stage == Stage.TRAIN and distillation and distillation.n_heard:
            whole = self.step_at_start == 0
            self.train_stats["taught"] = distillation.taught_share(whole)

    def compute_objectives(self, predictions, batch, stage):
        """Compute the mean loss and, outside of training, collect scores.

        Arguments
        ---------
        predictions : Predictions
            From `compute_forward`.
        batch : PaddedBatch
            With ``id``.
        stage : Stage
            Where in the run.

        Returns
        -------
        torch.Tensor
            The mean loss.
        """
        logits, targets, taught, frames = predictions
        options = self.loss_options if stage == Stage.TRAIN else {}
        loss = self.hparams.compute_loss(logits, targets, **options)
        if taught is not None:
            loss = self.hparams.distillation(loss, logits, taught)
        if stage == Stage.TRAIN and hasattr(batch, "events_rows"):
            # Without DDP's wrapper: its parameters' gradients are averaged by
            # the call that gave the logits
            classify = self.model["classifier"].frame_logits
            of_frames = frame_cross_entropy(
                classify(frames), batch.events_rows.data, own_frames(frames)
            )
            loss = loss + self.hparams.strong_weight * of_frames
        if stage != Stage.TRAIN:
            self.hparams.metrics.append(batch.id, logits, targets, loss)
        return loss

    @torch.no_grad()
    def predict(self, dataset, loader_kwargs=None):
        """Compute the logits of unlabelled clips, for challenges.

        Under torchrun all ranks must call it; each computes its share and gets
        the whole.

        Arguments
        ---------
        dataset : DynamicItemDataset
            With ``id`` and ``sig``.
        loader_kwargs : dict, optional
            Options of its loader.

        Returns
        -------
        tuple
            ids (list of str, sorted) and logits [clips, classes], float32.

        Raises
        ------
        RunError
            If a logit is not finite; names the clip.
        """
        loader = self._evaluation_loader(dataset, loader_kwargs)
        self.modules.eval()
        own = {}
        for batch in self.progress(loader, "predict"):
            with self.evaluation_ctx:
                logits = self.compute_forward(batch, Stage.TEST).logits
            own.update(zip(batch.id, logits.float().cpu().numpy()))
        found = {k: row for part in all_gather(own) for k, row in part.items()}
        ids = sorted(found)
        scores = np.stack([found[name] for name in ids])
        check_scores(ids, scores)
        return ids, scores
