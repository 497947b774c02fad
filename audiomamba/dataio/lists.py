"""The one reader of lists that people wrote or saved.

Lists come from many programs: with or without byte-order mark, in any
encoding, with blanks around their entries. What cannot be read raises a
`PreparationError` that names the file, the line and the remedy. Tables with a
header are read by `audiomamba.dataio.columns`.
"""

import csv
import os
import posixpath
import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from audiomamba.dataio.codecs.formats import kind_of_file
from audiomamba.dataio.problems import PreparationError

LABEL_SEPARATOR = ";"
# White space, byte-order marks and blanks of no width
BLANK = " \t\r\n\v\f\xa0\u2003\u200b\u3000\ufeff"


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
    return unicodedata.normalize("NFC", text.strip(BLANK))


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
    names = map(_clean_name, text.split(LABEL_SEPARATOR))
    return list(dict.fromkeys(filter(None, names)))


# there are far fewer classes than clips
_clean_name = lru_cache(maxsize=1 << 14)(clean)


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
    path = posixpath.normpath(text.strip(BLANK).replace("\\", "/"))
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
        if line := line.strip(BLANK):
            empty = False
            yield number, line
    if empty:
        raise PreparationError(is_empty(path))


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
    empty = True
    for line, fields in raw_rows(path):
        fields = [field.strip(BLANK) for field in fields]
        check_single_lines(path, [line] * len(fields), fields)
        if any(fields):
            empty = False
            yield line, fields
    if empty:
        raise PreparationError(is_empty(path))


def raw_rows(path: str | Path) -> Iterator[tuple[int, list[str]]]:
    """Read the rows of a CSV file as they are; see `read_fields`.

    Arguments
    ---------
    path : str or Path
        See `read_lines`.

    Yields
    ------
    int
        Number of the line, from 1.
    list of str
        Its fields, with the blanks at their ends; none of an empty line.

    Raises
    ------
    PreparationError
        See `read_lines`.
    """
    rows = csv.reader(_text(path), skipinitialspace=True)
    try:
        yield from ((rows.line_num, fields) for fields in rows)
    except csv.Error as error:
        raise PreparationError(
            _open_quote(path, rows.line_num, str(error))
        ) from error


def check_single_lines(
    path: str | Path, lines: Sequence[int], fields: Sequence[str]
) -> None:
    """Refuse fields of several lines: a quote was not closed before them.

    Arguments
    ---------
    path : str or Path
        Their file.
    lines : sequence of int
        The line of each field.
    fields : sequence of str
        Without blanks at their ends.

    Raises
    ------
    PreparationError
        Naming the first such line.
    """
    joined = "".join(fields)
    if "\n" in joined or "\r" in joined:
        line = next(
            n for n, text in zip(lines, fields) if "\n" in text or "\r" in text
        )
        raise PreparationError(
            _open_quote(path, line, "a field has several lines")
        )


def _open_quote(path, line, fault):
    return (
        f"{path}: is no list up to line {line} ({fault}); close a quote "
        "before it"
    )


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


def is_empty(path: str | Path) -> str:
    """Return the message for a list without content."""
    return f"{path}: is empty; get or write it again"
