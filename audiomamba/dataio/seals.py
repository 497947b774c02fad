"""Digests of files, within these files.

A model that is one file, as in ONNX, has no other file for its digest. So it
has a mark, over which the digest of all other bytes is written.
"""

import hashlib
import mmap
from pathlib import Path

# Of sixty-four digits, as a digest
MARK = hashlib.sha256(b"audiomamba").hexdigest()


def seal(path: str | Path, mark: str = MARK) -> None:
    """Write the digest of a file over a mark in it.

    Arguments
    ---------
    path : str or Path
        The file, with the mark in it.
    mark : str
        `MARK`, or an earlier digest.

    Example
    -------
    >>> path = getfixture("tmp_path") / "model"
    >>> _ = path.write_text(f"weights {MARK} labels")
    >>> seal(path)
    >>> stored = path.read_text().split()[1]
    >>> is_whole(path, stored)
    True
    >>> _ = path.write_text(path.read_text().replace("weights", "weighty"))
    >>> is_whole(path, stored)
    False
    """
    place, digest = _digest(path, mark)
    with open(path, "r+b") as file:
        file.seek(place)
        file.write(digest.encode())


def is_whole(path: str | Path, digest: str) -> bool:
    """Whether a file is as it was when it was sealed.

    Arguments
    ---------
    path : str or Path
        The file.
    digest : str
        What it says of itself.

    Returns
    -------
    bool
    """
    return digest == _digest(path, digest)[1]


def _digest(path, mark):
    """Where the mark is, and the digest of all other bytes."""
    with (
        open(path, "rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
        memoryview(content) as view,
    ):
        # Near the end in ONNX
        place = content.rfind(mark.encode())
        digest = hashlib.sha256(view[:place])
        digest.update(view[place + len(mark) :])
    return place, digest.hexdigest()
