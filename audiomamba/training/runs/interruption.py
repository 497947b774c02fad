"""Signals that ask a run to stop: it finishes its step and saves first."""

import multiprocessing
import os
import signal
import time
from contextlib import contextmanager

import torch

# SIGTERM and SIGUSR1 are what schedulers send before they take a machine away
SIGNALS = [
    number
    for number in signal.Signals
    if number.name in ("SIGTERM", "SIGUSR1", "SIGINT")
]
# EX_TEMPFAIL of sysexits.h: nothing is wrong, try again
RESUME_ME = 75
# A scheduler signals the processes of a job and torchrun, which passes it on:
# within this time it is the same request
ECHO_SECONDS = 1.0
# How long a signalled worker of a loader waits for its run to end
WORKER_SECONDS = 30


class Interrupted(KeyboardInterrupt):
    """A signal ended the run; the message says where."""


class Interruption:
    """What the signals of this process ask for.

    While a run trains, the first signal lets it finish its step and save; at
    any other time, and the second time, it ends the run at once.

    Example
    -------
    >>> interruption = Interruption()
    >>> with interruption.watch(), interruption.after_step():
    ...     signal.raise_signal(signal.SIGTERM)
    ...     interruption.asked(torch.device("cpu")), interruption.status
    (True, 75)
    """

    def __init__(self):
        self.signal = None
        self._waits = False
        self._process, self._since = os.getpid(), 0.0

    @contextmanager
    def watch(self):
        """Take the signals until the end of the block; then end all workers."""
        self._process = os.getpid()
        before = {n: signal.signal(n, self._take) for n in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            self.signal = None
            _end_workers()

    @contextmanager
    def after_step(self):
        """In this block, the caller looks at `asked` after every step."""
        self._waits = True
        try:
            yield
        finally:
            self._waits = False

    def watch_in_worker(self, worker):
        """Let a loader's worker outlive a first signal.

        A scheduler and a terminal signal every process of a run, and the step
        that is being finished needs its clips.

        Arguments
        ---------
        worker : int
            Its number, as a ``worker_init_fn`` gets it.
        """
        for number in SIGNALS:
            signal.signal(number, self._take)

    def _take(self, number, frame):
        """Handle a signal."""
        now, first = time.monotonic(), self.signal is None
        if not first and now - self._since < ECHO_SECONDS:
            return
        if first:
            self.signal, self._since = signal.Signals(number), now
        if os.getpid() != self._process:
            if not first:
                os._exit(128 + number)
            signal.alarm(WORKER_SECONDS)
        elif not (first and self._waits):
            raise Interrupted

    def asked(self, device):
        """Whether this process or another of the run was asked to stop.

        Arguments
        ---------
        device : torch.device
            For the message to the other processes, all of which must call.

        Returns
        -------
        bool
        """
        asked = self.signal is not None
        if not torch.distributed.is_initialized():
            return asked
        flag = torch.tensor(float(asked), device=device)
        torch.distributed.all_reduce(flag, torch.distributed.ReduceOp.MAX)
        return bool(flag)

    @property
    def status(self):
        """Exit status: 130 after Ctrl-C, as in a shell, otherwise 75."""
        return 130 if self.signal == signal.SIGINT else RESUME_ME

    @property
    def name(self):
        """Who asked, for a message."""
        return self.signal.name if self.signal else "another process"


def _end_workers():
    """End the workers of loaders: Python's signal at exit is their first."""
    # torch would raise an error for each
    noticed = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for worker in multiprocessing.active_children():
        worker.kill()
        worker.join()
    signal.signal(signal.SIGCHLD, noticed)


interruption = Interruption()
