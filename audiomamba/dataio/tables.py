"""Tables for people and other programs, as CSV or Parquet."""

from importlib.util import find_spec
from pathlib import Path

import pandas as pd

from audiomamba.dataio.files import replaced_file
from audiomamba.dataio.problems import PreparationError

TABLE_FORMATS = ("csv", "parquet")


def check_table_format(name: str) -> str:
    """Refuse a format of tables that is unknown or that lacks its package.

    Arguments
    ---------
    name : str
        ``csv`` or ``parquet``.

    Returns
    -------
    str
        The same.

    Raises
    ------
    PreparationError
        (a ValueError) If it is another format, or ``parquet`` and pyarrow is
        not installed.

    Example
    -------
    >>> check_table_format("csv")
    'csv'
    """
    if name not in TABLE_FORMATS:
        raise PreparationError(
            f"{name!r} is no format of tables; choose csv or parquet."
        )
    if name == "parquet" and find_spec("pyarrow") is None:
        raise PreparationError(
            "parquet needs the package pyarrow: pip install "
            "'audiomamba[parquet]', or choose csv."
        )
    return name


def write_csv(path: str | Path, table: pd.DataFrame) -> None:
    """Write a table as CSV, without its index.

    Arguments
    ---------
    path : str or Path
        The file; its folder is created if needed.
    table : pandas.DataFrame
        The rows.

    Example
    -------
    >>> path = getfixture("tmp_path") / "a.csv"
    >>> write_csv(path, pd.DataFrame({"ID": ["x"], "duration": [1.5]}))
    >>> path.read_text()
    'ID,duration\\nx,1.5\\n'
    """
    with replaced_file(path) as draft:
        table.to_csv(draft, index=False, lineterminator="\n")


def write_table(path: str | Path, table: pd.DataFrame) -> None:
    """Write a table, without its index, in the format of the file's suffix.

    Arguments
    ---------
    path : str or Path
        The file, ``.csv`` or ``.parquet``; its folder is created if needed.
    table : pandas.DataFrame
        The rows.

    Example
    -------
    >>> path = getfixture("tmp_path") / "a.csv"
    >>> write_table(path, pd.DataFrame({"a, b": ["x"]}))
    >>> path.read_text()
    '"a, b"\\nx\\n'
    """
    if check_table_format(Path(path).suffix[1:]) == "csv":
        return write_csv(path, table)
    with replaced_file(path) as draft:
        table.to_parquet(draft, engine="pyarrow", index=False)
