"""Training steps that can be repeated and trusted."""

import random
from itertools import chain

import numpy as np
import torch
from speechbrain.core import Stage
from speechbrain.dataio.batch import PaddedBatch
from speechbrain.utils.distributed import if_main_process
from speechbrain.utils.logger import get_logger

from audiomamba.dataio.problems import PreparationError
from audiomamba.training.bad_clips import BadClips, no_loss
from audiomamba.training.finetuning import (
    ENCODER,
    Frozen,
    first_calls,
    layer_lr_scales,
    recompute_blocks,
)
from audiomamba.training.optim import (
    checked_max_norm,
    clip_gradients,
    parameter_groups,
    scale_learning_rates,
    set_learning_rates,
)
from audiomamba.training.results import Progress
from audiomamba.training.resuming import ResumableBrain
from audiomamba.training.runs.environment import all_gather
from audiomamba.training.runs.folder import RunError
from audiomamba.training.runs.interruption import interruption

logger = get_logger(__name__)

# fp16: a loss scale below this has nothing left to give
SMALLEST_SCALE = 1e-4


def seed_of_step(seed, rank, epoch, step):
    """Return a seed of its own for every training step of every rank.

    Arguments
    ---------
    seed, rank, epoch, step : int
        The run's seed and the position in it.

    Returns
    -------
    int
        64 well mixed bits.

    Example
    -------
    >>> seed_of_step(1, 0, 1, 1) == seed_of_step(1, 1, 1, 1)
    False
    """
    mixed = np.random.SeedSequence([seed, rank, epoch, step])
    return int(mixed.generate_state(1, np.uint64)[0])


class CarefulBrain(ResumableBrain):
    """A Brain whose steps can be repeated and trusted.

    - Every training step draws from its own seed, made from the run's seed,
      rank, epoch and step.  Augmentation and drop path need no saved state,
      differ between ranks, and a killed run resumes exactly.
    - The learning rate is a pure function of step and epoch, applied group by
      group right before an optimiser step.
    - Gradients are clipped over all groups.  A step with a non-finite loss or
      gradient is skipped and counted, in any precision; more than
      ``nonfinite_patience`` in a row stop the run.
    - Frozen modules are in evaluation mode; from ``unfreeze_epoch`` on they
      train as well, under the same schedule.
    - The last, incomplete group of gradient accumulation of an epoch counts, by
      its own size.

    Subclasses define ``compute_forward`` and ``compute_objectives``.

    Arguments
    ---------
    *args, **kwargs
        As for `ResumableBrain`; the hyperparameters must have ``REQUIRED``.

    Example
    -------
    >>> from audiomamba.training.optim import WarmupMultiStep
    >>> class Regression(CarefulBrain):
    ...     def compute_forward(self, batch, stage):
    ...         return self.modules.classifier(batch)
    ...
    ...     def compute_objectives(self, predictions, batch, stage):
    ...         return (predictions - 1).square().mean()
    >>> hparams = dict.fromkeys(CarefulBrain.REQUIRED)
    >>> hparams |= {"seed": 1, "head_lr_scale": 1.0}
    >>> hparams["lr_schedule"] = WarmupMultiStep(warmup_steps=0)
    >>> brain = Regression(
    ...     modules={"classifier": torch.nn.Linear(2, 1)},
    ...     opt_class=lambda groups: torch.optim.SGD(groups, lr=0.1),
    ...     hparams=hparams,
    ...     run_opts={"device": "cpu", "noprogressbar": True},
    ... )
    >>> brain.fit(range(1, 2), [torch.ones(4, 2)] * 3)
    >>> brain.optimizer_step
    3
    """

    REQUIRED = (
        "seed",
        "lr_schedule",
        "head_lr_scale",
        "layer_lr_decay",
        "freeze",
        "unfreeze_epoch",
        "gradient_checkpointing",
    )

    # The module that ``head_lr_scale`` is for
    HEAD = "classifier"

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        missing = [
            key for key in self.REQUIRED if key not in vars(self.hparams)
        ]
        if missing:
            raise ValueError(f"the YAML lacks the keys {', '.join(missing)}.")
        if self.remove_vector_weight_decay:
            raise ValueError(
                "remove_vector_weight_decay is not used here: parameters "
                "tagged _no_weight_decay are left out of weight decay."
            )
        self._check_norms()
        self.max_grad_norm = checked_max_norm(self.max_grad_norm)
        self.skipped_steps, self.skipped_in_row = 0, 0
        # Users' own YAMLs may lack the keys
        self.bad_clips = BadClips(
            getattr(self.hparams, "on_bad_clip", "stop") == "skip",
            getattr(self.hparams, "max_bad_share", 0.0),
        )
        self.frozen = Frozen(
            self.modules, self.hparams.freeze, self.hparams.unfreeze_epoch
        )
        if self.hparams.gradient_checkpointing:
            recompute_blocks(self.modules[ENCODER])
        self.lr_scales = {}

    def _check_norms(self):
        """Refuse statistics that are gathered while the model trains."""
        for name, module in self.modules.items():
            # SpeechBrain's InputNormalization
            if getattr(module, "norm_type", None) == "global":
                raise ValueError(
                    f"{name}: norm_type is 'global', so its statistics change "
                    "with every batch and are in no exported model: take "
                    "SpectrogramNorm, with feature_mean and feature_std auto, "
                    "or norm_type 'sentence'."
                )

    @torch.no_grad()
    def try_out(self, sample_rate):
        """Pass noise through the model, before any clip is read.

        With ``layer_lr_decay``, it shows the order of the modules, too.

        Arguments
        ---------
        sample_rate : int
            Of the clips, in Hz.

        Returns
        -------
        together, alone : object
            What `compute_forward` gives for a long and a short clip, and for
            the short one alone.

        Raises
        ------
        PreparationError
            If the modules do not fit together, or lack what a key needs.
        """
        wav, part = torch.randn(sample_rate), round(0.6 * sample_rate)
        clips = [{"id": "1", "sig": wav}, {"id": "2", "sig": wav[:part]}]
        self.modules.eval()
        try:
            with first_calls() as called:
                together, alone = (
                    self.compute_forward(PaddedBatch(batch), Stage.VALID)
                    for batch in (clips, clips[1:])
                )
        except (RuntimeError, TypeError, ValueError) as error:
            raise PreparationError(
                f"{', '.join(self.modules)} do not fit together: {error}"
            ) from error
        decay = self.hparams.layer_lr_decay
        if decay is not None:
            encoder = self.modules[ENCODER]
            self.lr_scales = layer_lr_scales(encoder, decay, called)
        return together, alone

    def init_optimizers(self):
        """Make the optimiser, with a learning rate per parameter group."""
        if self.hparams.layer_lr_decay is not None and not self.lr_scales:
            raise ValueError("layer_lr_decay needs try_out() before fit().")
        groups = parameter_groups(
            self.modules,
            head=self.HEAD,
            head_lr_scale=self.hparams.head_lr_scale,
            lr_scales=self.lr_scales,
            frozen_now=self.frozen.to_train(),
        )
        try:
            self.optimizer = self.opt_class(groups)
        except (TypeError, ValueError) as error:
            raise PreparationError(f"opt_class: {error}") from error
        scale_learning_rates(self.optimizer)
        self.optimizers_dict = {"opt_class": self.optimizer}
        if self.checkpointer is not None:
            self.checkpointer.add_recoverable("optimizer", self.optimizer)

    def on_fit_batch_start(self, batch, should_step):
        """Seed the step; SpeechBrain put all modules into training mode."""
        self._seed(self.step)
        self.frozen.eval()

    def _seed(self, step):
        seed = seed_of_step(self.hparams.seed, self.rank, self.epoch, step)
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)

    def fit_batch(self, batch):
        """Train on one batch.

        Arguments
        ---------
        batch : PaddedBatch
            As for `compute_forward`.

        Returns
        -------
        torch.Tensor
            The detached loss, on the CPU; not a number if no clip of the batch
            could be read.
        """
        self.bad_clips.note(batch)
        should_step, group_size = self._group_of_step()
        self.on_fit_batch_start(batch, should_step)
        with self.no_sync(not should_step):
            with self.training_ctx:
                outputs = self.compute_forward(batch, Stage.TRAIN)
                if getattr(batch, "is_empty", False):
                    loss = no_loss(outputs)
                else:
                    loss = self.compute_objectives(outputs, batch, Stage.TRAIN)
            self.group_ids += map(str, getattr(batch, "id", ()))
            self.scaler.scale(loss / group_size).backward()
        if should_step:
            self.optimizers_step()
            self.group_ids = []
        self.on_fit_batch_end(batch, outputs, loss, should_step)
        if getattr(batch, "is_empty", False):
            # No part of the mean
            return torch.tensor(torch.nan)
        return loss.detach().cpu()

    def evaluate_batch(self, batch, stage):
        """Evaluate a batch, unless no clip of it could be read.

        Arguments
        ---------
        batch : PaddedBatch
            As for `compute_forward`.
        stage : Stage
            Where in the run.

        Returns
        -------
        torch.Tensor
            The loss, on the CPU.
        """
        self.bad_clips.note(batch)
        if getattr(batch, "is_empty", False):
            return torch.zeros(())
        return super().evaluate_batch(batch, stage)

    def optimizers_step(self):
        """Set the learning rates, clip over all groups, step if finite."""
        optimizers = self.freeze_optimizers(self.optimizers_dict).values()
        factor = self.hparams.lr_schedule(
            self.optimizer_step, self.epoch, self.steps_per_epoch
        )
        for optimizer in optimizers:
            set_learning_rates(optimizer, factor)
            self.scaler.unscale_(optimizer)
        # Of the reduced gradients, so all ranks agree on it; a non-finite loss
        # has a non-finite gradient
        norm = clip_gradients(optimizers, self.max_grad_norm)
        if torch.isfinite(norm):
            self.skipped_in_row = 0
            for optimizer in optimizers:
                self.scaler.step(optimizer)
        else:
            self._skip_step()
        self.scaler.update()
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        self.optimizer_step += 1

    def _skip_step(self):
        """Count a step that changes no weight; give up after too many."""
        self.skipped_steps += 1
        self.skipped_in_row += 1
        # of all ranks, as only one of them may have the clip that is at fault
        ids = ", ".join(chain.from_iterable(all_gather(self.group_ids)))
        where = f"Epoch {self.epoch}, step {self.step}"
        what = f"{where}: the gradient is not finite" + (
            f" on clips {ids}" if ids else ""
        )
        floor = self.scaler.is_enabled() and (
            self.scaler.get_scale() < SMALLEST_SCALE
        )
        if floor or self.skipped_in_row > self.nonfinite_patience:
            raise RunError(
                f"{what}, number {self.skipped_in_row} in a row "
                f"(nonfinite_patience: {self.nonfinite_patience}). Check "
                "these clips, lower lr, set max_grad_norm (for example 1.0), "
                "or train with --precision fp32 or bf16."
            )
        # fp16 looks for its loss scale by skipping steps, which is no fault
        log = logger.info if self.scaler.is_enabled() else logger.warning
        log(f"{what}: this step is skipped.")

    def on_fit_start(self):
        """Recover, and what was skipped and left out as well."""
        super().on_fit_start()
        self.restore_counts()

    def restore_counts(self):
        """Go on counting skipped steps and clips that are left out."""
        latest = self._latest()
        self.skipped_steps = latest.get("skipped_steps", 0)
        self.bad_clips.restore(latest.get("bad_clips", "{}"))

    def _meta(self):
        """Add the number of skipped steps, and the clips left out."""
        return {
            **super()._meta(),
            "skipped_steps": self.skipped_steps,
            "bad_clips": self.bad_clips.as_text(),
        }

    def progress(self, loader, title, enable=None, total=None):
        """Wrap a loader in a `Progress`, shown by the main process only."""
        if enable is None:
            enable = not self.noprogressbar and if_main_process()
        return Progress(loader, title, enable, self.step, total)

    def _fit_train(self, train_set, epoch, enable):
        """Train one epoch, measuring how long it waits for data."""
        if self.frozen.thaws(epoch):
            self.frozen.thaw()
            self._wrap_distributed()
        self.epoch, self.group_ids = epoch, []
        self.n_batches, self.step_at_start = len(train_set), self.step
        if self._draws_in_order():
            self.train_sampler.set_epoch(epoch)
            # a resumed epoch has less to draw
            self.n_batches = self.step + len(train_set)
        if self.debug:
            self.n_batches = min(self.n_batches, self.debug_batches)
        self.steps_per_epoch = self._n_steps(self.n_batches)
        dataset = getattr(train_set, "dataset", None)
        if hasattr(dataset, "set_epoch"):
            dataset.set_epoch(epoch)
        # The loader draws the seeds of its workers from torch's generator
        self._seed(0)
        self.timed = self.progress(
            train_set, f"epoch {epoch}", enable, self.n_batches
        )
        with interruption.after_step():
            super()._fit_train(self.timed, epoch, enable=False)
        self.n_losses = 0

    def _fit_valid(self, valid_set, epoch, enable):
        """Validate, with a bar that vanishes."""
        if valid_set is not None:
            title = f"epoch {epoch}, valid"
            valid_set = self.progress(valid_set, title, enable)
        super()._fit_valid(valid_set, epoch, enable=False)
