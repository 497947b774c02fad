"""The Brain of the clip classification recipes."""

import time

import torch
from speechbrain.core import Stage
from speechbrain.dataio.batch import PaddedData
from torch.nn.parallel import DistributedDataParallel
from tqdm.auto import tqdm

from audiomamba.lobes.weights import CheckpointError
from audiomamba.training.checkpoints import best_first
from audiomamba.training.encoders import as_embedding, takes_lengths
from audiomamba.training.initial import tests_given_weights
from audiomamba.training.protocols import PROTOCOLS
from audiomamba.training.steps import CarefulBrain


def plain_targets(targets):
    """Targets as a loss takes them, from what SpeechBrain's batches hold.

    Arguments
    ---------
    targets : torch.Tensor or PaddedData
        Indices [B], encoded labels [B, 1], or rows [B, C].

    Returns
    -------
    torch.Tensor
        Indices [B] or rows [B, C].

    Example
    -------
    >>> plain_targets(torch.tensor([[2], [0]]))
    tensor([2, 0])
    """
    if isinstance(targets, PaddedData):
        targets = targets.data
    if targets.dim() == 2 and not targets.is_floating_point():
        return targets.squeeze(1) if targets.shape[1] == 1 else targets
    return targets


class ClassificationBrain(CarefulBrain):
    """Trains and tests a clip classifier over any SpeechBrain encoder.

    Waveforms go through ``compute_features``, ``mean_var_norm``,
    ``embedding_model`` and ``classifier`` (the names of ``modules``), with
    augmentation in between while training.  Batches carry ``id``, ``sig``
    (padded waveforms) and ``target`` (class index, or multi-hot row).

    Scores of all ranks are united, and the epoch is chosen by one or more
    named protocols; their figures come from one run.

    The hyperparameters must have ``seed``, ``n_classes``, ``compute_loss``,
    ``metrics``, ``lr_schedule``, ``head_lr_scale``, ``protocols``,
    ``epoch_log``, and ``wav_augment``, ``spec_augment``, ``norm_augment``,
    each an object or null: called with (wavs, lengths, targets), with (feats,
    lengths), and with the normalised feats.

    Arguments
    ---------
    *args, **kwargs
        As for `CarefulBrain`; the checkpointer an ``AtomicCheckpointer``.
    """

    REQUIRED = (
        *CarefulBrain.REQUIRED,
        "n_classes",
        "compute_loss",
        "metrics",
        "protocols",
        "epoch_log",
        "wav_augment",
        "spec_augment",
        "norm_augment",
    )

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        unknown = set(self.hparams.protocols) - set(PROTOCOLS)
        if unknown or not self.hparams.protocols:
            raise ValueError(
                f"protocols: {self.hparams.protocols}; a list of "
                f"{', '.join(PROTOCOLS)}, the headline first."
            )
        self.reported_set = None
        self.clips = {}
        self.encoder_takes_lengths = takes_lengths(self.modules.embedding_model)

    # ------------------------------------------------------------- forward

    def _module(self, name, stage):
        """A module; while evaluating, what DDP wraps.

        Its synchronisation would wait for ranks that have fewer batches.
        """
        module = self.modules[name]
        if stage != Stage.TRAIN and isinstance(module, DistributedDataParallel):
            return module.module
        return module

    def compute_forward(self, batch, stage):
        """Compute logits.

        Arguments
        ---------
        batch : PaddedBatch
            With ``sig`` and, but for unlabelled test data, ``target``.
        stage : Stage
            Augmentation acts while training only.

        Returns
        -------
        tuple
            logits [B, C], and the targets after augmentation; ``None`` where
            there are none.
        """
        batch = batch.to(self.device)
        wavs, lengths = batch.sig
        targets = None
        if hasattr(batch, "target"):
            targets = plain_targets(batch.target)
        hparams, augment = self.hparams, stage == Stage.TRAIN
        if augment and hparams.wav_augment is not None:
            wavs, lengths, targets = hparams.wav_augment(wavs, lengths, targets)
        extractor = self.modules.compute_features
        feats = extractor(wavs, lengths)
        lengths = extractor.frame_lengths(lengths, wavs.shape[1])
        if augment and hparams.spec_augment is not None:
            feats = hparams.spec_augment(feats, lengths)
        feats = self.modules.mean_var_norm(feats, lengths)
        if augment and hparams.norm_augment is not None:
            feats = hparams.norm_augment(feats)
        emb = self.embed(feats, lengths, stage)
        return self._module("classifier", stage)(emb).squeeze(1), targets

    def embed(self, feats, lengths, stage):
        """Run the encoder, whatever shape SpeechBrain's give.

        Arguments
        ---------
        feats : torch.Tensor
            [B, T, F].
        lengths : torch.Tensor
            Relative lengths [B].
        stage : Stage
            Where in the run.

        Returns
        -------
        torch.Tensor
            [B, 1, D].
        """
        encoder = self._module("embedding_model", stage)
        args = (feats, lengths) if self.encoder_takes_lengths else (feats,)
        return as_embedding(encoder(*args))

    def compute_objectives(self, predictions, batch, stage):
        """Compute the loss and, while evaluating, collect the scores.

        Arguments
        ---------
        predictions : tuple
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
        logits, targets = predictions
        loss = self.hparams.compute_loss(logits, targets)
        if stage != Stage.TRAIN:
            self.hparams.metrics.append(batch.id, logits, targets, loss)
        return loss

    # ------------------------------------------------------------ training

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
            What to train on and what to validate on after each epoch.
        reported_set : DynamicItemDataset
            The split whose figure is reported, for the protocol ``paper``; may
            be ``valid_set`` itself, which is then evaluated once and named
            ``test`` in the log.
        progressbar : bool
            Whether to show one; by default unless ``--noprogressbar``.
        train_loader_kwargs, valid_loader_kwargs : dict
            Options of the loaders; the second also for ``reported_set``.
        """
        self.n_epochs = epoch_counter.limit
        self.clips["train"] = len(train_set)
        self.validates_on_reported = reported_set is valid_set
        if self.validates_on_reported and "honest" in self.hparams.protocols:
            raise ValueError(
                "protocol 'honest' needs a valid_set that is not the reported "
                "one; hold out a part of the training set, or take 'last'."
            )
        if not self.validates_on_reported:
            self.clips["valid"] = len(valid_set)
        if "paper" in self.hparams.protocols and not self.test_only:
            if reported_set is None:
                raise ValueError("protocol 'paper' needs fit(reported_set=).")
            if not self.validates_on_reported:
                self.reported_set = self.make_dataloader(
                    reported_set,
                    Stage.TEST,
                    None,
                    **(valid_loader_kwargs or {}),
                )
        super().fit(
            epoch_counter,
            train_set,
            valid_set,
            progressbar,
            train_loader_kwargs or {},
            valid_loader_kwargs or {},
        )

    def _fit_valid(self, valid_set, epoch, enable):
        """Validate, on the reported split too where a protocol needs it."""
        self.reported = None
        if self.reported_set is not None:
            self.reported = self._score(self.reported_set, enable)
        super()._fit_valid(valid_set, epoch, enable)

    @torch.no_grad()
    def _score(self, loader, enable):
        """Metrics of a split with the present weights."""
        self.modules.eval()
        self.hparams.metrics.clear()
        for count, batch in enumerate(tqdm(loader, disable=not enable), 1):
            self.evaluate_batch(batch, Stage.TEST)
            if self.debug and count == self.debug_batches:
                break
        self.hparams.metrics.gather()
        return self.hparams.metrics.summarise()

    def on_stage_start(self, stage, epoch=None):
        """Begin to collect scores."""
        self.stage_started = time.monotonic()
        self.hparams.metrics.clear()

    def on_stage_end(self, stage, stage_loss, epoch=None):
        """Compute the metrics; after validation log and save.

        Arguments
        ---------
        stage : Stage
            The stage that ends.
        stage_loss : float
            The mean training loss; ignored after the other stages, whose
            loss is that of the metrics, weighted by clips.
        epoch : int
            The epoch, ``None`` at the test.
        """
        if stage == Stage.TRAIN:
            seconds = time.monotonic() - self.stage_started
            self.train_stats = {
                "loss": stage_loss,
                "lr": self.optimizer.param_groups[0]["lr"],
                "seconds": round(seconds, 1),
                "data_wait": round(self.timed.waited / seconds, 4),
            }
            return
        self.hparams.metrics.gather()
        self.stats = self.hparams.metrics.summarise()
        if stage == Stage.VALID:
            self._end_epoch(epoch)

    def _end_epoch(self, epoch):
        """Log one line and save a checkpoint that both protocols can find."""
        validated = "test" if self.validates_on_reported else "valid"
        parts = {"train": self.train_stats, validated: self.stats}
        if self.reported is not None:
            parts["test"] = self.reported
        self.hparams.epoch_log.write(epoch, parts, self.n_epochs)
        if self.checkpointer is None:
            return
        headline = self.hparams.metrics.headline
        meta = {
            f"{split}_{headline}": parts[split][headline]
            for split in ("valid", "test")
            if split in parts
        }
        self.checkpointer.save_and_keep_best(
            {
                **meta,
                "epoch": epoch,
                "train_seconds": time.monotonic() - self.started,
            },
            keys=list(meta),
        )

    # ------------------------------------------------------------- testing

    def evaluate(
        self,
        test_set,
        max_key=None,
        min_key=None,
        progressbar=None,
        test_loader_kwargs=None,
    ):
        """Evaluate; as ``sb.Brain.evaluate``, which alters the options."""
        return super().evaluate(
            test_set,
            max_key,
            min_key,
            progressbar,
            dict(test_loader_kwargs or {}),
        )

    def on_evaluate_start(self, max_key=None, min_key=None):
        """Load the best checkpoint for a key; without one keep the weights."""
        if max_key is None:
            return
        chosen = self.checkpointer.find_checkpoint(
            importance_key=best_first(max_key),
            ckpt_predicate=lambda ckpt: max_key in ckpt.meta,
        )
        if chosen is None:
            raise CheckpointError(
                f"no checkpoint with {max_key} in "
                f"{self.checkpointer.checkpoints_dir}: train first, without "
                "--test_only, with the same protocols and output_folder; or "
                "give weights to test with --init_from."
            )
        self.checkpointer.load_checkpoint(chosen)
        self.chosen = chosen.meta

    def test(self, test_set, test_loader_kwargs=None):
        """Test the checkpoint that each protocol chooses.

        The weights of the first protocol, the headline, stay loaded.  With
        ``--test_only`` in a folder without checkpoints, the weights of
        ``init_from`` are tested as they are, under the name ``init_from``.

        Arguments
        ---------
        test_set : DynamicItemDataset
            The split whose figure is reported.
        test_loader_kwargs : dict
            Options of its loader.

        Returns
        -------
        dict
            Protocol -> ``epoch``, ``rule`` and the metrics on ``test``.
        """
        self.clips["test"] = len(test_set)
        source = self.hparams.init_from
        if tests_given_weights(self.checkpointer, source, self.test_only):
            self.evaluate(test_set, test_loader_kwargs=test_loader_kwargs)
            rule = f"weights of {source} as they are"
            given = {"epoch": 0, "rule": rule, "chosen_by": {}}
            return {"init_from": {**given, "test": self.stats}}
        tested = {}
        for protocol in reversed(self.hparams.protocols):
            split, rule = PROTOCOLS[protocol]
            headline = self.hparams.metrics.headline
            key = f"{split}_{headline}" if split else "epoch"
            self.evaluate(
                test_set, max_key=key, test_loader_kwargs=test_loader_kwargs
            )
            tested[protocol] = {
                "epoch": self.chosen["epoch"],
                "rule": rule,
                "chosen_by": {key: self.chosen[key]},
                "test": self.stats,
            }
        return {name: tested[name] for name in self.hparams.protocols}

    # ------------------------------------------------------------- figures

    def count_parameters(self):
        """Parameters of encoder and classifier."""
        return sum(p.numel() for p in self.modules.parameters())
