"""Label files: CSV with the columns ``index`` and ``label``.

The row with index i names class i, in the order of the classifier's outputs.
"""

from pathlib import Path

import pandas as pd

from audiomamba.dataio.files import write_csv


def read_labels(path, column="label"):
    """Read the class names of a label file.

    Arguments
    ---------
    path : str or Path
        CSV with the column ``index`` and the one named by ``column``.
    column : str
        Where the names stand; ``"mid"`` in the file that AudioSet ships.

    Returns
    -------
    list of str
        Names, ordered by index.

    Raises
    ------
    ValueError
        If a column is missing, the indices are not 0, 1, ... each once, or a
        name is empty or stands twice.

    Example
    -------
    >>> path = getfixture("tmp_path") / "labels.csv"
    >>> write_labels(path, ["yes", "no"])
    >>> read_labels(path)
    ['yes', 'no']
    """
    if not Path(path).is_file():
        raise FileNotFoundError(
            f"Label file {path} is missing; the preparation writes it "
            "(skip_prep: False) unless it comes with the recipe"
        )
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    missing = {"index", column} - set(table.columns)
    if missing:
        raise ValueError(
            f"{path}: no column {sorted(missing)}; its columns are "
            f"{list(table.columns)}"
        )
    if sorted(table["index"]) != sorted(map(str, range(len(table)))):
        raise ValueError(
            f"{path}: the indices must be 0 to {len(table) - 1}, each once"
        )
    names = table.set_index(table["index"].astype(int))[column].sort_index()
    if names.duplicated().any() or not names.all():
        wrong = [*names[names.duplicated()].unique(), *names[names == ""]]
        raise ValueError(f"{path}: empty or repeated class names {wrong}")
    return names.tolist()


def write_labels(path, labels):
    """Write class names with their indices, all at once or not at all.

    Arguments
    ---------
    path : str or Path
        The file; its folder is made if needed.
    labels : iterable of str
        Names in the order of their indices.

    Example
    -------
    >>> path = getfixture("tmp_path") / "labels.csv"
    >>> write_labels(path, ["yes", "no"])
    >>> print(path.read_text(), end="")
    index,label
    0,yes
    1,no
    """
    labels = list(labels)
    write_csv(
        path, pd.DataFrame({"index": range(len(labels)), "label": labels})
    )
