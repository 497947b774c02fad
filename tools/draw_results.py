#!/usr/bin/env python3
"""Draw the records of the small tables: learning curves and a bar per row.

    python tools/draw_results.py
    python tools/draw_results.py --scores esc10=runs/scores.csv

The pictures go to docs/small/. --scores also draws confusion matrices of runs
with one label per clip, from the scores of their test clips, which a run with
--test_only --test_scores csv leaves. Each name has its title in
tools/result_tables/small.py.
"""

import argparse
import json
import re
import sys
from pathlib import Path

import pandas as pd
from result_tables.records import runs_of
from result_tables.rows import ROOT
from result_tables.small import FOLDER, PICTURES
from run_table import rows_of

from audiomamba.dataio.columns import read_table
from audiomamba.pictures import (
    confusion_picture,
    learning_curves_picture,
    score_bars_picture,
)

# Of a learning curve, the first that it has
COLUMNS = [
    f"{split}_{metric}"
    for split in ("valid", "test")
    for metric in ("accuracy", "mAP", "WER")
]
PREFIX = "score:"
CONFUSIONS = [
    name.removeprefix("confusion_")
    for name in PICTURES
    if name.startswith("confusion_")
]
# Tables of a corpus that has a table already -> what its panels are called
ALSO = {
    "positions": ", class token",
    "transfer": ", with help",
}


def curves_of(record: dict) -> list[list[float]]:
    """Return the scores after each epoch of every fold, in percent.

    None of a training that is judged by its trials alone.
    """
    training = record.get("training", record)
    curves = record.get("curves") or {"": training["curve"]}
    first = next(iter(curves.values()))[0]
    column = next((name for name in COLUMNS if name in first), None)
    if column is None:
        return []
    return [[100 * line[column] for line in c] for c in curves.values()]


def score_of(runs: pd.DataFrame) -> tuple[float, float]:
    """Return mean and deviation over seeds, or over the folds of one run."""
    if len(runs) > 1:
        return runs["value"].mean(), runs["value"].std()
    return runs["value"].iloc[0], float(runs["std"].iloc[0] or 0)


def panels_of(table: pd.DataFrame, root: Path = ROOT) -> tuple[dict, dict]:
    """Return curves and scores for the two pictures, from the table of runs."""
    curves, scores = {}, {}
    for row in [*rows_of("small"), *rows_of("transfer")]:
        runs = runs_of(table, row)
        if runs.empty:
            continue
        title = row.corpus.corpus + ALSO.get(row.table, "")
        scores.setdefault(title, {})[row.model] = score_of(runs)
        found = [
            curve
            for path in runs["record"]
            for curve in curves_of(json.loads((root / path).read_text("utf-8")))
        ]
        if found:
            if row.corpus.has_trials:
                # The curve is of the classes in training, not of trials
                title = "LibriSpeech, training speakers"
                title += ALSO.get(row.table, "")
            split = "test" if row.corpus.valid_clips == 0 else "validation"
            title += f": {split}"
            # Without its size a model has the same name in all panels
            name = re.sub(r", \d+ (blocks|layers)", "", row.model)
            curves.setdefault(title, {})[name] = found
    return curves, scores


def draw_confusion(scores: Path, target: Path):
    """Draw where the clips of a run's ``scores.csv`` went."""
    table = read_table(scores, ["ID", "target"])
    columns = [name for name in table if name.startswith(PREFIX)]
    labels = [name.removeprefix(PREFIX) for name in columns]
    predicted = table[columns].astype(float).to_numpy().argmax(axis=1)
    targets = table["target"].map(labels.index).to_numpy()
    title = f"{len(table)} clips"
    confusion_picture(target, targets, predicted, labels, title)


def main(argv=None):
    """Draw all pictures."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--scores",
        metavar="NAME=PATH",
        nargs="+",
        default=[],
        help=f"of a run's test clips; names: {', '.join(CONFUSIONS)}",
    )
    arguments = parser.parse_args(argv)
    scored = dict(text.partition("=")[::2] for text in arguments.scores)
    for name, path in scored.items():
        if name not in CONFUSIONS or not path:
            parser.error(f"--scores {name}={path}: names are {CONFUSIONS}")
    FOLDER.mkdir(parents=True, exist_ok=True)
    csv = ROOT / "egs_results.csv"
    curves, scores = panels_of(pd.read_csv(csv, keep_default_na=False))
    learning_curves_picture(FOLDER / "curves.png", curves)
    score_bars_picture(FOLDER / "scores.png", scores)
    for name, path in scored.items():
        try:
            draw_confusion(Path(path), FOLDER / f"confusion_{name}.png")
        except (OSError, ValueError) as error:
            sys.exit(f"draw_results.py: {error}")
    print(f"draw_results.py: wrote {FOLDER.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
