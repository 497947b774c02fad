"""What a benchmark leaves behind: table, CSV, JSON, plot."""

import os

import pandas as pd
import torch

from audiomamba.training.results import (
    command_line,
    hardware,
    package_versions,
    source_commit,
)

COLOURS = {"aum": "#0b6e99", "ast": "#c1440e", "scan": "#5b8c2a"}
LINES = {"inference": "-", "training": "--"}


def machine(device):
    """Return what tells this machine from another.

    Arguments
    ---------
    device : str
        "cpu" or "cuda".

    Returns
    -------
    dict
    """
    found = hardware(device)
    found["cpus"] = os.cpu_count()
    found["instructions"] = torch.backends.cpu.get_cpu_capability()
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        found["memory_gib"] = round(pages / 2**30, 1)
    if device == "cuda":
        properties = torch.cuda.get_device_properties(0)
        found["gpu_memory_gib"] = round(properties.total_memory / 2**30, 1)
    return found


def provenance(device):
    """Return machine, versions, commit and command of this run.

    Arguments
    ---------
    device : str
        "cpu" or "cuda".

    Returns
    -------
    dict
    """
    return {
        "date": pd.Timestamp.now(tz="UTC").isoformat(timespec="seconds"),
        "machine": machine(device),
        # Other work on the machine, in processes that want to run.
        "load_average": list(os.getloadavg())
        if hasattr(os, "getloadavg")
        else None,
        "versions": package_versions(),
        "commit": source_commit(),
        "command": command_line(),
    }


def with_ratios(rows):
    """Return a table with every contender's time over its rival's.

    The rival is AST; where it was not measured, the first contender of the
    same setting.

    Arguments
    ---------
    rows : list of dict
        Measurements.

    Returns
    -------
    pandas.DataFrame
    """
    table = pd.DataFrame(rows)
    setting = ["scan_alone", "mode", "precision", "batch", "tokens"]
    table["scan_alone"] = table["subject"] == "scan"

    def ratio(group):
        # A rival that ran out of memory leaves nothing to compare with.
        rivals = group[group["subject"] == "ast"]
        rival = (rivals if len(rivals) else group).iloc[0]
        return group["seconds"] / rival["seconds"]

    parts = [ratio(group) for _, group in table.groupby(setting, sort=False)]
    table["ratio"] = pd.concat(parts)
    return table.drop(columns="scan_alone")


def as_text(table):
    """Return a table to read, one line per measurement.

    Arguments
    ---------
    table : pandas.DataFrame
        From `with_ratios`.

    Returns
    -------
    str
    """
    shown = pd.DataFrame(
        {
            "mode": table["mode"],
            "precision": table["precision"],
            "batch": table["batch"],
            "tokens": table["tokens"],
            "contender": table["contender"],
            "M params": table["parameters"].astype(float) / 1e6,
            "GFLOP/clip": table["gflops_per_clip"].astype(float),
            "ms/clip": 1e3 * table["seconds_per_clip"].astype(float),
            "ratio": table["ratio"].astype(float),
            "peak MiB": table["peak_memory_bytes"].astype(float) / 2**20,
            "note": table["note"],
        }
    )
    if table["gexp_per_s"].notna().any():
        shown.insert(9, "GB/s", table["gbytes_per_s"].astype(float))
        shown.insert(10, "Gexp/s", table["gexp_per_s"].astype(float))
    formats = {
        "M params": "{:.2f}".format,
        "GFLOP/clip": "{:.1f}".format,
        "ms/clip": "{:.2f}".format,
        "ratio": "{:.2f}".format,
        "peak MiB": "{:.0f}".format,
        "GB/s": "{:.1f}".format,
        "Gexp/s": "{:.2f}".format,
    }
    return shown.to_string(index=False, formatters=formats, na_rep="")


def plot(table, path, title):
    """Draw time and memory against tokens, as the paper's Fig. 2.

    Arguments
    ---------
    table : pandas.DataFrame
        From `with_ratios`.
    path : str
        Image to write; its ending is its format.
    title : str
        Usually the machine.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise ImportError(
            "Plots need matplotlib: pip install matplotlib."
        ) from error
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import LogLocator, StrMethodFormatter

    first = table.iloc[0]
    chosen = table[
        (table["precision"] == first["precision"])
        & (table["batch"] == first["batch"])
    ]
    panels = [
        panel
        for panel in (
            ("seconds_per_clip", "time per clip (ms)", 1e-3),
            ("peak_memory_bytes", "peak memory (MiB)", 2**20),
        )
        if chosen[panel[0]].notna().any()
    ]
    figure, axes = plt.subplots(
        1,
        len(panels),
        figsize=(4.5 * len(panels), 3.6),
        layout="constrained",
        squeeze=False,
    )
    axes = axes[0]
    groups = chosen.groupby(["contender", "mode"], sort=False)
    for axis, (column, label, unit) in zip(axes, panels):
        for (contender, mode), group in groups:
            axis.plot(
                group["tokens"],
                group[column].astype(float) / unit,
                LINES[mode],
                marker="o",
                markersize=4,
                color=COLOURS[group["subject"].iloc[0]],
                alpha=0.5 if group["engine"].iloc[0] == "reference" else 1.0,
                label=f"{contender}, {mode}",
            )
        ticks = sorted(chosen["tokens"].unique())
        axis.set_xscale("log", base=2)
        axis.set_xticks(ticks, [str(tick) for tick in ticks])
        axis.set_yscale("log")
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.minorticks_off()
        axis.set(xlabel="tokens", ylabel=label)
        axis.grid(alpha=0.3)
    axes[0].legend(frameon=False, fontsize=8)
    batch, precision = first["batch"], first["precision"]
    figure.suptitle(f"{title}, batch {batch}, {precision}", fontsize=9)
    figure.savefig(path, dpi=150)
    plt.close(figure)
