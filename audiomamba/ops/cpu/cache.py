"""Where the compiled kernels are kept between runs.

Numba notices that a kernel's own file has changed, not that a function it
calls from another file has.  So the cache's folder carries a digest of all
the files here, and kernels of another version are never found.
"""

import contextlib
import hashlib
from pathlib import Path

import numba

_HERE = Path(__file__).parent


@contextlib.contextmanager
def kernel_cache():
    """Let the kernels that are defined inside use this version's folder.

    It lies in ``__pycache__`` here, or in NUMBA_CACHE_DIR where that is set;
    where it cannot be written, Numba looks for another place by itself.
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
