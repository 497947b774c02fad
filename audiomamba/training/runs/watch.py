"""The processes of a run watch each other: one that stops ends the run.

A process that was stopped or whose machine hangs answers nobody, and the others
would wait for it, for two hours in SpeechBrain.  Here a thread of every process
counts up a number of its own in the store by which they found each other.  As
no wait is timed, a preparation of hours on the main process ends no run.
"""

import logging
import multiprocessing
import os
import socket
import threading
import time
from datetime import timedelta

import torch
from speechbrain.utils.logger import get_logger

from audiomamba.training.runs.environment import all_gather, command_line

logger = get_logger(__name__)

# Seconds between two signs of life, if the timeout is not shorter
INTERVAL = 5.0
# What a process adds to its number at the end; no one counts so far
FINISHED = 1 << 40


def silent_ranks(counts, seen, now, timeout):
    """Find the processes whose number did not change for too long.

    Arguments
    ---------
    counts : dict
        Rank -> its number now.
    seen : dict
        Rank -> (number, time of its last change); is updated.
    now : float
        The time, in s.
    timeout : float
        The longest silence, in s.

    Returns
    -------
    list of int

    Example
    -------
    >>> seen = {}
    >>> silent_ranks({0: 1, 1: 1}, seen, now=0.0, timeout=5.0)
    []
    >>> silent_ranks({0: 2, 1: 1}, seen, now=6.0, timeout=5.0)
    [1]
    """
    for rank, count in counts.items():
        if rank not in seen or seen[rank][0] != count:
            seen[rank] = count, now
    return [
        rank
        for rank, (count, since) in seen.items()
        if now - since > timeout and count < FINISHED
    ]


class ProcessWatch:
    """Ends this process, with the reason, if another of its run is silent."""

    def __init__(self):
        self._thread, self._ended = None, threading.Event()

    def start(self, timeout):
        """Watch from now on, if this run has several processes.

        Arguments
        ---------
        timeout : float or None
            Seconds without a sign of life; None does not watch.
        """
        if timeout is None or not torch.distributed.is_initialized():
            return
        self._timeout = timeout
        self._names = all_gather(
            f"process {os.getpid()} on {socket.gethostname()}"
        )
        self._rank = torch.distributed.get_rank()
        self._ended.clear()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self):
        """Watch no more; tell the others that this process ends."""
        if self._thread is None:
            return
        self._ended.set()
        self._thread.join(2 * INTERVAL)
        self._thread = None

    def _connect(self):
        """The store that the processes found each other by."""
        return torch.distributed.TCPStore(
            os.environ["MASTER_ADDR"],
            int(os.environ["MASTER_PORT"]),
            is_master=False,
            wait_for_workers=False,
            timeout=timedelta(seconds=self._timeout),
        )

    def _count(self, store, rank, more=0):
        """The number of a process, after adding to it."""
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        return store.add(f"audiomamba/{attempt}/{rank}", more)

    def _watch(self):
        interval = min(INTERVAL, self._timeout / 4)
        self._store, self._seen = None, {}
        self._before, asking, unanswered = time.monotonic(), None, 0.0
        while not self._ended.wait(interval):
            if asking is not None and asking.is_alive():
                # rank 0 may keep the store.  Intervals are counted, as the
                # clock goes on while this process itself is stopped.
                unanswered += interval
                if unanswered > self._timeout:
                    self._end([0])
                continue
            unanswered = 0.0
            asking = threading.Thread(target=self._ask, daemon=True)
            asking.start()
        if asking is not None:
            asking.join(interval)
            if not asking.is_alive() and self._store is not None:
                self._ask(ended=True)

    def _ask(self, ended=False):
        """Give a sign of life, and look for those of the others."""
        try:
            self._store = self._store or self._connect()
            self._count(self._store, self._rank, FINISHED if ended else 1)
            counts = {
                rank: self._count(self._store, rank)
                for rank in range(len(self._names))
            }
        except RuntimeError:
            # what cannot be asked has not answered
            self._store = None
            counts = {rank: count for rank, (count, _) in self._seen.items()}
        if ended:
            return
        now = time.monotonic()
        if now - self._before > self._timeout:
            self._seen.clear()  # it was this process that had stopped
        self._before = now
        if silent := silent_ranks(counts, self._seen, now, self._timeout):
            self._end(silent)

    def _end(self, silent):
        """End this process: its other threads wait for the silent ones."""
        names = ", ".join(f"rank {n} ({self._names[n]})" for n in silent)
        logging.raiseExceptions = False
        logger.error(
            f"{names} gave no sign of life for {self._timeout:g} s "
            "(process_timeout): it was stopped, or its machine does not "
            "answer. Training since the last checkpoint is lost; the same "
            f"command resumes: {command_line()}",
            main_process_only=False,
        )
        for worker in multiprocessing.active_children():
            worker.kill()
        os._exit(1)


process_watch = ProcessWatch()
