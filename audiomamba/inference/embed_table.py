"""A table of embeddings that is written once all of its rows are known."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.lib.format import open_memmap

from audiomamba.dataio.files import replaced_file
from audiomamba.dataio.tables import check_table_format
from audiomamba.training.runs.folder import FolderLock, RunError

ENDINGS = (".parquet", ".npy", ".csv")
# Rows in memory at a time
_ROWS = 4096


class Rows(NamedTuple):
    """Embeddings [n, D] of a recording, with their seconds [n]."""

    starts: list[float]
    stops: list[float]
    values: np.ndarray


class UnfinishedTable:
    """The rows that are done, beside the table that they will be.

    Values are appended to one file and, once they are there, a line per
    recording to another: a stopped run goes on after the last line. Leaving
    the context frees the table for others, and removes it if it has no rows.

    Arguments
    ---------
    path : Path
        The table.
    key : str
        Digest of the inputs; rows of other inputs are dropped.

    Raises
    ------
    ValueError
        If another process writes the table.

    Example
    -------
    >>> path = getfixture("tmp_path") / "emb.csv"
    >>> with UnfinishedTable(path, "inputs") as table:
    ...     row = Rows([0.0], [1.5], np.ones((1, 2), np.float32))
    ...     table.add("a.wav", row)
    >>> with UnfinishedTable(path, "inputs") as table:  # after a stop
    ...     table.done()
    ...     table.finish(path)
    {'a.wav'}
    >>> print(path.read_text(), end="")
    path,start,stop,0,1
    a.wav,0.0,1.5,1.0,1.0
    """

    def __init__(self, path: Path, key: str):
        self.folder = path.with_name(f".{path.name}.unfinished")
        self.lock = FolderLock(self.folder)
        try:
            self.lock.take()
        except RunError as error:
            raise ValueError(
                f"another audiomamba-embed writes {path}: wait for it, or "
                "choose another --out"
            ) from error
        self.values, self.lines = self.folder / "values", self.folder / "lines"
        known, found = self.folder / "key", list(self._entries())
        goes_on = known.is_file() and known.read_text() == key
        self.entries = found if goes_on else []
        self.n_dropped = len(found) - len(self.entries)
        self.n_rows = sum(len(entry["starts"]) for entry in self.entries)
        self.width = self.entries[0]["width"] if self.entries else 0
        self.values.touch()
        os.truncate(self.values, 4 * self.n_rows * self.width)
        with replaced_file(self.lines) as draft:
            lines = (json.dumps(entry) + "\n" for entry in self.entries)
            draft.write_text("".join(lines))
        # Last: no row of other inputs is there under this key
        with replaced_file(known) as draft:
            draft.write_text(key)

    def __enter__(self) -> "UnfinishedTable":
        return self

    def __exit__(self, *error):
        if not self.n_rows:
            shutil.rmtree(self.folder)
        self.lock.release()

    def _entries(self):
        """Yield the recordings that are done; not a line cut in writing."""
        if not self.lines.is_file():
            return
        for line in self.lines.read_text().splitlines(keepends=True):
            if line.endswith("\n"):
                yield json.loads(line)

    def done(self) -> set[str]:
        """Return the paths that are done."""
        return {entry["path"] for entry in self.entries}

    def add(self, path: str, rows: Rows) -> None:
        """Append the rows of a recording."""
        self.width = rows.values.shape[1]
        with open(self.values, "ab") as file:
            file.write(rows.values.tobytes())
        entry = {
            "path": path,
            "first": self.n_rows,
            "width": self.width,
            "starts": [round(x, 6) for x in rows.starts],
            "stops": [round(x, 6) for x in rows.stops],
        }
        with open(self.lines, "a") as file:
            file.write(json.dumps(entry) + "\n")
        self.entries.append(entry)
        self.n_rows += len(rows.starts)

    def blocks(self) -> Iterator[tuple[pd.DataFrame, np.ndarray]]:
        """Yield ``path``, ``start``, ``stop`` and values, sorted by path."""
        shape = (self.n_rows, self.width)
        values = np.memmap(self.values, np.float32, "r", shape=shape)
        for entry in sorted(self.entries, key=lambda entry: entry["path"]):
            columns = [entry["starts"], entry["stops"]]
            for first in range(0, len(columns[0]), _ROWS):
                starts, stops = (x[first : first + _ROWS] for x in columns)
                place = entry["first"] + first
                table = pd.DataFrame(
                    {"path": entry["path"], "start": starts, "stop": stops}
                )
                yield table, values[place : place + len(starts)]

    def finish(self, path: Path) -> None:
        """Write the table and drop the rows."""
        _WRITERS[path.suffix](self, path)
        shutil.rmtree(self.folder)


def _write_csv(unfinished, path):
    """Write a column per value."""
    with replaced_file(path) as draft:
        for number, (table, values) in enumerate(unfinished.blocks()):
            columns = pd.DataFrame(values, table.index)
            joined = pd.concat([table, columns], axis=1)
            joined.to_csv(draft, mode="a", header=not number, index=False)


def _write_npy(unfinished, path):
    """Write an array [rows, D], and a CSV of its rows beside it."""
    index = path.with_suffix(".csv")
    with replaced_file(path) as draft, replaced_file(index) as rows:
        shape = (unfinished.n_rows, unfinished.width)
        array = open_memmap(draft, "w+", np.float32, shape)
        place = 0
        for table, values in unfinished.blocks():
            array[place : place + len(values)] = values
            table.to_csv(rows, mode="a", header=not place, index=False)
            place += len(values)
        array.flush()


def _write_parquet(unfinished, path):
    """Write a column of lists."""
    import pyarrow
    from pyarrow.parquet import ParquetWriter

    vector = pyarrow.list_(pyarrow.float32(), unfinished.width)
    schema = pyarrow.schema(
        [
            ("path", pyarrow.string()),
            ("start", pyarrow.float64()),
            ("stop", pyarrow.float64()),
            ("values", vector),
        ]
    )
    with replaced_file(path) as draft, ParquetWriter(draft, schema) as writer:
        for table, values in unfinished.blocks():
            flat = pyarrow.array(np.ascontiguousarray(values).ravel())
            lists = pyarrow.FixedSizeListArray.from_arrays(flat, type=vector)
            columns = [pyarrow.array(table[name]) for name in table]
            writer.write_table(
                pyarrow.Table.from_arrays([*columns, lists], schema=schema)
            )


_WRITERS = {
    ".csv": _write_csv,
    ".npy": _write_npy,
    ".parquet": _write_parquet,
}


def check_target(path: str | Path) -> Path:
    """Refuse a table that cannot be written.

    Arguments
    ---------
    path : str or Path
        The table.

    Returns
    -------
    Path

    Raises
    ------
    ValueError
        If it exists, has another ending than ``ENDINGS``, or needs a package
        that is not installed.

    Example
    -------
    >>> check_target("embeddings.npy").suffix
    '.npy'
    """
    path = Path(path)
    if path.suffix not in ENDINGS:
        raise ValueError(f"{path}: its name ends in {', '.join(ENDINGS)}")
    if path.suffix == ".parquet":
        check_table_format("parquet")
    written = [path, path.with_suffix(".csv")]
    for target in written if path.suffix == ".npy" else [path]:
        if target.exists():
            raise ValueError(f"{target} exists: remove it, or choose another")
    return path
