"""Tables with a header that people wrote or saved, of any size."""

from array import array
from collections.abc import Callable, Mapping, Sequence
from itertools import compress, islice
from operator import methodcaller
from pathlib import Path

import pandas as pd

from audiomamba.dataio.codecs.formats import kind_of_file
from audiomamba.dataio.lists import (
    BLANK,
    check_single_lines,
    is_empty,
    raw_rows,
)
from audiomamba.dataio.packed import PackedStrings
from audiomamba.dataio.problems import PreparationError

_SHOWN = 20
# More rows at a time would wake the garbage collector, which takes longer
_BLOCK = 256
_strip = methodcaller("strip", BLANK)


def read_table(
    path: str | Path, columns: Sequence[str], remedy: str = "correct the header"
) -> pd.DataFrame:
    """Read a CSV file with a header.

    Arguments
    ---------
    path : str or Path
        A CSV file; see `audiomamba.dataio.lists.read_lines`.
    columns : sequence of str
        Columns that must be there.
    remedy : str
        What to do if they are not.

    Returns
    -------
    pandas.DataFrame
        All columns, as text without blanks at the ends; the index is the
        number of the line.

    Raises
    ------
    PreparationError
        See `read_columns`.

    Example
    -------
    >>> path = getfixture("tmp_path") / "list.csv"
    >>> _ = path.write_text("wav, label\\na.wav, dog \\n")
    >>> read_table(path, ["wav"]).to_dict("index")
    {2: {'wav': 'a.wav', 'label': 'dog'}}
    """
    lines, found = read_columns(path, columns, remedy)
    texts = {name: list(packed) for name, packed in found.items()}
    return pd.DataFrame(
        texts, index=list(lines), columns=list(texts), dtype=object
    )


def read_columns(
    path: str | Path, columns: Sequence[str], remedy: str = "correct the header"
) -> tuple[Sequence[int], dict[str, PackedStrings]]:
    """Read a CSV file with a header, in little memory.

    Arguments
    ---------
    path, columns, remedy
        See `read_table`.

    Returns
    -------
    lines : sequence of int
        The number of each row's line; rows without content are left out.
    found : dict
        Column -> its fields, without blanks at their ends.

    Raises
    ------
    PreparationError
        See `audiomamba.dataio.lists.read_fields`; also if a column is missing
        or repeated, or a row has more or fewer fields than the header.

    Example
    -------
    >>> path = getfixture("tmp_path") / "list.csv"
    >>> _ = path.write_text('a,b\\n1, "2, 3"\\n\\n,\\n4,5\\n')
    >>> lines, found = read_columns(path, ["a"])
    >>> list(lines), list(found["b"])
    ([2, 5], ['2, 3', '5'])
    """
    rows = raw_rows(path)
    header = _read_header(path, rows)
    _check_header(path, header, columns, remedy)
    packed = [PackedStrings() for _ in header]
    lines, ragged = array("q"), []
    while block := list(islice(rows, _BLOCK)):
        if {len(fields) for _, fields in block} != {len(header)}:
            block, faults = _of_size(path, block, len(header))
            ragged += faults
        numbers, fields = _tidy(path, block)
        lines.extend(numbers)
        for column, texts in zip(packed, fields):
            column.extend(texts)
    if ragged:
        more = [f"... and {len(ragged) - _SHOWN} more lines"]
        raise PreparationError(
            "\n".join(ragged[:_SHOWN] + more * (len(ragged) > _SHOWN))
            + "\nComplete the line, close its quote, or put a field with a "
            "comma in quotes."
        )
    return lines, {name: texts for name, texts in zip(header, packed) if name}


def _read_header(path, rows):
    """The first row with content."""
    for line, fields in rows:
        header = [*map(_strip, fields)]
        check_single_lines(path, [line] * len(header), header)
        if any(header):
            return header
    raise PreparationError(is_empty(path))


def _of_size(path, block, size):
    """The rows of a block that have a number of fields; what others lack."""
    kept, ragged = [], []
    for line, fields in block:
        surplus = any(map(_strip, fields[size:]))
        if len(fields) >= size and not surplus:
            # spreadsheets write empty fields behind the last column
            kept.append((line, fields[:size]))
        elif any(fields := [*map(_strip, fields)]):
            check_single_lines(path, [line] * len(fields), fields)
            ragged.append(
                f"{path}, line {line}: has {len(fields)} fields, and the "
                f"header has {size}"
            )
    return kept, ragged


def _tidy(path, block):
    """Line numbers and columns of a block, without blanks and empty rows."""
    if not block:
        return (), ()
    lines, rows = zip(*block)
    columns = [[*map(_strip, column)] for column in zip(*rows)]
    for column in columns:
        check_single_lines(path, lines, column)
    if not all(columns[0]):
        full = [any(fields) for fields in zip(*columns)]
        lines = [*compress(lines, full)]
        columns = [[*compress(column, full)] for column in columns]
    return lines, columns


def _check_header(path, header, columns, remedy):
    """Refuse a header without the columns, or with one of them twice."""
    named = [name for name in header if name]
    missing = [name for name in columns if name not in named]
    if missing:
        whole = ",".join(header)
        if kind := kind_of_file(whole.encode()):
            raise PreparationError(f"{path}: is {kind.name}; get it again")
        for mark, word in ((";", "semicolons"), ("\t", "tabs")):
            if mark in whole:
                remedy = f"it is separated by {word}: save it with commas"
        raise PreparationError(
            f"{path}: has no column {missing}, but {named[:20]}; {remedy}"
        )
    twice = sorted({name for name in named if named.count(name) > 1})
    if twice:
        raise PreparationError(f"{path}: has two columns {twice}; delete one")


def to_numbers(
    path: str | Path,
    table: Mapping[str, pd.Series],
    name: str,
    accepts: Callable[[pd.Series], pd.Series],
    wanted: str,
) -> pd.Series:
    """Convert a column of a table to numbers.

    Arguments
    ---------
    path : str or Path
        The file, for the message.
    table : pandas.DataFrame or dict
        From `read_table`, or its column alone.
    name : str
        The column.
    accepts : callable
        From the numbers, NaN where there is none, to whether they are good.
    wanted : str
        What the numbers must be.

    Returns
    -------
    pandas.Series
        float64.

    Raises
    ------
    PreparationError
        Naming the first bad line and their number.

    Example
    -------
    >>> table = pd.DataFrame({"duration": ["1.5", "nan"]}, index=[2, 3])
    >>> to_numbers("a.csv", table, "duration", lambda x: x > 0, "positive")
    Traceback (most recent call last):
    ...
    audiomamba.dataio.problems.PreparationError: a.csv, line 3: duration is \
'nan'; it must be positive
    """
    numbers = pd.to_numeric(table[name], errors="coerce").astype("float64")
    # every comparison with NaN is false
    wrong = ~accepts(numbers)
    if wrong.any():
        line, n_wrong = wrong.idxmax(), wrong.sum()
        raise PreparationError(
            f"{path}, line {line}: {name} is {table[name][line]!r}; it must "
            f"be {wanted}"
            + (f" (so must {n_wrong - 1} more)" if n_wrong > 1 else "")
        )
    return numbers
