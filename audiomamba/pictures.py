"""Pictures of results, for people; they need matplotlib (extra ``plots``)."""

from pathlib import Path

import numpy as np

from audiomamba.dataio.files import printable

# Classes of which each cell has room for its number
_READABLE = 25


def short_name(name: str, length: int = 32) -> str:
    """Return a name on one line that fits beside an axis.

    Arguments
    ---------
    name : str
        A class or a file.
    length : int
        Most signs.

    Returns
    -------
    str

    Example
    -------
    >>> short_name("Inside, large room or hall", 12)
    'Inside, lar…'
    """
    name = printable(name)
    return name if len(name) <= length else name[: length - 1] + "…"


def confusion_picture(
    path: str | Path,
    targets: np.ndarray,
    predictions: np.ndarray,
    labels: list[str],
    title: str,
) -> None:
    """Draw a confusion matrix: for each class, where its clips went.

    Arguments
    ---------
    path : str or Path
        Image file to write.
    targets, predictions : np.ndarray
        Class indices of the clips, [clips].
    labels : list of str
        Names of the classes, by index.
    title : str
        Above the matrix.

    Raises
    ------
    ModuleNotFoundError
        If matplotlib is not installed.

    Example
    -------
    >>> path = getfixture("tmp_path") / "confusion.png"
    >>> classes = np.array([0, 1, 1])
    >>> confusion_picture(path, classes, classes, ["$a$", "b"], "3 clips")
    >>> path.exists()
    True
    """
    from matplotlib.figure import Figure

    n_classes = len(labels)
    counts = np.zeros((n_classes, n_classes), dtype=int)
    np.add.at(counts, (targets, predictions), 1)
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.where(totals > 0, counts / np.maximum(totals, 1), np.nan)
    side = 3 + 0.3 * n_classes
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.add_subplot(facecolor="lightgrey")
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    # beside the matrix, and exactly as tall
    figure.colorbar(image, cax=axes.inset_axes((1.02, 0, 0.03, 1)))
    names = list(map(short_name, labels))
    marked = [
        name if total else f"{name} (no clips)"
        for name, total in zip(names, totals[:, 0])
    ]
    # names are text, never formulas
    axes.set_xticks(range(n_classes), names, rotation=90, parse_math=False)
    axes.set_yticks(range(n_classes), marked, parse_math=False)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("class (numbers: % of its clips)")
    axes.set_title(title, parse_math=False)
    if n_classes <= _READABLE:
        _write_shares(axes, shares)
    figure.savefig(path, dpi=120)


def _write_shares(axes, shares):
    """Write the share into each cell that is not empty, in per cent."""
    for row, column in zip(*np.nonzero(np.nan_to_num(shares))):
        share = shares[row, column]
        axes.text(
            column,
            row,
            f"{100 * share:.0f}",
            ha="center",
            va="center",
            fontsize=8,
            color="white" if share > 0.5 else "black",
        )
