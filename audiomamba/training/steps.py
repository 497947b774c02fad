"""Training steps that stay right when something goes wrong."""

import math
import random
import time

import numpy as np
import speechbrain as sb
import torch
from speechbrain.core import INTRA_EPOCH_CKPT_FLAG, Stage
from speechbrain.utils.checkpoints import ckpt_recency
from speechbrain.utils.logger import get_logger

from audiomamba.training.loading import TimedLoader
from audiomamba.training.optim import (
    checked_max_norm,
    clip_gradients,
    parameter_groups,
    scale_learning_rates,
    set_learning_rates,
)

logger = get_logger(__name__)


def seed_of_step(seed, rank, epoch, step):
    """A seed of its own for every training step of every rank.

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


class CarefulBrain(sb.Brain):
    """A Brain whose steps can be repeated, interrupted and trusted.

    - Every training step draws from its own seed, made from the run's seed,
      rank, epoch and step.  Augmentation and drop path need no saved state,
      differ between ranks, and a run that was killed goes on exactly.
    - The rate is a pure function of step and epoch, applied group by group
      right before an optimiser step.
    - Gradients are clipped over all groups; a step with a loss or gradient
      that is not finite is left out, and too many of them stop the run.
    - The last, incomplete group of accumulated batches of an epoch counts, by
      its own size.  Checkpoints fall between groups only.
    - Under torchrun each rank evaluates its share of a split.

    Sub-classes write ``compute_forward`` and ``compute_objectives``.

    Arguments
    ---------
    *args, **kwargs
        As for ``sb.Brain``; the hyperparameters must have ``REQUIRED``.

    Example
    -------
    >>> from audiomamba.training.schedules import WarmupMultiStep
    >>> class Regression(CarefulBrain):
    ...     def compute_forward(self, batch, stage):
    ...         return self.modules.classifier(batch)
    ...
    ...     def compute_objectives(self, predictions, batch, stage):
    ...         return (predictions - 1).square().mean()
    >>> hparams = {"seed": 1, "head_lr_scale": 1.0}
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

    REQUIRED = ("seed", "lr_schedule", "head_lr_scale")

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
        self.max_grad_norm = checked_max_norm(self.max_grad_norm)
        self.rank = getattr(self, "rank", 0)
        self.epoch = 0

    def init_optimizers(self):
        """Make the optimiser over groups that keep their own rates."""
        groups = parameter_groups(
            self.modules, head_lr_scale=self.hparams.head_lr_scale
        )
        self.optimizer = self.opt_class(groups)
        scale_learning_rates(self.optimizer)
        self.optimizers_dict = {"opt_class": self.optimizer}
        if self.checkpointer is not None:
            self.checkpointer.add_recoverable("optimizer", self.optimizer)

    def on_fit_batch_start(self, batch, should_step):
        """Seed the step."""
        self._seed(self.step)

    def _seed(self, step):
        seed = seed_of_step(self.hparams.seed, self.rank, self.epoch, step)
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)

    def _group_of_step(self):
        """Whether this batch ends a group, and the size of its group."""
        factor = self.grad_accumulation_factor
        done_before = (self.n_batches - 1) // factor * factor
        in_last = self.step > done_before
        ends = self.step % factor == 0 or self.step == self.n_batches
        return ends, self.n_batches - done_before if in_last else factor

    def fit_batch(self, batch):
        """Train on one batch.

        Arguments
        ---------
        batch : PaddedBatch
            As for `compute_forward`.

        Returns
        -------
        torch.Tensor
            The detached loss, on the CPU.
        """
        should_step, group_size = self._group_of_step()
        self.on_fit_batch_start(batch, should_step)
        with self.no_sync(not should_step):
            with self.training_ctx:
                outputs = self.compute_forward(batch, Stage.TRAIN)
                loss = self.compute_objectives(outputs, batch, Stage.TRAIN)
            if not torch.isfinite(loss):
                self._count_nonfinite(f"the loss{self._names(batch)}")
                self.group_is_broken = True
            self.scaler.scale(loss / group_size).backward()
        if should_step:
            self.optimizers_step()
        self.on_fit_batch_end(batch, outputs, loss, should_step)
        return loss.detach().cpu()

    @staticmethod
    def _names(batch):
        """Clips of a batch for a message; empty where they have no name."""
        ids = getattr(batch, "id", None)
        return f" of clips {', '.join(map(str, ids))}" if ids else ""

    def _count_nonfinite(self, what):
        """Warn of a step that is left out; give up after too many."""
        self.nonfinite_count += 1
        where = f"{what} is not finite (epoch {self.epoch}, step {self.step})"
        if self.nonfinite_count > self.nonfinite_patience:
            raise ValueError(
                f"{where}, number {self.nonfinite_count} in this epoch: "
                "lower lr, set max_grad_norm (for example 1.0), or train "
                "with --precision fp32. nonfinite_patience is "
                f"{self.nonfinite_patience}."
            )
        logger.warning(f"{where}: this step changes no weight.")

    def optimizers_step(self):
        """Set the rates, clip over all groups, step if all is finite."""
        optimizers = self.freeze_optimizers(self.optimizers_dict).values()
        factor = self.hparams.lr_schedule(
            self.optimizer_step, self.epoch, self.steps_per_epoch
        )
        for optimizer in optimizers:
            set_learning_rates(optimizer, factor)
            self.scaler.unscale_(optimizer)
        norm = clip_gradients(optimizers, self.max_grad_norm)
        # The norm is that of the reduced gradients, so all ranks agree.  The
        # scaler of fp16 looks for itself and lowers its scale.
        if self.scaler.is_enabled() or torch.isfinite(norm):
            for optimizer in optimizers:
                self.scaler.step(optimizer)
        elif not self.group_is_broken:
            self._count_nonfinite("the gradient")
        self.scaler.update()
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        self.group_is_broken = False
        self.optimizer_step += 1

    def make_dataloader(
        self, dataset, stage, ckpt_prefix="dataloader-", **loader_kwargs
    ):
        """Make a loader; see ``sb.Brain``.

        A training sampler of one's own is told the epoch, and evaluation is
        shared out over the ranks.
        """
        if stage != Stage.TRAIN and self.distributed_launch:
            ranks = torch.distributed.get_world_size()
            loader_kwargs["sampler"] = range(self.rank, len(dataset), ranks)
        loader = super().make_dataloader(
            dataset, stage, ckpt_prefix, **loader_kwargs
        )
        if stage == Stage.TRAIN and self.train_sampler is None:
            self.train_sampler = loader_kwargs.get(
                "sampler", loader_kwargs.get("batch_sampler")
            )
        return loader

    def on_fit_start(self):
        """Recover, and go on counting the time."""
        super().on_fit_start()
        self.started = time.monotonic() - self.train_seconds()

    def _fit_train(self, train_set, epoch, enable):
        """Train one epoch, measuring how long it waits for data."""
        self.epoch = epoch
        self.group_is_broken = False
        self.n_batches = len(train_set)
        self.steps_per_epoch = math.ceil(
            self.n_batches / self.grad_accumulation_factor
        )
        dataset = getattr(train_set, "dataset", None)
        if hasattr(dataset, "set_epoch"):
            dataset.set_epoch(epoch)
        # The loader draws the seeds of its workers from torch's generator.
        self._seed(0)
        self.timed = TimedLoader(train_set)
        super()._fit_train(self.timed, epoch, enable)

    def _should_save_intra_epoch_ckpt(self, last_ckpt_time, steps_since_ckpt):
        """Not inside a group: its gathered gradients would be lost."""
        wanted = super()._should_save_intra_epoch_ckpt(
            last_ckpt_time, steps_since_ckpt
        )
        return wanted and self._group_of_step()[0]

    def _save_intra_epoch_ckpt(self):
        """Save in the middle of an epoch, with the time so far."""
        self.checkpointer.save_and_keep_only(
            meta={
                INTRA_EPOCH_CKPT_FLAG: True,
                "train_seconds": time.monotonic() - self.started,
            },
            end_of_epoch=False,
            num_to_keep=1,
            ckpt_predicate=lambda ckpt: INTRA_EPOCH_CKPT_FLAG in ckpt.meta,
        )

    def _latest(self):
        """The newest checkpoint's meta; empty where there is none."""
        if self.checkpointer is None:
            return {}
        latest = self.checkpointer.find_checkpoint(importance_key=ckpt_recency)
        return latest.meta if latest is not None else {}

    def train_seconds(self):
        """Seconds of training and validation up to the newest checkpoint."""
        return self._latest().get("train_seconds", 0.0)

    def epochs_trained(self):
        """Epochs finished up to the newest checkpoint."""
        return self._latest().get("epoch", 0)
