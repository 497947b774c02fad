"""The results of a benchmark: table, machine, plot."""

import os

import pandas as pd
import torch

from audiomamba.training.runs.environment import (
    command_line,
    hardware,
    package_versions,
    source_commit,
)

from .cells import FOREIGN, KINDS

COLOURS = {
    "aum": "#0b6e99",
    "ast": "#c1440e",
    "dass-small": "#7b5ea7",
    "dass-medium": "#4b3877",
    "scan": "#5b8c2a",
    "mixer": "#0b6e99",
    "stock": "#c1440e",
}
RATES = ("gbytes_per_s", "gexp_per_s", "floor_seconds")
LINES = {"inference": "-", "training": "--"}


def machine(device):
    """Return what the times depend on: processor, instructions, memory."""
    found = hardware(device)
    found["cpus"] = os.cpu_count()
    found["instructions"] = torch.backends.cpu.get_cpu_capability()
    if "SC_PHYS_PAGES" in getattr(os, "sysconf_names", ()):
        pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        found["memory_gib"] = round(pages / 2**30, 1)
    if device == "cuda":
        gpu = torch.cuda.get_device_properties(0)
        found["gpus"] = torch.cuda.device_count()
        found["gpu_memory_gib"] = round(gpu.total_memory / 2**30, 1)
        found["capability"] = f"{gpu.major}.{gpu.minor}"
        found["multiprocessors"] = gpu.multi_processor_count
        found["cuda"] = torch.version.cuda
    return found


def provenance(device):
    """Return machine, versions, commit and command of this run."""
    return {
        "date": pd.Timestamp.now(tz="UTC").isoformat(timespec="seconds"),
        "machine": machine(device),
        # How many processes want to run, which tells of other work.
        "load_average": list(getattr(os, "getloadavg", tuple)()),
        "versions": package_versions(),
        "commit": source_commit(),
        "command": command_line(),
    }


def with_ratios(rows):
    """Return a table with every contender's time divided by its rival's.

    The rival is AST for models and mamba-ssm's for layers, or the first
    contender of the same setting.
    """
    table = pd.DataFrame(rows)
    setting = ["kind", "mode", "precision", "batch", "tokens"]
    table["kind"] = table["subject"].map(KINDS).fillna("models")

    def ratio(group):
        # If the rival ran out of memory, the ratio is NaN.
        rivals = group[group["subject"].isin(FOREIGN)]
        rival = (rivals if len(rivals) else group).iloc[0]
        return group["seconds"] / rival["seconds"]

    parts = [ratio(group) for _, group in table.groupby(setting, sort=False)]
    table["ratio"] = pd.concat(parts)
    return table.drop(columns="kind")


def as_text(table):
    """Return a table to read, one line per measurement."""
    columns = [
        ("layers", "depth", 1, "{:.0f}"),
        ("M params", "parameters", 1e-6, "{:.2f}"),
        ("GFLOP/clip", "gflops_per_clip", 1, "{:.1f}"),
        ("ms/clip", "seconds_per_clip", 1e3, "{:.2f}"),
        ("ratio", "ratio", 1, "{:.2f}"),
        ("GB/s", "gbytes_per_s", 1, "{:.1f}"),
        ("Gexp/s", "gexp_per_s", 1, "{:.2f}"),
        ("floor ms", "floor_seconds", 1e3, "{:.3f}"),
        ("peak MiB", "peak_memory_bytes", 2**-20, "{:.0f}"),
    ]
    shown = table[["mode", "precision", "batch", "tokens", "contender"]].copy()
    for title, name, unit, _ in columns:
        if name not in RATES or table[name].notna().any():
            shown[title] = table[name].astype(float) * unit
    shown["note"] = table["note"]
    formats = {title: form.format for title, _, _, form in columns}
    return shown.to_string(index=False, formatters=formats, na_rep="")


def profile_as_text(entries, top=15):
    """Return the operators of a cell that take the most time, one per line."""
    first = entries[0]
    title = f"\n{first['contender']}, {first['mode']}, {first['tokens']} tokens"
    lines = [
        f"{entry['ms_per_step']:10.2f} ms {entry['share']:7.1%} "
        f"{entry['calls_per_step']:7.0f} calls  {entry['operator']}"
        for entry in entries[:top]
    ]
    return "\n".join([title, *lines])


def plot(table, path, title):
    """Plot time and memory over tokens, as the paper's Fig. 2 does.

    The first precision and batch size of the table are drawn.
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
        ("seconds_per_clip", "time per clip (ms)", 1e-3),
        ("peak_memory_bytes", "peak memory (MiB)", 2**20),
    ]
    panels = [panel for panel in panels if chosen[panel[0]].notna().any()]
    size = (4.5 * len(panels), 3.6)
    figure, axes = plt.subplots(
        1, len(panels), figsize=size, layout="constrained", squeeze=False
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
