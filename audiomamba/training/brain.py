"""The Brain of the recipes: trains, and tests the weights of each protocol."""

import math

import torch
from speechbrain.core import Stage
from speechbrain.utils.epoch_loop import EpochCounterWithStopper
from torch.nn.parallel import DistributedDataParallel

from audiomamba.dataio.problems import PreparationError
from audiomamba.lobes.clip_encoder import ClipEncoder
from audiomamba.pretrained.weights import CheckpointError
from audiomamba.training.protocols import (
    PROTOCOLS,
    best_first,
    check_averaged,
    check_averages,
    check_protocols,
    make_averages,
)
from audiomamba.training.steps import CarefulBrain

PARTS = ("compute_features", "mean_var_norm", "embedding_model")


class RecipeBrain(CarefulBrain):
    """Trains, chooses the epoch by one or more protocols, and tests it.

    Batches carry ``id``, ``sig`` (padded waveforms) and ``target``.
    Subclasses define ``compute_forward`` and ``compute_objectives``; outside of
    training, the latter appends to ``hparams.metrics``.

    Arguments
    ---------
    *args, **kwargs
        As for `CarefulBrain`; the checkpointer an ``AtomicCheckpointer``.
    """

    REQUIRED = (
        *CarefulBrain.REQUIRED,
        "metrics",
        "patience",
        "protocols",
        "average_from",
        "ema_decay",
        "epoch_log",
    )

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        check_protocols(self.hparams.protocols, has_valid=True)
        self.reported_set = None
        self.clips = {}
        # Training may wrap the modules, which share their parameters with these
        self.model = torch.nn.ModuleDict(dict(self.modules))
        self.averages = make_averages(
            self.model, self.hparams.average_from, self.hparams.ema_decay
        )
        for name, average in self.averages.items():
            self.checkpointer.add_recoverable(name, average)

    def module(self, name, stage):
        """Return a module; outside of training, without its DDP wrapper.

        The wrapper would wait for ranks that have fewer batches.
        """
        module = self.modules[name]
        if stage != Stage.TRAIN and isinstance(module, DistributedDataParallel):
            return module.module
        return module

    def clip_encoder(self, stage):
        """Return features, normalisation and encoder as one module."""
        return ClipEncoder(*(self.module(name, stage) for name in PARTS))

    def _compile(self):
        """Script or compile modules; explain if one cannot be scripted."""
        try:
            super()._compile()
        except Exception as error:
            if not self.jit:
                raise
            raise PreparationError(
                f"{error}\n--jit_module_keys: one of {self.jit_module_keys} "
                "cannot be scripted, see above. Leave it out, or give "
                "--compile instead."
            ) from error

    def fit(
        self,
        epoch_counter,
        train_set,
        valid_set,
        reported_set=None,
        progressbar=None,
        train_loader_kwargs=None,
        valid_loader_kwargs=None,
    ):
        """Train; see ``sb.Brain.fit``.

        Arguments
        ---------
        epoch_counter : EpochCounter
            Counts the epochs from 1; has a ``limit``.
        train_set, valid_set : DynamicItemDataset
            What to train on, and what to validate on after each epoch.
        reported_set : DynamicItemDataset
            The split that is reported, for the protocol ``paper``; may be
            ``valid_set`` itself, which is then evaluated once and called
            ``test`` in the log.
        progressbar : bool
            Whether to show one; by default unless ``--noprogressbar``.
        train_loader_kwargs, valid_loader_kwargs : dict
            Options of the loaders; the second also for ``reported_set``.
        """
        self.n_epochs = epoch_counter.limit
        self.clips["train"] = len(train_set)
        self.validates_on_reported = reported_set is valid_set
        check_protocols(self.hparams.protocols, not self.validates_on_reported)
        check_averages(
            self.hparams.protocols,
            self.hparams.average_from,
            self.hparams.ema_decay,
            self.n_epochs,
        )
        if not self.validates_on_reported:
            self.clips["valid"] = len(valid_set)
        if "paper" in self.hparams.protocols and not self.test_only:
            if reported_set is None:
                raise ValueError("protocol 'paper' needs fit(reported_set=).")
            if not self.validates_on_reported:
                self.reported_set = self._evaluation_loader(
                    reported_set, valid_loader_kwargs
                )
        super().fit(
            self._epochs(epoch_counter),
            train_set,
            valid_set,
            progressbar,
            train_loader_kwargs or {},
            valid_loader_kwargs or {},
        )

    def on_fit_start(self):
        """Recover, and how long ago the best epoch was as well."""
        super().on_fit_start()
        latest = self._latest()
        self.best_epoch = latest.get("best_epoch", 0)
        self.best_score = latest.get("best_score")

    def _meta(self):
        """Add the best epoch, for early stopping."""
        meta = super()._meta()
        if self.best_epoch:
            meta["best_epoch"] = self.best_epoch
            meta["best_score"] = self.best_score
        return meta

    def _epochs(self, counter):
        """Count the epochs, until the last or until patience runs out.

        The patience is that of the YAML, or of SpeechBrain's stopping counter,
        which takes an equal score for a better one and forgets a stop when it
        is loaded, so it is not asked itself.  A mean of weights has to begin.
        """
        patience, ignored = self.hparams.patience or math.inf, 0
        earliest = self.hparams.average_from or 0
        if isinstance(counter, EpochCounterWithStopper):
            patience = min(patience, counter.limit_to_stop)
            ignored = counter.limit_warmup
        while counter.current < counter.limit:
            if self._optimizer_step_limit_exceeded:
                return
            waited = counter.current - max(self.best_epoch, ignored)
            if waited >= patience and counter.current >= earliest:
                self.hparams.epoch_log.note(
                    f"stopped early: epoch {self.best_epoch} is the best, "
                    f"patience {patience}"
                )
                return
            yield next(counter)

    def _keep_best(self, epoch, score):
        """Remember the epoch with the best score, of equals the earliest."""
        sign = 1 if self.hparams.metrics.higher_is_better else -1
        if not self.best_epoch or sign * score > sign * self.best_score:
            self.best_epoch, self.best_score = epoch, score

    def optimizers_step(self):
        """Take a step, and follow it with the moving average."""
        super().optimizers_step()
        if "ema" in self.averages:
            self.averages["ema"].update_parameters(self.model)

    def _evaluation_loader(self, dataset, loader_kwargs):
        return self.make_dataloader(
            dataset, Stage.TEST, None, **(loader_kwargs or {})
        )

    def _fit_valid(self, valid_set, epoch, enable):
        """Validate, on the reported split too if a protocol needs it."""
        self.reported = None
        if self.reported_set is not None:
            title = f"epoch {epoch}, test"
            self.reported = self._score(self.reported_set, title, enable)
        super()._fit_valid(valid_set, epoch, enable)

    def score(self, dataset, title, loader_kwargs=None):
        """Collect the scores of a split with the present weights.

        Arguments
        ---------
        dataset : DynamicItemDataset
            The split.
        title : str
            Shown at the left of the bar.
        loader_kwargs : dict
            Options of its loader.

        Returns
        -------
        dict
            The metrics.
        """
        loader = self._evaluation_loader(dataset, loader_kwargs)
        return self._score(loader, title)

    @torch.no_grad()
    def _score(self, loader, title, enable=None):
        """Return the metrics of a split with the present weights."""
        self.modules.eval()
        self.hparams.metrics.clear()
        for count, batch in enumerate(self.progress(loader, title, enable), 1):
            self.evaluate_batch(batch, Stage.TEST)
            if self.debug and count == self.debug_batches:
                break
        self.bad_clips.gather()
        self.hparams.metrics.gather()
        return self.hparams.metrics.summarise()

    def on_stage_start(self, stage, epoch=None):
        """Start to collect scores."""
        self.hparams.metrics.clear()

    def on_stage_end(self, stage, stage_loss, epoch=None):
        """Summarise; after validation, log and save.

        Arguments
        ---------
        stage : Stage
            The stage that ends.
        stage_loss : float
            Not used: training has the mean over all ranks, the other stages
            have that of the metrics, weighted by clips.
        epoch : int
            The epoch.
        """
        if stage == Stage.TRAIN:
            loss, n_losses = self.shared_loss()
            base = self.optimizer.param_groups[0]
            self.train_stats = {
                "loss": loss if n_losses else math.nan,
                "lr": base["lr"] / base["lr_scale"],
                "seconds": round(self.timed.seconds, 1),
                "data_wait": round(self.timed.waited / self.timed.seconds, 4),
            }
            if self.skipped_steps:
                self.train_stats["skipped"] = self.skipped_steps
            return
        self.hparams.metrics.gather()
        self._end_epoch(epoch, self.hparams.metrics.summarise())

    def _end_epoch(self, epoch, stats):
        """Log one line and save a checkpoint that every protocol can find."""
        # --debug may end before that epoch
        due = self.debug or epoch >= (self.hparams.average_from or 0)
        if "average" in self.averages and due:
            self.averages["average"].update_parameters(self.model)
        validated = "test" if self.validates_on_reported else "valid"
        # Since the training of this epoch started, validation included
        seconds = {"seconds": round(self.timed.seconds, 1)}
        parts = {"train": self.train_stats, validated: stats, "epoch": seconds}
        if self.reported is not None:
            parts["test"] = self.reported
        metrics = self.hparams.metrics
        self.hparams.epoch_log.write(
            epoch, parts, metrics.headline, self.n_epochs
        )
        self.log_stats({"epoch": epoch}, parts)
        self._keep_best(epoch, stats[metrics.headline])
        if self.checkpointer is None:
            return
        headlines = {
            f"{split}_{metrics.headline}": parts[split][metrics.headline]
            for split in ("valid", "test")
            if split in parts
        }
        self.checkpointer.save_and_keep_best(
            {**self._meta(), **headlines, "epoch": epoch},
            headlines,
            metrics.higher_is_better,
        )

    def log_stats(self, meta, parts):
        """Pass figures on to a SpeechBrain ``train_logger``, if there is one.

        Arguments
        ---------
        meta : dict
            ``epoch``, or of a test ``Epoch loaded``, as in SpeechBrain's
            recipes; W&B drops what comes with an earlier epoch.
        parts : dict of dict
            Values by name for ``train``, ``valid`` and ``test``, or some of
            them.
        """
        train_logger = getattr(self.hparams, "train_logger", None)
        if train_logger is not None:
            names = ("train", "valid", "test")
            train_logger.log_stats(meta, *map(parts.get, names))

    def _load_best(self, key):
        """Load the best checkpoint for a key, and return it."""
        better = key == "epoch" or self.hparams.metrics.higher_is_better
        chosen = self.checkpointer.find_checkpoint(
            importance_key=best_first(key, better),
            ckpt_predicate=lambda ckpt: key in ckpt.meta,
        )
        if chosen is None:
            raise CheckpointError(
                f"There is no checkpoint with {key} in "
                f"{self.checkpointer.checkpoints_dir}: train first, without "
                "--test_only, with the same protocols and output_folder; or "
                "test given weights with --init_from."
            )
        self.checkpointer.load_checkpoint(chosen)
        return chosen

    def load_tested(self, protocol):
        """Load the weights that a protocol tests.

        Arguments
        ---------
        protocol : str
            Key of ``PROTOCOLS``.

        Returns
        -------
        dict
            Their ``epoch``, the ``rule``, and what they were ``chosen_by``.
        """
        split, rule = PROTOCOLS[protocol]
        key = f"{split}_{self.hparams.metrics.headline}" if split else "epoch"
        chosen = self._load_best(key)
        if protocol in self.averages:
            average = self.averages[protocol]
            check_averaged(average.n_averaged, chosen.path)
            self.model.load_state_dict(average.module.state_dict())
        return {
            "epoch": chosen.meta["epoch"],
            "rule": rule,
            "chosen_by": {key: chosen.meta[key]},
        }

    def test(self, test_set, test_loader_kwargs=None):
        """Test the checkpoint that each protocol chooses.

        The weights of the first protocol, the headline, stay loaded.  With
        ``--test_only`` in a folder without checkpoints, the weights of
        ``init_from`` are tested as they are, under the name ``init_from``.

        Arguments
        ---------
        test_set : DynamicItemDataset
            The split that is reported.
        test_loader_kwargs : dict
            Options of its loader.

        Returns
        -------
        dict
            Protocol -> ``epoch``, ``rule`` and the metrics on ``test``.
        """
        self.clips["test"] = len(test_set)
        if self.test_only:
            self.restore_counts()
        loader = self._evaluation_loader(test_set, test_loader_kwargs)
        source = getattr(self.hparams, "init_from", None)
        if self.test_only and source and not self._latest():
            given = {
                "epoch": 0,
                "rule": f"weights of {source} as they are",
                "chosen_by": {},
                "test": self._score(loader, "test"),
            }
            return {"init_from": given}
        tested = {}
        for protocol in reversed(self.hparams.protocols):
            entry = self.load_tested(protocol)
            tested[protocol] = {**entry, "test": self._score(loader, "test")}
        return {name: tested[name] for name in self.hparams.protocols}
