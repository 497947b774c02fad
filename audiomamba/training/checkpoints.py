"""Checkpoints: written whole or not at all, and read only if they are whole.

SpeechBrain's checkpointer writes the meta file before the parameters, in the
final folder: a process killed in between leaves a checkpoint that the next
start chooses and cannot load.  Here a checkpoint is written to another folder
and renamed when it is whole.  It carries the digests of its files, and one that
a disk or a copy has damaged is passed over.
"""

import logging
import numbers
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from speechbrain.utils.checkpoints import (
    CKPT_PREFIX,
    METAFNAME,
    Checkpointer,
    ckpt_recency,
    mark_as_loader,
    mark_as_saver,
    register_checkpoint_hooks,
)
from speechbrain.utils.distributed import (
    ddp_barrier,
    ddp_broadcast,
    if_main_process,
    main_process_only,
)
from speechbrain.utils.logger import get_logger

from audiomamba.dataio.files import SUMS, changed_files, write_sums
from audiomamba.pretrained.weights import (
    CheckpointError,
    label_difference,
    read_class_names,
    write_class_names,
)
from audiomamba.training.protocols import PROTOCOLS, best_first

logger = get_logger(__name__)

UNFINISHED = "unfinished-"
DAMAGED = "damaged-"
# In the meta: whether its scores are accuracies or error rates
HIGHER_IS_BETTER = "higher_is_better"


def plain_scalars(meta):
    """Turn numpy and tensor scalars of a meta mapping into Python's.

    The checkpointer would save other objects and then fail on every load, so
    they are refused.

    Arguments
    ---------
    meta : dict
        The meta of a checkpoint.

    Returns
    -------
    dict
        The same with plain str, bool, int and float values.

    Raises
    ------
    TypeError
        Naming the key that holds something else.

    Example
    -------
    >>> plain_scalars({"epoch": 3, "accuracy": torch.tensor(0.5)})
    {'epoch': 3, 'accuracy': 0.5}
    """
    plain = {}
    for key, value in meta.items():
        if _size(value) == 1:
            value = value.item()
        if not isinstance(value, (str, bool, numbers.Number)):
            raise TypeError(
                f"checkpoint meta {key!r} is a {type(value).__name__}; "
                "only plain numbers, strings and booleans can be loaded."
            )
        plain[key] = value
    return plain


def _size(value):
    """Number of entries of a tensor or numpy value, else ``None``."""
    if isinstance(value, torch.Tensor):
        return value.numel()
    return value.size if isinstance(value, (np.generic, np.ndarray)) else None


@register_checkpoint_hooks
class ClassNames:
    """The class names that a checkpoint's classifier was trained on.

    Saved in the format of SpeechBrain's ``CategoricalEncoder``.

    Arguments
    ---------
    labels : list of str
        Class names of the data, by index.

    Raises
    ------
    CheckpointError
        On loading a checkpoint of other classes.
    """

    def __init__(self, labels):
        self.labels = labels

    @mark_as_saver
    def save(self, path):
        """Write the names."""
        write_class_names(path, self.labels)

    @mark_as_loader
    def load(self, path, end_of_epoch):
        """Compare the names with those of the data."""
        difference = label_difference(read_class_names(path), self.labels)
        if difference:
            raise CheckpointError(
                f"{path} is of other classes than the data: {difference}."
            )


class AtomicCheckpointer(Checkpointer):
    """SpeechBrain's checkpointer, with whole checkpoints or none.

    Arguments
    ---------
    checkpoints_dir : str
        Folder of the checkpoints.
    recoverables : dict
        Objects to save and load, by name.
    **kwargs : dict
        As for SpeechBrain's ``Checkpointer``.

    Example
    -------
    >>> folder = getfixture("tmpdir")
    >>> layer = torch.nn.Linear(1, 1)
    >>> checkpointer = AtomicCheckpointer(folder, {"layer": layer})
    >>> saved = checkpointer.save_checkpoint(meta={"accuracy": 0.5})
    >>> checkpointer.recover_if_possible().meta["accuracy"]
    0.5
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._found = {}  # folder -> names of its damaged files

    def damaged_files(self, folder):
        """List the files of a checkpoint that are not as they were written.

        Arguments
        ---------
        folder : Path
            Of the checkpoint.  Each is read once; one without ``SHA256SUMS``,
            of an earlier version, counts as whole.

        Returns
        -------
        list of str
        """
        if folder not in self._found:
            summed = (folder / SUMS).exists()
            self._found[folder] = changed_files(folder) if summed else []
            if self._found[folder]:
                names = ", ".join(self._found[folder])
                logger.warning(f"{folder} is damaged ({names}): not used.")
        return self._found[folder]

    def _list_checkpoint_dirs(self):
        """Of all checkpoints, those that are whole."""
        folders = super()._list_checkpoint_dirs()
        return [path for path in folders if not self.damaged_files(path)]

    @main_process_only
    def remove_leftovers(self):
        """Tidy up after killed runs; for the run that trains here.

        What was half written or half deleted is removed, and damaged
        checkpoints are set aside.
        """
        for folder in list(self.checkpoints_dir.iterdir()):
            is_checkpoint = folder.name.startswith(CKPT_PREFIX)
            headless = is_checkpoint and not (folder / METAFNAME).exists()
            if folder.name.startswith(UNFINISHED) or headless:
                shutil.rmtree(folder)
            elif is_checkpoint and self.damaged_files(folder):
                self._set_aside(folder)

    def _set_aside(self, folder):
        """Rename a damaged checkpoint; say from where training goes on."""
        aside = folder.with_name(DAMAGED + folder.name)
        folder.rename(aside)
        latest = self.find_checkpoint(importance_key=ckpt_recency)
        if latest is None:
            rest = "No whole one is left: training starts again."
        else:
            spent = latest.meta.get("train_seconds", 0.0) / 60
            rest = f"Training goes on from {latest.path.name}, {spent:.0f} min"
            rest += " after its start."
        logger.warning(f"{folder} was renamed to {aside.name}. {rest}")

    def _new_checkpoint_dirpath(self):
        """Return a name that sorts after all others of the same second.

        SpeechBrain takes the first free number, which may be that of a
        deleted checkpoint and sort before an older one.
        """
        stem, first = super()._new_checkpoint_dirpath().name.rsplit("+", 1)
        taken = [
            int(folder.name.rsplit("+", 1)[1])
            for folder in self.checkpoints_dir.glob(f"{stem}+*")
        ]
        number = max([int(first) - 1, *taken]) + 1
        return self.checkpoints_dir / f"{UNFINISHED}{stem}+{number:02d}"

    def _custom_checkpoint_dirpath(self, name):
        final = super()._custom_checkpoint_dirpath(name)
        return final.with_name(UNFINISHED + final.name)

    def save_checkpoint(
        self, meta=None, end_of_epoch=True, name=None, verbosity=logging.DEBUG
    ):
        """Save a checkpoint; it appears under its name when it is whole.

        Arguments
        ---------
        meta : dict
            Plain values to find it by.
        end_of_epoch : bool
            Whether the epoch is over.
        name : str
            A name instead of the time.
        verbosity : int
            Logging level of the message.

        Returns
        -------
        Checkpoint
            The saved checkpoint; ``None`` on all ranks but the first.
        """
        try:
            # SpeechBrain would log the name of the unfinished folder
            meta = {**plain_scalars(meta or {}), "unixtime": self._now()}
            saved = super().save_checkpoint(
                meta, end_of_epoch, name, logging.NOTSET
            )
            ddp_barrier()
            if if_main_process():
                saved = self._finish(saved)
                logger.log(verbosity, f"Saved a checkpoint in {saved.path}")
        except (OSError, RuntimeError) as error:
            self._explain(error)
            raise
        # also a barrier
        self._found[ddp_broadcast(saved and saved.path)] = []
        return saved

    def _now(self):
        """Return the time, after that of all checkpoints.

        A run may go on where the clock is behind.
        """
        times = [c.meta["unixtime"] for c in self.list_checkpoints()]
        return max([time.time(), *(seen + 1e-3 for seen in times)])

    def _finish(self, saved):
        """Sum up a checkpoint and move it to its name."""
        write_sums(saved.path)
        final = saved.path.with_name(saved.path.name[len(UNFINISHED) :])
        if final.exists():
            shutil.rmtree(final)
        saved.path.rename(final)
        files = {k: final / path.name for k, path in saved.paramfiles.items()}
        return saved._replace(path=final, paramfiles=files)

    def _explain(self, error):
        """Raise a `CheckpointError` if the disk is why saving failed.

        torch's writer reports a full disk as a position that is unexpected, so
        the disk is asked.
        """
        try:
            with tempfile.TemporaryFile(dir=self.checkpoints_dir) as probe:
                probe.write(bytes(2**20))
            if not isinstance(error, OSError):
                return
        except OSError as fault:
            error = fault
        for folder in self.checkpoints_dir.glob(f"{UNFINISHED}*"):
            shutil.rmtree(folder, ignore_errors=True)
        latest = self.find_checkpoint(importance_key=ckpt_recency)
        kept = f"{latest.path.name} is kept" if latest else "None was saved yet"
        raise CheckpointError(
            f"The checkpoint could not be written to "
            f"{Path(self.checkpoints_dir).resolve()}: {error}. {kept}: make "
            "room there and start the same command again."
        ) from error

    def save_and_keep_best(self, meta, keys, higher_is_better=True):
        """Save at an epoch's end; keep the newest and the best for each key.

        Checkpoints within an epoch are deleted.

        Arguments
        ---------
        meta : dict
            Plain values, with ``epoch`` and the keys.
        keys : iterable of str
            Names in the meta.
        higher_is_better : bool
            False for error rates.
        """
        self.save_checkpoint({**meta, HIGHER_IS_BETTER: higher_is_better})
        best = [best_first(key, higher_is_better) for key in keys]
        self.delete_checkpoints(
            importance_keys=[ckpt_recency, *best], verbosity=logging.DEBUG
        )


def find_checkpoint(folder, protocol):
    """Find the checkpoint that a protocol tests.

    Arguments
    ---------
    folder : str or Path
        With the checkpoints of a run.
    protocol : str
        Key of ``PROTOCOLS``.

    Returns
    -------
    speechbrain.utils.checkpoints.Checkpoint or None
        None if no epoch that it could choose is finished.
    """
    split, _ = PROTOCOLS[protocol]
    checkpointer = AtomicCheckpointer(folder)
    checkpoints = checkpointer.list_checkpoints()
    names = {key for ckpt in checkpoints for key in ckpt.meta}
    # a run has one score per split, its headline
    wanted = {key for key in names if key.startswith(f"{split}_")}
    key = next(iter(wanted if split else {"epoch"}), None)
    scored = [ckpt for ckpt in checkpoints if key in ckpt.meta]
    higher = key == "epoch" or all(
        ckpt.meta.get(HIGHER_IS_BETTER, True) for ckpt in scored
    )
    return max(scored, key=best_first(key, higher), default=None)
