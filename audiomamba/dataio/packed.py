"""Many strings in little memory."""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, pairwise, starmap
from operator import lt

import numpy as np

_BLOCK = 1 << 16


class PackedStrings(Sequence):
    """A sequence of strings in one buffer.

    Millions of ``str`` objects take several times the memory, and take it again
    in every loader worker, as reference counting writes to their pages.

    Arguments
    ---------
    texts : iterable of str
        The strings.

    Example
    -------
    >>> packed = PackedStrings(["one", "", "zwölf"])
    >>> len(packed), packed[2]
    (3, 'zwölf')
    """

    def __init__(self, texts: Iterable[str] = ()):
        self.buffer, self.ends = bytearray(), array("q")
        texts = iter(texts)
        while block := list(islice(texts, _BLOCK)):
            self.extend(block)

    def extend(self, texts: Sequence[str]) -> None:
        """Add strings at the end.

        Arguments
        ---------
        texts : sequence of str
            They are joined: not too many at once.
        """
        joined = "".join(texts).encode()
        parts: Iterable = texts
        if not joined.isascii():
            parts = (text.encode() for text in texts)
        sizes = np.fromiter(map(len, parts), np.int64, len(texts))
        self.ends.frombytes((sizes.cumsum() + len(self.buffer)).tobytes())
        self.buffer += joined

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, index):
        start = self.ends[index - 1] if index else 0
        return self.buffer[start : self.ends[index]].decode()

    def __iter__(self) -> Iterator[str]:
        start = 0
        for end in self.ends:
            yield self.buffer[start:end].decode()
            start = end

    def is_ascending(self) -> bool:
        """Whether each is larger than the one before.

        Returns
        -------
        bool

        Example
        -------
        >>> PackedStrings(["a", "b", "b"]).is_ascending()
        False
        """
        return all(starmap(lt, pairwise(self)))

    def take(self, order: Iterable[int]) -> "PackedStrings":
        """Return some of the strings.

        Arguments
        ---------
        order : iterable of int
            Their places.

        Returns
        -------
        PackedStrings

        Example
        -------
        >>> [*PackedStrings(["a", "b"]).take([1, 0])]
        ['b', 'a']
        """
        return PackedStrings(self[index] for index in order)
