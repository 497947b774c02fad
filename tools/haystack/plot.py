"""The picture of one or more measurements."""

from pathlib import Path

import pandas as pd

LABELS = {
    "pass": "one pass",
    "mean": "windows, mean",
    "max": "windows, maximum",
}
COLOURS = {"pass": "#0b6e99", "mean": "#5b8c2a", "max": "#c1440e"}


def duration(seconds: float) -> str:
    """Return some seconds as people say it.

    Example
    -------
    >>> duration(2.5), duration(90), duration(600), duration(9000)
    ('2.5 s', '90 s', '10 min', '2.5 h')
    """
    for name, unit in (("h", 3600), ("min", 60)):
        if seconds >= 2 * unit or seconds == unit:
            return f"{seconds / unit:.3g} {name}"
    return f"{seconds:.3g} s"


def plot_results(tables: dict[str, pd.DataFrame], target: str | Path) -> None:
    """Plot how well needles are found, a column of plots per model.

    First over the total length: the mean over positions, in a band from the
    worst to the best; mAP and, if all tables have it, accuracy.  Then mAP over
    the position, for the first mode of the table.

    Arguments
    ---------
    tables : dict
        Name of a model -> its table.
    target : str or Path
        Image file.
    """
    from matplotlib.figure import Figure

    metrics = ["mAP"]
    if all("accuracy" in table for table in tables.values()):
        metrics.append("accuracy")
    n_rows, n_columns = len(metrics) + 1, len(tables)
    size = (1 + 4 * n_columns, 3.2 * n_rows)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(n_rows, n_columns, sharey=True, squeeze=False)
    for (name, table), column in zip(tables.items(), axes.T):
        alone, found = table.iloc[0], table.iloc[1:]
        for ax, metric in zip(column, [*metrics, "mAP"]):
            ax.axhline(alone[metric], color="black", linestyle=":")
            ax.grid(alpha=0.3)
        for ax, metric in zip(column, metrics):
            _draw_totals(ax, found, metric)
        mode = found["mode"].iloc[0]
        _draw_positions(column[-1], found[found["mode"] == mode])
        column[0].set_title(name)
        column[-1].set_title(LABELS[mode], fontsize="medium")
    for ax, metric in zip(axes[:, 0], [*metrics, "mAP"]):
        ax.set_ylabel(f"{metric} (%)")
    axes[0, 0].set_ylim(0, 102)
    axes[0, 0].legend(fontsize="small")
    figure.savefig(target, dpi=100)


def _draw_totals(ax, found, metric):
    """Draw a line per mode over the total length."""
    for mode, rows in found.groupby("mode", sort=False):
        by_total = rows.groupby("total")[metric]
        mean, colour = by_total.mean(), COLOURS[mode]
        ax.plot(mean.index, mean, "o-", color=colour, label=LABELS[mode])
        ax.fill_between(
            mean.index, by_total.min(), by_total.max(), color=colour, alpha=0.2
        )
    totals = sorted(found["total"].unique())
    ax.set_xscale("log")
    ax.set_xticks(totals, map(duration, totals), rotation=45)
    ax.minorticks_off()
    ax.set_xlabel("total length (dotted: the clip alone)")


def _draw_positions(ax, found):
    """Draw the mAP over the position, a line per total length."""
    from matplotlib import colormaps

    groups = found.groupby("total")
    for index, (total, rows) in enumerate(groups):
        shade = colormaps["viridis"](0.9 * index / max(len(groups) - 1, 1))
        rows = rows.sort_values("position")
        ax.plot(
            rows["position"],
            rows["mAP"],
            "o-",
            color=shade,
            label=duration(total),
        )
    ax.set_xlabel("position of the clip (0 start, 1 end)")
    ax.legend(fontsize="small")
