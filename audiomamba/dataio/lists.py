"""The one reader of lists and tables that people wrote or saved.

Lists come from many programs: with or without byte-order mark, in any
encoding, with blanks around their entries. What cannot be read raises a
`PreparationError` that names the file, the line and the remedy.
"""

import csv
import io
import os
import posixpath
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pandas as pd

from audiomamba.dataio.codecs.formats import kind_of_file
from audiomamba.dataio.problems import PreparationError

LABEL_SEPARATOR = ";"
# White space, byte-order marks and blanks of no width
_BLANK = " \t\r\n\v\f\xa0\u2003\u200b\u3000\ufeff"
_SHOWN = 20
# What a tidy table does not have
_UNTIDY = (b" ", b"\t", b'"', b"\r", b"\0", b"\n\n", b"\n,")


def clean(text: str) -> str:
    """Strip a name, and compose its accents as most programs write them.

    Arguments
    ---------
    text : str
        For example a label as it is in a list.

    Returns
    -------
    str

    Example
    -------
    >>> clean(" cafe\\u0301 ") == "caf\\u00e9"
    True
    """
    return unicodedata.normalize("NFC", text.strip(_BLANK))


def split_labels(text: str) -> list[str]:
    """Return the class names of a clip that may have several.

    Arguments
    ---------
    text : str
        Names joined by ``;``.

    Returns
    -------
    list of str
        Each once, in their order; blanks around them do not count.

    Example
    -------
    >>> split_labels("dog; rain;dog;")
    ['dog', 'rain']
    """
    names = (clean(name) for name in text.split(LABEL_SEPARATOR))
    return list(dict.fromkeys(filter(None, names)))


def normal_path(text: str, folder: str | Path = "") -> str:
    """Return the one form of a path by which files are compared.

    Arguments
    ---------
    text : str
        A path as it is in a list, with slashes or backslashes.
    folder : str or Path
        The folder that it is relative to.

    Returns
    -------
    str
        The path relative to ``folder``, without ``.``, ``..`` and doubled
        slashes within; an absolute path outside ``folder`` stays one.

    Example
    -------
    >>> normal_path("./a//b/../c.wav"), normal_path("a\\\\c.wav")
    ('a/c.wav', 'a/c.wav')
    >>> normal_path("/data/a/c.wav", "/data")
    'a/c.wav'
    """
    path = posixpath.normpath(text.strip(_BLANK).replace("\\", "/"))
    if folder and posixpath.isabs(path):
        for root in (os.path.abspath(folder), os.path.realpath(folder)):
            if path.startswith(f"{root}/"):
                return path[len(root) + 1 :]
    return path


def read_lines(path: str | Path) -> Iterator[tuple[int, str]]:
    """Read a list with one entry per line.

    Arguments
    ---------
    path : str or Path
        A text file in UTF-8, with or without byte-order mark.

    Yields
    ------
    int
        Number of the line, from 1.
    str
        The line without blanks at its ends; empty lines are left out.

    Raises
    ------
    PreparationError
        If the file cannot be read, is in another encoding, or has no line.

    Example
    -------
    >>> path = getfixture("tmp_path") / "list.txt"
    >>> _ = path.write_bytes(b"\\xef\\xbb\\xbfa.wav \\r\\n\\r\\nb.wav")
    >>> list(read_lines(path))
    [(1, 'a.wav'), (3, 'b.wav')]
    """
    empty = True
    for number, line in enumerate(_text(path), start=1):
        if line := line.strip(_BLANK):
            empty = False
            yield number, line
    if empty:
        raise PreparationError(_is_empty(path))


def read_fields(path: str | Path) -> Iterator[tuple[int, list[str]]]:
    """Read the fields of a CSV file, row by row.

    Arguments
    ---------
    path : str or Path
        See `read_lines`.

    Yields
    ------
    int
        Number of the line, from 1.
    list of str
        Its fields, without blanks at their ends; rows without content are
        left out.

    Raises
    ------
    PreparationError
        See `read_lines`; also if a quote is not closed, so that a field has
        several lines.

    Example
    -------
    >>> path = getfixture("tmp_path") / "list.csv"
    >>> _ = path.write_text('a, "b, c" \\n,\\n')
    >>> list(read_fields(path))
    [(1, ['a', 'b, c'])]
    """
    rows = csv.reader(_text(path), skipinitialspace=True)
    empty = True
    try:
        for fields in rows:
            fields = [field.strip(_BLANK) for field in fields]
            if any("\n" in field or "\r" in field for field in fields):
                raise csv.Error("a field has several lines")
            if any(fields):
                empty = False
                yield rows.line_num, fields
    except csv.Error as error:
        raise PreparationError(
            f"{path}: is no list up to line {rows.line_num} ({error}); close "
            "a quote before it"
        ) from error
    if empty:
        raise PreparationError(_is_empty(path))


def read_table(
    path: str | Path, columns: Sequence[str], remedy: str = "correct the header"
) -> pd.DataFrame:
    """Read a CSV file with a header.

    Arguments
    ---------
    path : str or Path
        See `read_lines`.
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
        See `read_fields`; also if a column is missing or repeated, or a row
        has more or fewer fields than the header.

    Example
    -------
    >>> path = getfixture("tmp_path") / "list.csv"
    >>> _ = path.write_text("wav, label\\na.wav, dog \\n")
    >>> read_table(path, ["wav"]).to_dict("index")
    {2: {'wav': 'a.wav', 'label': 'dog'}}
    """
    table = _read_tidy(path)
    if table is None:
        table = _read_untidy(path)
    _check_header(path, list(table), columns, remedy)
    return table


def _read_tidy(path):
    """Read a table that needs no care, such as our own manifests; or None.

    Five times as fast, which matters for millions of rows.
    """
    try:
        content = Path(path).read_bytes()
        if not content.isascii() or any(mark in content for mark in _UNTIDY):
            return None
        table = pd.read_csv(
            io.BytesIO(content), dtype=str, keep_default_na=False, header=None
        )
    except (OSError, ValueError):
        return None
    n_fields = content.count(b",") + len(table)
    if n_fields != table.size or not table.iloc[0].all():
        return None
    header = table.iloc[0]
    table = table[1:].set_axis(header.tolist(), axis=1)
    return table.set_axis(range(2, len(table) + 2))


def _read_untidy(path):
    """Read any table, row by row."""
    rows = read_fields(path)
    _, header = next(rows)
    size, lines, kept, ragged = len(header), [], [], []
    for line, fields in rows:
        # spreadsheets write empty fields behind the last column
        if len(fields) < size or any(fields[size:]):
            ragged.append(
                f"{path}, line {line}: has {len(fields)} fields, and the "
                f"header has {size}"
            )
            continue
        lines.append(line)
        kept.append(fields[:size])
    if ragged:
        more = [f"... and {len(ragged) - _SHOWN} more lines"]
        raise PreparationError(
            "\n".join(ragged[:_SHOWN] + more * (len(ragged) > _SHOWN))
            + "\nComplete the line, close its quote, or put a field with a "
            "comma in quotes."
        )
    table = pd.DataFrame(kept, index=lines, columns=header, dtype=object)
    return table.loc[:, [name for name in header if name]]


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
    table: pd.DataFrame,
    name: str,
    accepts: Callable[[pd.Series], pd.Series],
    wanted: str,
) -> pd.Series:
    """Convert a column of a table to numbers.

    Arguments
    ---------
    path : str or Path
        The file, for the message.
    table : pandas.DataFrame
        From `read_table`.
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


def _text(path):
    """Yield the lines of a text file, or raise what is wrong with it."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            for number, line in enumerate(file, start=1):
                if "\0" in line:
                    raise PreparationError(_not_text(path, number))
                yield line
    except UnicodeDecodeError:
        raise PreparationError(_not_text(path, _first_bad(path))) from None
    except OSError as error:
        raise PreparationError(
            f"{path}: cannot be read ({error.strerror}); restore it, correct "
            "the path, or change its permissions"
        ) from error


def _first_bad(path):
    """Number of the first line that is not UTF-8."""
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return number
    return 1


def _not_text(path, number):
    """What is wrong with a list that is not UTF-8, and the remedy."""
    path = Path(path)
    with open(path, "rb") as file:
        head = file.read(512)
    kind = kind_of_file(head)
    if kind:
        return f"{path}: is {kind.name}, not text; save or get it as text"
    encoding, others = "UTF-16", ""
    if b"\0" not in head:
        encoding = "WINDOWS-1252"
        others = ", or from GB18030, SHIFT_JIS or what else it was saved in"
    return (
        f"{path}, line {number}: is not UTF-8; convert the file: iconv -f "
        f"{encoding} -t UTF-8 {path.name} > new-{path.name}{others}"
    )


def _is_empty(path):
    """The message for a list without content."""
    return f"{path}: is empty; get or write it again"
