"""The output folder of a run: who owns it, who sees it, its log."""

import logging
import os
import shutil
import socket
import sys
import uuid
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout
from speechbrain.core import DEFAULT_LOG_CONFIG
from speechbrain.utils.distributed import if_main_process, run_on_main
from speechbrain.utils.logger import (
    get_environment_description,
    get_logger,
    setup_logging,
)

from audiomamba.training.runs.environment import all_gather

logger = get_logger(__name__)


class RunError(ValueError):
    """A run that cannot start or go on; says why and what to do."""


class FolderLock:
    """One training per folder; others are told who is there.

    The operating system holds the lock, so a killed run leaves none behind.

    Arguments
    ---------
    folder : str or Path
        The output folder.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> first = FolderLock(folder)
    >>> first.take()
    >>> FolderLock(folder).take()
    Traceback (most recent call last):
    audiomamba.training.runs.folder.RunError: ... is in use: process ...
    """

    def __init__(self, folder):
        self.folder = Path(folder)
        self.owner = self.folder / ".lock.owner"
        self._lock = FileLock(self.folder / ".lock")

    def take(self):
        """Own the folder until the process ends; remove drafts of dead runs.

        Raises
        ------
        RunError
            If another run owns it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            # one that started just now has not yet written its name
            named = self.owner.is_file()
            owner = self.owner.read_text("utf-8") if named else "another run"
            raise RunError(
                f"{self.folder} is in use: {owner} trains there. Wait for "
                "it, or choose another --output_folder. After its first "
                "epoch, --test_only can test what is there."
            ) from None
        except NotImplementedError:  # what filelock says of such disks
            logger.warning(
                f"The disk of {self.folder} has no locks: see to it that no "
                "other run uses this folder."
            )
        since = datetime.now().astimezone().isoformat(" ", "seconds")
        host = socket.gethostname()
        self.owner.write_text(
            f"process {os.getpid()} on {host}, since {since},", "utf-8"
        )
        for draft in self.folder.rglob(".*.tmp"):
            draft.unlink()

    def release(self):
        """Give the folder back before the process ends."""
        self._lock.release()


def check_shared(folder):
    """Refuse a folder that not all machines of a run see.

    Arguments
    ---------
    folder : str or Path
        The output folder, opened.

    Raises
    ------
    RunError
        Naming the ranks and hosts that do not see it.
    """
    (token, *_) = all_gather(uuid.uuid4().hex)
    seal = Path(folder, f".shared-{token}")
    if if_main_process():
        seal.touch()
    hosts = all_gather(socket.gethostname())
    blind = [
        f"rank {rank} on {hosts[rank]}"
        for rank, sees in enumerate(all_gather(seal.exists()))
        if not sees
    ]
    if if_main_process():
        seal.unlink()
    if blind:
        raise RunError(
            f"{', '.join(blind)} cannot see {Path(folder).resolve()} of rank 0 "
            f"on {hosts[0]}: put output_folder on a disk that all machines "
            "share, at the same path."
        )


def open_folder(folder, log_config=None, debug=False):
    """Make an output folder, and log to ``log.txt`` in it from now on.

    Arguments
    ---------
    folder : str or Path
        Gets a copy of the script, too, and ``env.log``.
    log_config : str, optional
        SpeechBrain's run option of that name.
    debug : bool
        Log everything; otherwise SpeechBrain's remarks are left out.
    """
    run_on_main(_make_folder, [Path(folder)])
    if not if_main_process():
        return
    level = "DEBUG" if debug else "INFO"
    file = {"filename": str(Path(folder, "log.txt")), "level": level}
    setup_logging(
        log_config or DEFAULT_LOG_CONFIG,
        {
            "formatters": {"console": {"format": "%(message)s"}},
            "handlers": {"file_handler": file},
        },
        # of the loggers that SpeechBrain makes from now on
        default_level="DEBUG" if debug else "WARNING",
    )
    if not debug:
        for name in logging.root.manager.loggerDict:
            if name.partition(".")[0] == "speechbrain":
                logging.getLogger(name).setLevel(logging.WARNING)
    sys.excepthook = _log_exception


def _make_folder(folder):
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(sys.argv[0], folder)
    description = get_environment_description()
    (folder / "env.log").write_text(description, encoding="utf-8")


def _log_exception(kind, error, trace):
    logger.error("Exception:", exc_info=(kind, error, trace))
