"""The rows of a manifest in little memory, shared by loader workers."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd

from audiomamba.dataio.columns import read_columns, to_numbers
from audiomamba.dataio.lists import clean
from audiomamba.dataio.packed import PackedStrings
from audiomamba.dataio.problems import PreparationError

COLUMNS = ["ID", "duration", "wav", "label"]
# A stop of -1 is the end of the file
_SMALLEST = {"start": 0, "stop": -1}
_PART = 1 << 16


class ManifestRows(Mapping):
    """The rows of a manifest by ID, built on access.

    Arguments
    ---------
    ids : PackedStrings
        Each larger than the one before.
    columns : dict
        Column -> np.ndarray or PackedStrings.

    Example
    -------
    >>> rows = ManifestRows(PackedStrings("a"), {"duration": np.array([1.5])})
    >>> rows["a"]
    {'duration': 1.5}
    """

    def __init__(
        self,
        ids: PackedStrings,
        columns: Mapping[str, np.ndarray | PackedStrings],
    ):
        self.ids, self.columns = ids, dict(columns)

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[str]:
        return iter(self.ids)

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

    def without(self, ids: Iterable[str]) -> "ManifestRows":
        """Return the other rows.

        Arguments
        ---------
        ids : iterable of str
            Of the rows to leave out.

        Returns
        -------
        ManifestRows
        """
        left_out = set(ids)
        kept = [n for n, own in enumerate(self.ids) if own not in left_out]
        return self._take(kept)

    def _take(self, places):
        columns = {k: values.take(places) for k, values in self.columns.items()}
        return ManifestRows(self.ids.take(places), columns)


def read_rows(path: str | Path) -> ManifestRows:
    """Read a manifest into little memory.

    Arguments
    ---------
    path : str or Path
        See `audiomamba.dataio.manifest.read_manifest`, which gives a table.

    Returns
    -------
    ManifestRows
        Sorted by ``ID``.

    Raises
    ------
    PreparationError
        As `read_manifest` does.

    Example
    -------
    >>> path = getfixture("tmp_path") / "train.csv"
    >>> _ = path.write_text("ID,duration,wav\\nb,2,b.wav\\na,1.5,a.wav\\n")
    >>> dict(read_rows(path))["b"]
    {'duration': 2.0, 'wav': 'b.wav'}
    """
    if not Path(path).is_file():
        raise PreparationError(
            f"Manifest {path} is missing; the preparation writes it "
            "(skip_prep: False)"
        )
    lines, found = read_columns(path, COLUMNS[:3], f"a manifest has {COLUMNS}")
    ids = found.pop("ID")
    order = _order_of_ids(path, lines, ids)
    columns = {**found, **_numbers(path, lines, found)}
    if "label" in found and not found["label"].buffer.isascii():
        columns["label"] = PackedStrings(map(clean, found["label"]))
    rows = ManifestRows(ids, columns)
    return rows if order is None else rows._take(order)


def _order_of_ids(path, lines, ids):
    """What sorts the rows, None if they are; refuse empty and repeated IDs."""
    order = None
    if not ids.is_ascending():
        texts = list(ids)
        order = sorted(range(len(texts)), key=texts.__getitem__)
        seen: set[str] = set()
        for line, text in zip(lines, texts):
            if text in seen:
                raise PreparationError(
                    f"{path}, line {line}: ID {text} is repeated; give every "
                    "row its own"
                )
            if not text:
                _refuse_empty(path, line)
            seen.add(text)
    if len(ids) and not ids[0]:
        _refuse_empty(path, lines[0])
    return order


def _refuse_empty(path, line):
    raise PreparationError(
        f"{path}, line {line}: has no ID; give every row its own"
    )


def _numbers(path, lines, found):
    """Duration, start and stop as numbers."""

    def convert(name, accepts, wanted):
        texts, parts = iter(found[name]), []
        # part by part, as texts take much memory
        for first in range(0, len(lines), _PART):
            part = lines[first : first + _PART]
            own = pd.Series(islice(texts, _PART), index=part, dtype=object)
            parts.append(to_numbers(path, {name: own}, name, accepts, wanted))
        return np.concatenate([np.empty(0), *parts])

    numbers = {
        "duration": convert(
            "duration",
            lambda x: (x > 0) & (x < np.inf),
            "a positive number of seconds",
        )
    }
    segments = [name for name in _SMALLEST if name in found]
    if len(segments) == 1:
        raise PreparationError(
            f"{path}: has a column {segments[0]}, but not both of start and "
            "stop; give both: 0 and -1 for a whole file"
        )
    for name in segments:
        smallest = _SMALLEST[name]
        numbers[name] = convert(
            name,
            lambda x, least=smallest: (x >= least) & (x < 2**53) & (x % 1 == 0),
            f"a whole number of samples, at least {smallest}",
        ).astype("int64")
    return numbers
