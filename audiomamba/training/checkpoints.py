"""Checkpoints that a killed process cannot leave half-written.

SpeechBrain's checkpointer writes the meta file first and the parameters after
it, in the final folder: a process killed in between leaves a checkpoint that
is chosen at the next start and cannot be loaded.  Here a checkpoint is written
beside its place and moved there when it is whole.
"""

import logging
import math
import numbers
import shutil

import numpy as np
import torch
from speechbrain.utils.checkpoints import (
    CKPT_PREFIX,
    METAFNAME,
    Checkpointer,
    ckpt_recency,
)
from speechbrain.utils.distributed import (
    ddp_barrier,
    if_main_process,
    main_process_only,
)
from speechbrain.utils.logger import get_logger

logger = get_logger(__name__)

UNFINISHED = "unfinished-"


def plain_scalars(meta):
    """Turn numpy and tensor scalars of a meta mapping into Python's.

    Other objects are saved by the checkpointer and then break every later
    load, so they are refused here.

    Arguments
    ---------
    meta : dict
        What is to be written beside a checkpoint.

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
                "only plain numbers, strings and booleans can be loaded again."
            )
        plain[key] = value
    return plain


def _size(value):
    """Number of entries of a tensor or numpy value, else ``None``."""
    if isinstance(value, torch.Tensor):
        return value.numel()
    return value.size if isinstance(value, (np.generic, np.ndarray)) else None


def best_first(key):
    """Importance of a checkpoint: the highest value, of equals the earliest.

    The earliest, because the published code replaces its best model only by a
    strictly better one.  A checkpoint without the key, as one from the middle
    of an epoch, comes last.

    Arguments
    ---------
    key : str
        Name of a value in the meta, higher is better.

    Returns
    -------
    callable
        For ``importance_key`` of the checkpointer's methods.

    Example
    -------
    >>> from speechbrain.utils.checkpoints import Checkpoint
    >>> metas = [{"epoch": epoch, "accuracy": 0.9} for epoch in (1, 2)]
    >>> ckpts = [Checkpoint(str(meta), meta, {}) for meta in metas]
    >>> max(ckpts, key=best_first("accuracy")).meta["epoch"]
    1
    """

    def importance(ckpt):
        value = ckpt.meta.get(key, -math.inf)
        return value, -ckpt.meta.get("epoch", math.inf)

    return importance


class AtomicCheckpointer(Checkpointer):
    """SpeechBrain's checkpointer with whole checkpoints or none.

    Leftovers of killed runs are removed when it is made.

    Arguments
    ---------
    checkpoints_dir : str
        Folder of the checkpoints; it belongs to one run at a time.
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

    def __init__(self, checkpoints_dir, recoverables=None, **kwargs):
        super().__init__(checkpoints_dir, recoverables, **kwargs)
        self._remove_leftovers()

    @main_process_only
    def _remove_leftovers(self):
        for folder in self.checkpoints_dir.iterdir():
            headless = (
                folder.name.startswith(CKPT_PREFIX)
                and not (folder / METAFNAME).exists()
            )
            if folder.name.startswith(UNFINISHED) or headless:
                shutil.rmtree(folder)

    def _new_checkpoint_dirpath(self):
        """A name that sorts behind all others of the same second.

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
        self, meta=None, end_of_epoch=True, name=None, verbosity=logging.INFO
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
            The saved checkpoint; ``None`` on other ranks than the first.
        """
        # SpeechBrain would name the unfinished folder: say the final one.
        saved = super().save_checkpoint(
            plain_scalars(meta or {}), end_of_epoch, name, logging.DEBUG
        )
        ddp_barrier()
        if if_main_process():
            final = saved.path.with_name(saved.path.name[len(UNFINISHED) :])
            if final.exists():
                shutil.rmtree(final)
            saved.path.rename(final)
            saved = saved._replace(
                path=final,
                paramfiles={
                    key: final / path.name
                    for key, path in saved.paramfiles.items()
                },
            )
            logger.log(verbosity, f"Saved a checkpoint in {final}")
        ddp_barrier()
        return saved

    def save_and_keep_best(self, meta, keys):
        """Save an epoch's end and keep it and the best for each key.

        Checkpoints from the middle of an epoch go.

        Arguments
        ---------
        meta : dict
            Plain values, with ``epoch`` and the keys.
        keys : iterable of str
            Names in the meta, higher is better.
        """
        self.save_checkpoint(meta=meta)
        self.delete_checkpoints(
            importance_keys=[ckpt_recency, *(best_first(key) for key in keys)]
        )
