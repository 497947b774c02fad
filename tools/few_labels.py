#!/usr/bin/env python3
"""Probe the encoders of the experiment with few labels, and draw its picture.

    python tools/few_labels.py --seeds 1 2 3
    python tools/few_labels.py             # only draw the picture again

egs_results.md says which runs come before. The encoders in
recipes/Pretraining/results are probed on the lists of recipes/Custom/data/fsdd;
docs/few_labels gets the figures, and the picture of them and of the fine-tuned
models in egs_results.csv. Then python tools/collect_results.py writes the page.
"""

import argparse
import json
import logging
import sys
from pathlib import Path

import pandas as pd
import probe
from result_tables.few_labels import (
    CSV,
    FOLDER,
    LABELS,
    LOSSES,
    NAMES,
    PICTURE,
)
from result_tables.rows import ROOT

from audiomamba.dataio.files import write_json
from audiomamba.dataio.tables import write_csv
from audiomamba.training.runs.environment import environment

LISTS = ROOT / "recipes" / "Custom" / "data" / "fsdd"
RUNS = ROOT / "recipes" / "Pretraining" / "results" / "fsdd_aum_tiny"
# The name of a probed representation -> what to call its encoder
BASELINES = {"random encoder": "random", probe.BASELINE: "banks"}
COLOURS = {
    "scratch": "black", "normalised": "#0b6e99", "raw": "#c1440e",
    "infonce": "#5b8c2a", "both": "#7d4e9e", "random": "grey",
    "banks": "#b8860b",
}  # fmt: skip


def probe_run(loss: str, seed: int) -> pd.DataFrame:
    """Probe the encoder of a run for each number of labels."""
    lists = [LISTS / f"train_all_{seed}.csv", LISTS / "test.csv"]
    arguments = probe.parse_arguments(
        [str(RUNS / loss / str(seed)), *map(str, lists)]
        + [f"--output_folder={RUNS / loss / str(seed) / 'probe'}"]
    )
    clips = probe.read_clips(arguments)
    found, _, _ = probe.representations(arguments, clips)
    labels, (train, test) = clips.table["label"].to_numpy(), clips.parts[0]
    lines = []
    for count in LABELS:
        known = pd.read_csv(LISTS / f"train_{count}_{seed}.csv")["ID"]
        ids = clips.table["ID"].str.removeprefix("train/")
        few = train[ids[train].isin(known)]
        for name, values in found.items():
            encoder, _, readout = name.partition(", ")
            scores = probe.probe(values, labels, [(few, test)], 1)
            for learner, (accuracy,) in scores.items():
                lines.append(
                    {
                        "encoder": BASELINES.get(encoder, loss),
                        "readout": readout,
                        "probe": learner,
                        "labels": count,
                        "seed": seed,
                        "accuracy": round(100 * accuracy, 2),
                    }
                )
    return pd.DataFrame(lines)


def probe_runs(seeds: list[int]) -> None:
    """Probe the encoders of seeds; keep the figures of the others."""
    runs = [(loss, seed) for seed in seeds for loss in LOSSES]
    records = [RUNS / loss / str(s) / "results.json" for loss, s in runs]
    if missing := [str(path) for path in records if not path.is_file()]:
        sys.exit(f"few_labels.py: not run yet: {', '.join(missing)}")
    tables = []
    for loss, seed in runs:
        print(f"few_labels.py: {loss}, seed {seed}", flush=True)
        tables.append(probe_run(loss, seed))
    known = pd.read_csv(FOLDER / CSV, keep_default_na=False)
    tables.insert(0, known[~known["seed"].isin(seeds)])
    # A baseline is the same for every loss
    keys = ["encoder", "readout", "probe", "labels", "seed"]
    write_csv(FOLDER / CSV, pd.concat(tables).drop_duplicates(keys))
    kept = {k: v for k, v in environment("cpu").items() if k != "folder"}
    path = FOLDER / "probes.json"
    records = json.loads(path.read_text(encoding="utf-8"))
    write_json(path, records | {str(seed): kept for seed in seeds})


def fine_tuned() -> pd.DataFrame:
    """Return the fine-tuned models in ``egs_results.csv``."""
    table = pd.read_csv(ROOT / "egs_results.csv", keep_default_na=False)
    table = table[table["corpus"] == "FSDD, few labels"]
    options = [
        dict(pair.split("=") for pair in text.split())
        for text in table["overrides"]
    ]
    return pd.DataFrame(
        {
            "encoder": [
                "scratch" if "init_from" in o else o.get("loss", "normalised")
                for o in options
            ],
            "labels": [o["labels"] for o in options],
            "accuracy": table["value"].to_numpy(),
        }
    )


def draw(path: Path) -> None:
    """Draw accuracy over the number of labels, fine-tuned and probed."""
    from matplotlib.figure import Figure

    probes = pd.read_csv(
        FOLDER / CSV, keep_default_na=False, dtype={"labels": str}
    )
    linear = probes["probe"] == probe.PROBES[0]
    probes = probes[linear & (probes["readout"] != "embedding")]
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for ax, table, title in zip(
        axes,
        (fine_tuned(), probes),
        ("fine-tuned", "frozen, logistic regression on the rows"),
    ):
        for name, own in table.groupby("encoder", sort=False):
            means = own.groupby("labels")["accuracy"].mean()
            places = [i for i, count in enumerate(LABELS) if count in means]
            values = [means[LABELS[i]] for i in places]
            style = "--" if name in ("scratch", "random", "banks") else "-"
            colour = COLOURS[name]
            ax.plot(places, values, style, color=colour, label=NAMES[name])
            spots = [LABELS.index(count) for count in own["labels"]]
            ax.scatter(spots, own["accuracy"], s=9, color=colour)
        ax.set_xticks(range(len(LABELS)), ["60", "300", "2,250"])
        ax.set(xlabel="labelled clips", title=title)
        ax.grid(alpha=0.3)
        ax.legend(fontsize=8)
    axes[0].set_ylabel("accuracy on a new speaker, %")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def main(argv=None):
    """Probe, if seeds are given, and draw."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seeds", type=int, nargs="+", help="probe these runs")
    arguments = parser.parse_args(argv)
    logging.getLogger().setLevel(logging.WARNING)
    if arguments.seeds:
        probe_runs(arguments.seeds)
    draw(FOLDER / PICTURE)
    print(f"few_labels.py: wrote {FOLDER.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
