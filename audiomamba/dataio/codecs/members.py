"""Files that are members of tar archives, read in place.

A place is written ``archive.tar#offset+size``: where the bytes of a member
begin, and how many they are.  ``tools/make_shards.py`` writes such archives,
and manifests whose column ``wav`` has such places.
"""

import io
import os
import re
import tarfile
from pathlib import Path
from typing import BinaryIO, NamedTuple

_PLACE = re.compile(r"(.+\.tar)#(\d+)\+(\d+)")
_HEADER = tarfile.BLOCKSIZE
# Up to this many bytes are read at once, which is faster than piece by piece
_LARGE = 1 << 24


class Place(NamedTuple):
    """A member of an archive: its first byte, and how many there are."""

    archive: str
    offset: int
    size: int


def place_of(path: str | Path) -> Place | None:
    """Read a place; None for the name of a file.

    Arguments
    ---------
    path : str or Path
        Either.

    Returns
    -------
    Place or None

    Example
    -------
    >>> place_of("data/a.tar#512+80044").offset, place_of("data/a.wav")
    (512, None)
    """
    match = _PLACE.fullmatch(os.fspath(path))
    return match and Place(match[1], int(match[2]), int(match[3]))


class Member(io.RawIOBase):
    """The bytes of a member, as a file of their own.

    Arguments
    ---------
    place : Place
        Where they are.

    Raises
    ------
    OSError
        If the archive cannot be opened.
    ValueError
        If no member of this size begins there.
    """

    def __init__(self, place: Place):
        self._place, self._position = place, 0
        self._file = open(place.archive, "rb", buffering=0)
        try:
            self._check()
        except ValueError:
            self._file.close()
            raise

    def _check(self):
        """Compare with the header before it, which has a check sum."""
        _, offset, size = self._place
        header = b""
        if offset >= _HEADER:
            self._file.seek(offset - _HEADER)
            header = self._file.read(_HEADER)
        try:
            found = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
        except tarfile.HeaderError:
            found = None
        end = os.fstat(self._file.fileno()).st_size
        if found is None or found.size != size or offset + size > end:
            raise ValueError(
                f"no member of {size} bytes begins at byte {offset}"
            )

    def readable(self) -> bool:
        """Whether it can be read: yes."""
        return True

    def seekable(self) -> bool:
        """Whether it can be read from any position: yes."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a position; see `io.IOBase`."""
        start = (0, self._position, self._place.size)[whence]
        self._position = max(0, start + offset)
        return self._position

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def readinto(self, buffer) -> int:
        """Read bytes into a buffer; return how many."""
        left = max(0, self._place.size - self._position)
        view = memoryview(buffer).cast("B")[:left]
        self._file.seek(self._place.offset + self._position)
        count = self._file.readinto(view)
        self._position += count
        return count

    def close(self) -> None:
        """Close the archive."""
        if not self.closed:
            self._file.close()
        super().close()


def open_bytes(path: str | Path) -> BinaryIO:
    """Open a file, or a member of an archive, to read its bytes.

    Arguments
    ---------
    path : str or Path
        The name of a file, or a place.

    Returns
    -------
    file
        Open, in binary mode.

    Raises
    ------
    OSError, ValueError
        See `Member`.

    Example
    -------
    >>> path = getfixture("tmp_path") / "a.tar"
    >>> with tarfile.open(path, "w") as archive:
    ...     member = tarfile.TarInfo("a.txt")
    ...     member.size = 4
    ...     archive.addfile(member, io.BytesIO(b"text"))
    >>> with open_bytes(f"{path}#512+4") as file:
    ...     file.seek(1), file.read()
    (1, b'ext')
    """
    place = place_of(path)
    if place is None:
        return open(path, "rb")
    member = Member(place)
    if place.size > _LARGE:
        return io.BufferedReader(member, buffer_size=1 << 16)
    with member:
        return io.BytesIO(member.read(place.size))
