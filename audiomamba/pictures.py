"""Pictures of results, for people; they need matplotlib (extra ``plots``)."""

import logging
import math
from pathlib import Path

import numpy as np

from audiomamba.dataio.files import printable

logger = logging.getLogger(__name__)

# Most classes whose cells have room for numbers, and whose rows for names
_NUMBERED, _NAMED = 60, 200
# Most classes -> side of a cell, in inches
_CELLS = {_NUMBERED: 0.3, _NAMED: 0.13, math.inf: 0.02}


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


def fonts_for(names: list[str]) -> tuple[list[str], set[str]]:
    """Choose installed fonts that together have every sign of some names.

    Arguments
    ---------
    names : list of str
        What is to be written.

    Returns
    -------
    families : list of str
        For matplotlib, its default first.
    missing : set of str
        Signs that no font has.

    Example
    -------
    >>> families, missing = fonts_for(["dog", "Läufer"])
    >>> len(families), missing
    (1, set())
    """
    from matplotlib import font_manager, rcParams

    default = font_manager.findfont(font_manager.FontProperties())
    families, missing = list(rcParams["font.family"]), set("".join(names))
    missing -= _signs(default)
    for entry in font_manager.fontManager.ttflist:
        # the last resort draws a box for every sign
        if not missing or entry.name.startswith("Last Resort"):
            continue
        if entry.name not in families and missing & _signs(entry.fname):
            families.append(entry.name)
            missing -= _signs(entry.fname)
    return families, missing


def _signs(font_file):
    """Return the signs that a font has."""
    from matplotlib.font_manager import get_font

    return set(map(chr, get_font(font_file).get_charmap()))


def confusion_picture(
    path: str | Path,
    targets: np.ndarray,
    predictions: np.ndarray,
    labels: list[str],
    title: str,
) -> None:
    """Draw a confusion matrix: for each class, where its clips went.

    Cells have one size, whatever the names, so up to 60 classes have numbers
    and up to 200 have names.

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
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    n_classes = len(labels)
    counts = np.zeros((n_classes, n_classes), dtype=int)
    np.add.at(counts, (targets, predictions), 1)
    totals = counts.sum(axis=1)
    shares = np.full(counts.shape, np.nan)
    np.divide(counts, totals[:, None], out=shares, where=totals[:, None] > 0)
    title += "\ncells: % of the row's clips"
    if n_empty := int((totals == 0).sum()):
        title += f"\ngrey: {n_empty} of {n_classes} classes without clips"
    names = list(map(short_name, labels))
    families, missing = fonts_for(names)
    if missing:
        logger.info(
            "%s: no installed font has %s; classes of such names are numbered",
            path,
            " ".join(sorted(missing)[:10]),
        )
        names = [
            f"class {index}" if missing & set(name) else name
            for index, name in enumerate(names)
        ]
    cell = next(s for most, s in _CELLS.items() if n_classes <= most)
    side = cell * n_classes
    with rc_context({"font.family": families}):
        figure = Figure(figsize=(side, side))
        # names and title lie around it, and are part of what is saved
        axes = figure.add_axes((0, 0, 1, 1), facecolor="lightgrey")
        image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        bar = figure.add_axes((1 + 0.12 / side, 0, 0.15 / side, 1))
        figure.colorbar(image, cax=bar, format=lambda x, _: f"{100 * x:.0f} %")
        axes.set_title(title, loc="left", pad=12, fontsize=10, parse_math=False)
        what = "class" if n_classes <= _NAMED else "index of class"
        axes.set_xlabel(f"predicted {what}")
        axes.set_ylabel(what)
        if n_classes <= _NAMED:
            _write_names(axes, names, totals, cell)
        if n_classes <= _NUMBERED:
            _write_shares(axes, shares)
        figure.savefig(path, dpi=120, bbox_inches="tight", pad_inches=0.15)


def _write_names(axes, names, totals, cell):
    """Write the names of the classes, and how many clips they have."""
    # names are text, never formulas
    options = {"fontsize": min(9, 55 * cell), "parse_math": False}
    rows = [f"{n} ({total or 'no clips'})" for n, total in zip(names, totals)]
    places = range(len(names))
    axes.set_xticks(places, names, rotation=90, **options)
    axes.set_yticks(places, rows, **options)


def _write_shares(axes, shares):
    """Write the share into each cell that is not empty, in per cent."""
    for row, column in zip(*np.nonzero(np.nan_to_num(shares))):
        share = shares[row, column]
        axes.text(
            column,
            row,
            f"{100 * share:.0f}" if share >= 0.005 else "<1",
            ha="center",
            va="center",
            fontsize=8,
            color="white" if share > 0.5 else "black",
        )


def precision_recall_picture(
    path: str | Path,
    scores: np.ndarray,
    rows: np.ndarray,
    labels: list[str],
    thresholds: list[float] | None = None,
    chosen: list[str] | None = None,
) -> None:
    """Draw precision over recall of some classes.

    Arguments
    ---------
    path : str or Path
        Image file to write.
    scores : np.ndarray
        Probabilities, [clips, classes].
    rows : np.ndarray
        Whether a clip has a class, [clips, classes].
    labels : list of str
        Names of the classes, by index.
    thresholds : list of float, optional
        Of each class; a dot on its curve.
    chosen : list of str, optional
        The classes to draw; None: the eight with the most clips.

    Raises
    ------
    ModuleNotFoundError
        If matplotlib is not installed.
    ValueError
        If a class is unknown, or none of them has a clip.

    Example
    -------
    >>> path = getfixture("tmp_path") / "curves.png"
    >>> scores, rows = np.array([[0.9], [0.2]]), np.array([[1], [0]])
    >>> precision_recall_picture(path, scores, rows, ["dog"], [0.5])
    >>> path.exists()
    True
    """
    from matplotlib.figure import Figure
    from sklearn.metrics import average_precision_score, precision_recall_curve

    counts = (rows > 0).sum(axis=0)
    if chosen is None:
        indices = np.argsort(-counts, kind="stable")[:8].tolist()
    elif unknown := sorted(set(chosen) - set(labels)):
        raise ValueError(f"there is no class {', '.join(unknown)}")
    else:
        indices = [labels.index(name) for name in chosen]
    indices = [index for index in indices if counts[index]]
    if not indices:
        raise ValueError("none of the classes has a clip")
    figure = Figure(figsize=(9, 5.5), layout="constrained")
    axes = figure.add_subplot()
    for index in indices:
        positive, score = rows[:, index] > 0, scores[:, index]
        precision, recall, _ = precision_recall_curve(positive, score)
        area = average_precision_score(positive, score)
        name = f"{short_name(labels[index])}  {area:.2f}  ({counts[index]})"
        (line,) = axes.step(recall, precision, where="post", label=name)
        said = score >= thresholds[index] if thresholds else np.array(False)
        if said.any():
            hits = (said & positive).sum()
            place = hits / positive.sum(), hits / said.sum()
            axes.plot(*place, "o", color=line.get_color())
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
    legend = axes.legend(
        title="class, average precision, clips",
        loc="upper left",
        bbox_to_anchor=(1.01, 1),
    )
    for text in legend.get_texts():
        # names are text, never formulas
        text.set_parse_math(False)
    figure.savefig(path, dpi=120)


def learning_curves_picture(
    path: str | Path, panels: dict[str, dict[str, list[list[float]]]]
) -> None:
    """Draw learning curves: the mean over runs, in a band of one deviation.

    A model has the same colour in all panels.

    Arguments
    ---------
    path : str or Path
        Image file to write.
    panels : dict
        Title -> name of a model -> for each of its runs the score after every
        epoch, in percent.

    Raises
    ------
    ModuleNotFoundError
        If matplotlib is not installed.

    Example
    -------
    >>> path = getfixture("tmp_path") / "curves.png"
    >>> runs = [[20.0, 40.0, 60.0], [25.0, 50.0, 55.0]]
    >>> learning_curves_picture(path, {"ten sounds": {"AuM": runs}})
    >>> path.exists()
    True
    """
    from matplotlib.figure import Figure

    n_rows, n_columns = math.ceil(len(panels) / 3), min(len(panels), 3)
    size = (5 * n_columns, 3.6 * n_rows)
    colours: dict[str, str] = {}
    figure = Figure(figsize=size, layout="constrained")
    for place, (title, models) in enumerate(panels.items(), 1):
        ax = figure.add_subplot(n_rows, n_columns, place)
        for name, runs in models.items():
            values = np.array(runs)
            epochs = np.arange(1, values.shape[1] + 1)
            mean, std = values.mean(axis=0), np.zeros(len(epochs))
            if len(values) > 1:
                std = values.std(axis=0, ddof=1)
            colour = colours.setdefault(name, f"C{len(colours)}")
            ax.plot(epochs, mean, label=name, color=colour)
            band = np.clip([mean - std, mean + std], 0, 100)
            ax.fill_between(epochs, *band, alpha=0.15, fc=colour)
        ax.set(title=title, xlabel="epoch", ylabel="score, %")
        ax.grid(alpha=0.3)
        ax.legend(fontsize=8)
    figure.savefig(path, dpi=100)


def score_bars_picture(
    path: str | Path, panels: dict[str, dict[str, tuple[float, float]]]
) -> None:
    """Draw a bar per model, with its standard deviation.

    Arguments
    ---------
    path : str or Path
        Image file to write.
    panels : dict
        Title -> name of a model -> score and deviation, in percent; a
        deviation of 0 is not drawn.

    Raises
    ------
    ModuleNotFoundError
        If matplotlib is not installed.

    Example
    -------
    >>> path = getfixture("tmp_path") / "bars.png"
    >>> score_bars_picture(path, {"ten sounds": {"AuM": (60.0, 5.0)}})
    >>> path.exists()
    True
    """
    from matplotlib.figure import Figure

    heights = [len(models) + 1.2 for models in panels.values()]
    figure = Figure(figsize=(8, 0.33 * sum(heights)), layout="constrained")
    axes = figure.subplots(
        len(panels), 1, squeeze=False, height_ratios=heights
    )[:, 0]
    for ax, (title, models) in zip(axes, panels.items(), strict=True):
        names = list(models)[::-1]
        means, stds = zip(*(models[name] for name in names))
        errors = [std or np.nan for std in stds]
        bars = ax.barh(names, means, xerr=errors, height=0.7, alpha=0.8)
        ax.bar_label(bars, [f"{m:.1f}" for m in means], padding=3, fontsize=8)
        ax.set_title(title, loc="left", fontsize=10)
        ax.set_xlim(0, 115)
        ax.spines[["top", "right"]].set_visible(False)
    axes[-1].set_xlabel("%")
    figure.savefig(path, dpi=110)
