"""Where the compiled kernels are kept between runs.

Numba notices when a kernel's own file has changed, but not when a function
that it calls from another file has.  So the folder's name has a digest of all
the files here, and kernels of another version are never found.
"""

import contextlib
import hashlib
import logging
from pathlib import Path

import numba
from numba.core import event

# The parent's name: applications set the level of `audiomamba.ops`.
logger = logging.getLogger("audiomamba.ops")

_HERE = Path(__file__).parent


@contextlib.contextmanager
def kernel_cache():
    """Cache the kernels that are defined inside in this version's folder.

    It is in ``__pycache__`` here, or in NUMBA_CACHE_DIR if that is set; where
    it cannot be written, Numba falls back to another place.
    """
    digest = hashlib.sha256()
    for path in sorted(_HERE.glob("*.py")):
        digest.update(path.read_bytes())
    before = numba.config.CACHE_DIR
    base = Path(before) if before else _HERE / "__pycache__"
    numba.config.CACHE_DIR = str(base / f"kernels-{digest.hexdigest()[:16]}")
    try:
        yield
    finally:
        numba.config.CACHE_DIR = before


class _Announcer(event.Listener):
    """Say once that kernels are being compiled, if they are not cached."""

    announced = False

    def on_start(self, event):
        kernel = event.data["dispatcher"]
        ours = kernel.py_func.__module__.startswith(__package__)
        if self.announced or not ours:
            return
        self.announced = True
        # A warning, as it must reach users who have not configured logging.
        logger.warning(
            "Compiling the CPU kernels for this machine, once, about a "
            "minute; they are kept in %s",
            kernel.stats.cache_path,
        )

    def on_end(self, event):
        pass


def announce_compilation():
    """Say when kernels are compiled; keep Numba's compiler out of the logs."""
    compiler_log = logging.getLogger("numba")
    # It writes thousands of lines to a root logger at DEBUG.
    if compiler_log.level == logging.NOTSET:
        compiler_log.setLevel(logging.WARNING)
    event.register("numba:compile", _Announcer())
