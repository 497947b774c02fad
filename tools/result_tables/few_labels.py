"""The probes of the experiment with few labels, as a table and a picture."""

import pandas as pd

from result_tables.rows import ROOT

FOLDER = ROOT / "docs" / "few_labels"
CSV, PICTURE = "probes.csv", "few_labels.png"
# Labelled clips, by the names of their lists
LABELS = ("60", "300", "all")
# Of the pre-training, and the names of its output folders
LOSSES = ("normalised", "raw", "infonce", "both")
NAMES = {
    "normalised": "normalised patches",
    "raw": "raw patches",
    "infonce": "InfoNCE",
    "both": "normalised patches and InfoNCE",
    "scratch": "from scratch",
    "random": "random encoder",
    "banks": "no encoder: filter banks",
}


def probes(markdown, spread) -> str:
    """Return the table and the picture; nothing before the first probes.

    ``markdown`` turns lines and headings into a table, ``spread`` values into
    their mean and deviation.
    """
    if not (FOLDER / CSV).is_file():
        return ""
    table = pd.read_csv(FOLDER / CSV, keep_default_na=False, dtype=str)
    lines = []
    table["encoder"] = pd.Categorical(table["encoder"], NAMES)
    for (encoder, readout), own in table.groupby(
        ["encoder", "readout"], observed=True
    ):
        line = {"encoder": NAMES[encoder], "readout": readout or "-"}
        for (probe, labels), values in own.groupby(["probe", "labels"]):
            line[f"{probe.split()[0]}, {labels}"] = spread(values["accuracy"])
        lines.append(line)
    headings = ["encoder", "readout"]
    headings += [f"{p}, {n}" for p in ("logistic", "nearest") for n in LABELS]
    seeds = ", ".join(sorted(table["seed"].unique()))
    return "\n\n".join(
        [
            "The frozen encoders, by `tools/few_labels.py`: a logistic "
            "regression and the nearest neighbour on the same lists (60, 300 "
            f"and all labels; seeds {seeds}).",
            markdown(lines, {name: name for name in headings}),
            "![Accuracy over the number of labels, fine-tuned and probed]"
            f"(docs/few_labels/{PICTURE})",
        ]
    )
