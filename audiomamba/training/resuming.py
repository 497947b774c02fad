"""Training that resumes mid-epoch, with any number of processes."""

import logging
import math
import time

import speechbrain as sb
import torch
from speechbrain.core import INTRA_EPOCH_CKPT_FLAG, Stage
from speechbrain.utils.checkpoints import ckpt_recency
from speechbrain.utils.distributed import ddp_barrier
from speechbrain.utils.logger import get_logger
from torch.utils.data import IterableDataset

from audiomamba.dataio.batches import ClipBatch
from audiomamba.dataio.pipeline import ClipDataset
from audiomamba.dataio.problems import PreparationError
from audiomamba.dataio.samplers import EpochBatchSampler
from audiomamba.training.runs.environment import all_gather
from audiomamba.training.runs.interruption import Interrupted, interruption

logger = get_logger(__name__)


class ResumableBrain(sb.Brain):
    """A Brain that draws the clips of an epoch and can resume mid-epoch.

    - The clips of an epoch are a function of seed and epoch, shared by all
      ranks; see `audiomamba.dataio.samplers.EpochBatchSampler`.
    - Checkpoints keep the place in an epoch in clips: a run may resume with
      another batch size or number of processes, and each clip is still drawn
      once.  They are saved between groups of gradient accumulation only.
    - A signal ends a run after its step, saved; see
      `audiomamba.training.runs.interruption.Interruption`.
    - Under torchrun each rank evaluates its share of a split.

    Arguments
    ---------
    *args, **kwargs
        As for ``sb.Brain``; the hyperparameters with ``seed``.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.rank = getattr(self, "rank", 0)
        self.epoch = 0
        self.stops = False

    def _epoch_batches(self, dataset, batch_size=1, shuffle=False, **others):
        """Options of a loader that draws the batches of an epoch."""
        self.train_sampler = EpochBatchSampler(
            len(dataset),
            batch_size,
            self.hparams.seed,
            shuffle,
            getattr(dataset, "weights", None),
            self.rank,
            self._n_processes(),
        )
        return {**others, "batch_sampler": self.train_sampler}

    def _train_loader_specifics(self, dataset, loader_kwargs):
        """Keep a given sampler; the recipes' own needs nothing else."""
        if self._draws_clips():
            return loader_kwargs
        given = {"sampler", "batch_sampler"} & set(loader_kwargs)
        if given and getattr(dataset, "weights", None) is not None:
            raise PreparationError(
                f"balanced_sampling has no effect beside the {given.pop()} of "
                "train_loader: leave one out."
            )
        loader_kwargs = super()._train_loader_specifics(dataset, loader_kwargs)
        if self.train_sampler is None and given:
            self.train_sampler = loader_kwargs[given.pop()]
        return loader_kwargs

    def _draws_clips(self):
        """Whether the clips of the epochs are drawn by `EpochBatchSampler`."""
        return isinstance(self.train_sampler, EpochBatchSampler)

    def _n_processes(self):
        if not self.distributed_launch:
            return 1
        return torch.distributed.get_world_size()

    def make_dataloader(
        self, dataset, stage, ckpt_prefix="dataloader-", **loader_kwargs
    ):
        """Make a loader; evaluation is divided among the ranks.

        Arguments
        ---------
        dataset, stage, ckpt_prefix, **loader_kwargs
            As for ``sb.Brain``.

        Returns
        -------
        DataLoader
        """
        given = {"sampler", "batch_sampler"} & set(loader_kwargs)
        iterable = isinstance(dataset, IterableDataset)
        if stage == Stage.TRAIN and not given and not iterable:
            loader_kwargs = self._epoch_batches(dataset, **loader_kwargs)
            ckpt_prefix = None  # the place in the epoch is saved in clips
        elif stage != Stage.TRAIN and self.distributed_launch:
            loader_kwargs["sampler"] = range(
                self.rank, len(dataset), self._n_processes()
            )
        loader_kwargs.setdefault("worker_init_fn", interruption.watch_in_worker)
        if isinstance(dataset, ClipDataset):
            loader_kwargs.setdefault("collate_fn", ClipBatch)
        return super().make_dataloader(
            dataset, stage, ckpt_prefix, **loader_kwargs
        )

    def on_fit_start(self):
        """Recover the newest checkpoint and the training time so far."""
        if self.checkpointer is not None:
            self.checkpointer.remove_leftovers()
            ddp_barrier()
        super().on_fit_start()
        latest = self._latest()
        self.started = time.monotonic() - latest.get("train_seconds", 0.0)
        if self._draws_clips() and "clips_per_step" in latest:
            self._go_on(latest)

    def _go_on(self, latest):
        """Resume in the middle of an epoch, with steps of any size."""
        sampler, done, drawn = self.train_sampler, latest.get("epoch", 0), 0
        if INTRA_EPOCH_CKPT_FLAG in latest:
            done, drawn = latest["in_epoch"] - 1, latest["clips"]
            sampler.resume(done + 1, drawn)
        old, new = latest["clips_per_step"], sampler.clips_per_step
        if old == new:
            return
        share = drawn / sampler.n_clips
        batches = sampler.count_batches(sampler.n_clips)
        groups = int(share * self._n_steps(batches))
        self.step = groups * self.grad_accumulation_factor
        self.optimizer_step = done * self._n_steps(batches) + groups
        logger.warning(
            f"Resumed with {new} clips per step instead of {old}. Each clip is "
            "still drawn once in an epoch, and the learning rate goes on from "
            f"the same share of the training. An epoch has {batches} steps."
        )

    def _n_steps(self, n_batches):
        """Count the optimiser's steps for some batches."""
        return math.ceil(n_batches / self.grad_accumulation_factor)

    def _group_of_step(self):
        """Whether this batch ends a group, and the size of its group."""
        factor = self.grad_accumulation_factor
        done_before = (self.n_batches - 1) // factor * factor
        in_last = self.step > done_before
        ends = self.step % factor == 0 or self.step == self.n_batches
        return ends, self.n_batches - done_before if in_last else factor

    def _should_save_intra_epoch_ckpt(self, last_ckpt_time, steps_since_ckpt):
        """Not inside a group: its gathered gradients would be lost.

        At an epoch's last step always, so that a run that is stopped while it
        validates loses no training; and when a signal asks for it.
        """
        wanted = super()._should_save_intra_epoch_ckpt(
            last_ckpt_time, steps_since_ckpt
        )
        if not self._group_of_step()[0]:
            return False
        self.stops = interruption.asked(self.device)
        return wanted or self.stops or self.step == self.n_batches

    def _meta(self):
        """What every checkpoint says about the training so far."""
        meta = {"train_seconds": time.monotonic() - self.started}
        if self._draws_clips():
            meta["clips_per_step"] = self.train_sampler.clips_per_step
        return meta

    def _save_intra_epoch_ckpt(self):
        """Save within an epoch, replacing the last such checkpoint."""
        where = f"epoch {self.epoch}, step {self.step} of {self.n_batches}"
        if self.checkpointer is not None:
            meta = {**self._meta(), INTRA_EPOCH_CKPT_FLAG: True}
            if self._draws_clips():
                batches = self.step - self.step_at_start
                meta["in_epoch"] = self.epoch
                meta["clips"] = self.train_sampler.n_drawn(batches)
            # Only the main process saves; each loads what stands for all
            losses = all_gather(self.avg_train_loss)
            self.avg_train_loss = sum(losses) / len(losses)
            self.checkpointer.save_checkpoint(meta, end_of_epoch=False)
            # All arguments: SpeechBrain's defaults are lists that grow
            self.checkpointer.delete_checkpoints(
                importance_keys=[ckpt_recency],
                ckpt_predicate=lambda ckpt: INTRA_EPOCH_CKPT_FLAG in ckpt.meta,
                verbosity=logging.DEBUG,
            )
            where += ", and saved"
        if self.stops:
            raise Interrupted(where)

    def _latest(self):
        """The meta of the newest checkpoint; empty without one."""
        if self.checkpointer is None:
            return {}
        latest = self.checkpointer.find_checkpoint(importance_key=ckpt_recency)
        return latest.meta if latest is not None else {}

    def train_seconds(self):
        """Seconds of training and validation up to the newest checkpoint."""
        return self._latest().get("train_seconds", 0.0)

    def epochs_trained(self):
        """Finished epochs up to the newest checkpoint."""
        return self._latest().get("epoch", 0)
