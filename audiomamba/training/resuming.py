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
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import IterableDataset

from audiomamba.dataio.batches import ClipBatch
from audiomamba.dataio.pipeline import ClipDataset
from audiomamba.dataio.problems import PreparationError
from audiomamba.dataio.samplers import EpochBatchSampler, ResumableSampler
from audiomamba.training.runs.environment import all_gather
from audiomamba.training.runs.interruption import Interrupted, interruption

logger = get_logger(__name__)


class ResumableBrain(sb.Brain):
    """A Brain that draws the clips of an epoch and can resume mid-epoch.

    - The clips of an epoch are a function of seed and epoch, shared by all
      ranks; see `audiomamba.dataio.samplers`.
    - Checkpoints keep the place in that order: a run may resume with another
      batch size or number of processes, and each clip is still drawn once.
      They are saved between groups of gradient accumulation only.
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
        self.epoch, self.n_losses = 0, 0
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
            # Of one vector there is no variance
            least=2 if self.normalises_batches() else 1,
        )
        return {**others, "batch_sampler": self.train_sampler}

    def normalises_batches(self):
        """Whether a module has batch normalisation."""
        modules = self.modules.modules()
        return any(isinstance(module, _BatchNorm) for module in modules)

    def _wrap_distributed(self):
        """Wrap the modules that train now; some may be wrapped already."""
        for name, module in self.modules.items():
            if isinstance(module, DistributedDataParallel):
                self.modules[name] = module.module
        on_cpu = torch.device(self.device).type == "cpu"
        if not (self.distributed_launch and on_cpu):
            super()._wrap_distributed()
            return
        if self.normalises_batches():
            logger.warning(
                "On CPUs each process normalises its own part of a batch, so "
                "the result depends on the number of processes."
            )
        for name, module in self.modules.items():
            if any(param.requires_grad for param in module.parameters()):
                # SpeechBrain would put in SyncBatchNorm, which needs a GPU
                self.modules[name] = DistributedDataParallel(
                    module, find_unused_parameters=self.find_unused_parameters
                )

    def _train_loader_specifics(self, dataset, loader_kwargs):
        """Keep a given sampler; the recipes' own needs nothing else."""
        if self._draws_in_order():
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

    def _draws_in_order(self):
        """Whether the sampler is one of ours, which can resume anywhere."""
        return isinstance(self.train_sampler, ResumableSampler)

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
            ckpt_prefix = None  # the sampler keeps the place in the epoch
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
        before = self.step * self._n_processes()
        self.n_losses = latest.get("n_losses", before) / self._n_processes()
        if self._draws_in_order() and self._per_step() in latest:
            self._go_on(latest)

    def _per_step(self):
        """The key of a checkpoint's meta for the size of a step."""
        return f"{self.train_sampler.UNIT}_per_step"

    def _go_on(self, latest):
        """Resume in the middle of an epoch, with steps of any size."""
        sampler, done, drawn = self.train_sampler, latest.get("epoch", 0), 0
        if INTRA_EPOCH_CKPT_FLAG in latest:
            done, drawn = latest["in_epoch"] - 1, latest[sampler.UNIT]
            sampler.resume(done + 1, drawn)
        old, new = latest[self._per_step()], sampler.per_step
        if old == new:
            return
        sampler.set_epoch(done + 1)
        share = drawn / sampler.n_items
        batches = sampler.count_batches(sampler.n_items)
        groups = int(share * self._n_steps(batches))
        self.step = groups * self.grad_accumulation_factor
        self.optimizer_step = done * self._n_steps(batches) + groups
        logger.warning(
            f"Resumed with {new} {sampler.UNIT} per step, not {old}. Each is "
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
        if self._draws_in_order():
            meta[self._per_step()] = self.train_sampler.per_step
        return meta

    def _save_intra_epoch_ckpt(self):
        """Save within an epoch, replacing the last such checkpoint."""
        where = f"epoch {self.epoch}, step {self.step} of {self.n_batches}"
        if self.checkpointer is not None:
            meta = {**self._meta(), INTRA_EPOCH_CKPT_FLAG: True}
            if self._draws_in_order():
                batches = self.step - self.step_at_start
                meta["in_epoch"] = self.epoch
                sampler = self.train_sampler
                meta[sampler.UNIT] = sampler.n_drawn(batches)
            # Only the main process saves; each loads what stands for all
            self.avg_train_loss, n_losses = self.shared_loss()
            self.n_losses = n_losses / self._n_processes()
            meta["n_losses"] = n_losses
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

    def update_average(self, loss, avg_loss):
        """Average the finite losses of an epoch's training.

        SpeechBrain divides by the steps, those that were skipped included.

        Arguments
        ---------
        loss : torch.Tensor
            Of a batch.
        avg_loss : float
            Of the batches before.

        Returns
        -------
        float
        """
        if not self.modules.training:
            return super().update_average(loss, avg_loss)
        if not torch.isfinite(loss):
            return avg_loss
        self.n_losses += 1
        return avg_loss + (float(loss) - avg_loss) / self.n_losses

    def shared_loss(self):
        """Average the losses of the epoch over all processes.

        All processes must call it.

        Returns
        -------
        loss : float
            The mean; 0 if there are none.
        n_losses : float
            How many.
        """
        parts = all_gather((self.avg_train_loss, self.n_losses))
        n_losses = sum(n for _, n in parts)
        total = sum(loss * n for loss, n in parts)
        return total / max(n_losses, 1), n_losses

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
