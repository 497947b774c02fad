"""Small files written all at once or not at all."""

import os
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replaced_file(path):
    """Write beside ``path`` and put the result in its place at the end.

    A reader, or a run that was interrupted, never sees half a file.

    Arguments
    ---------
    path : str or Path
        The file to write; its folder is made if needed.

    Yields
    ------
    Path
        Where to write.

    Example
    -------
    >>> path = getfixture("tmp_path") / "new" / "a.txt"
    >>> with replaced_file(path) as draft:
    ...     _ = draft.write_text("whole")
    >>> path.read_text()
    'whole'
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # the process id keeps two runs that prepare the same folder apart
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield draft
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def write_csv(path, table):
    """Write a table as CSV, all at once or not at all.

    Arguments
    ---------
    path : str or Path
        The file; its folder is made if needed.
    table : pandas.DataFrame
        Its index is left out.

    Example
    -------
    >>> import pandas as pd
    >>> path = getfixture("tmp_path") / "a.csv"
    >>> write_csv(path, pd.DataFrame({"ID": ["x"], "duration": [1.5]}))
    >>> path.read_text()
    'ID,duration\\nx,1.5\\n'
    """
    with replaced_file(path) as draft:
        table.to_csv(draft, index=False, lineterminator="\n")
