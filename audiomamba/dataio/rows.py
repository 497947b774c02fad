"""The rows of a manifest in little memory, shared by loader workers."""

from bisect import bisect_left
from collections.abc import Mapping

import numpy as np


class PackedStrings:
    """An immutable sequence of strings in one buffer.

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

    def __init__(self, texts):
        encoded = [text.encode() for text in texts]
        self.buffer = b"".join(encoded)
        self.ends = np.cumsum([len(text) for text in encoded], dtype=np.int64)

    def __len__(self):
        return len(self.ends)

    def __getitem__(self, index):
        start = self.ends[index - 1] if index else 0
        return self.buffer[start : self.ends[index]].decode()


class ManifestRows(Mapping):
    """The rows of a manifest by ID, built on access.

    Arguments
    ---------
    table : pandas.DataFrame
        From `read_manifest`, sorted by ``ID``.

    Example
    -------
    >>> import pandas as pd
    >>> rows = ManifestRows(pd.DataFrame({"ID": ["a"], "duration": [1.5]}))
    >>> rows["a"]
    {'duration': 1.5}
    """

    def __init__(self, table):
        self.ids = PackedStrings(table["ID"])
        self.columns = {
            name: table[name].to_numpy()
            if table[name].dtype.kind in "if"
            else PackedStrings(table[name])
            for name in table
            if name != "ID"
        }

    def __len__(self):
        return len(self.ids)

    def __iter__(self):
        return (self.ids[row] for row in range(len(self.ids)))

    def __getitem__(self, item_id):
        row = bisect_left(self.ids, item_id)
        if row == len(self.ids) or self.ids[row] != item_id:
            raise KeyError(item_id)
        return {
            name: values[row].item()
            if isinstance(values, np.ndarray)
            else values[row]
            for name, values in self.columns.items()
        }
