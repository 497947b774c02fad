"""Draw precision over recall of chosen classes of a finished run.

    python tools/plot_precision_recall.py results/aum_tiny/1 --classes dog rain

needs the scores of the test clips: ``test_scores: csv`` in the YAML.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from audiomamba.dataio.columns import read_table
from audiomamba.dataio.lists import split_labels
from audiomamba.dataio.problems import PreparationError
from audiomamba.nnet.probabilities import scaled
from audiomamba.pictures import precision_recall_picture

PREFIX = "score:"


def parse_arguments(argv=None):
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", type=Path, help="the output folder of a run")
    parser.add_argument("--classes", nargs="+", required=True, metavar="CLASS")
    parser.add_argument(
        "--out", type=Path, help="default: curves.png in the run's folder"
    )
    return parser.parse_args(argv)


def draw(run, classes, target):
    """Draw the curves of a run, with its thresholds."""
    record = json.loads((run / "results.json").read_text(encoding="utf-8"))
    decisions = record.get("decisions")
    if decisions is None:
        raise PreparationError(
            f"{run} has no thresholds: its clips have one label each, or it "
            "has no validation list"
        )
    table = read_table(run / "scores.csv", ["ID", "target"])
    columns = [name for name in table if name.startswith(PREFIX)]
    labels = [name.removeprefix(PREFIX) for name in columns]
    scores = table[columns].astype(float).to_numpy()
    rows = table["target"].map(split_labels)
    rows = rows.map(lambda own: [name in own for name in labels])
    precision_recall_picture(
        target,
        scaled(scores, decisions["temperature"]),
        np.array(rows.tolist()),
        labels,
        decisions["thresholds"],
        classes,
    )


def main(argv=None):
    """Draw what the command line asks for."""
    arguments = parse_arguments(argv)
    target = arguments.out or arguments.run / "curves.png"
    try:
        draw(arguments.run, arguments.classes, target)
    except (OSError, ValueError) as error:
        sys.exit(f"plot_precision_recall.py: {error}")
    print(target)


if __name__ == "__main__":
    main()
