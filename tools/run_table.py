#!/usr/bin/env python3
r"""Run all rows of one of the tables, one run after the other.

    python tools/run_table.py small
    python tools/run_table.py 2 --dry_run
    python tools/run_table.py 2 --data_folder VGGSound=/data/VGGSound
    python tools/run_table.py 3 --init_from aum_small_imagenet=vim_s.pth
    python tools/run_table.py comparison --seeds 1 2 3

Tables: 1, 2 (scan x position of the class token), 3, 4, ESC50, DASS,
comparison, strings, distillation, few_labels, recognition, ESC-10, positions,
verification, orders, transfer; their rows are in tools/result_tables/rows.csv.
`small` is six of them that a CPU runs in hours, on real sounds which anyone can
download: comparison, strings, ESC-10, positions, verification, orders.
Each row is run with three seeds, or on all folds. Runs with a results.json are
skipped and stopped ones resumed, so the same command again runs what is left.
Options after -- are passed on to every training: -- --precision bf16. --dry_run
prints the runs, one per line, for a cluster's queue. Two at a time on one
machine, with GNU's xargs:

    export OMP_NUM_THREADS=1
    python tools/run_table.py small --dry_run | xargs -d '\n' -n 1 -P 2 bash -c
"""

import argparse
import shlex
import subprocess
import sys
from pathlib import Path

from result_tables.rows import ROOT, SEEDS, read_rows

# Several tables by one name
GROUPS = {
    "small": (
        "ESC-10",
        "verification",
        "orders",
        "comparison",
        "strings",
        "positions",
    )
}


def pair(text):
    """Split NAME=PATH; the path becomes absolute, as runs start elsewhere."""
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=PATH")
    # A name on the Hugging Face hub stays as it is
    return name, str(Path(value).resolve()) if Path(value).exists() else value


def parse_arguments(argv=None):
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    tables = list(dict.fromkeys(row.table for row in read_rows()))
    parser.add_argument("table", choices=[*GROUPS, *tables])
    parser.add_argument(
        "--seeds",
        type=int,
        nargs="+",
        help="by default 1 2 3; of a corpus with folds 1",
    )
    parser.add_argument(
        "--corpus", nargs="+", help="only these, by their names in the table"
    )
    parser.add_argument(
        "--data_folder",
        type=pair,
        nargs="+",
        default=[],
        metavar="CORPUS=PATH",
        help="folder of a corpus; by default data/ in its recipe",
    )
    parser.add_argument(
        "--init_from",
        type=pair,
        nargs="+",
        default=[],
        metavar="YAML=PATH",
        help="initial weights for a YAML, named without .yaml",
    )
    parser.add_argument("--dry_run", action="store_true")
    argv = sys.argv[1:] if argv is None else list(argv)
    cut = argv.index("--") if "--" in argv else len(argv)
    arguments = parser.parse_args(argv[:cut])
    arguments.further = argv[cut + 1 :]
    check_names(parser, arguments)
    return arguments


def rows_of(table):
    """Return the rows of a table, or of a group of them in its order."""
    tables = GROUPS.get(table, (table,))
    return [row for t in tables for row in read_rows() if row.table == t]


def check_names(parser, arguments):
    """Refuse names that the table does not have: they would do nothing."""
    rows = rows_of(arguments.table)
    corpora = {row.corpus.corpus for row in rows}
    yamls = {row.hparams.removesuffix(".yaml") for row in rows}
    for names, known in (
        (arguments.corpus or [], corpora),
        (dict(arguments.data_folder), corpora),
        (dict(arguments.init_from), yamls),
    ):
        for name in names:
            if name not in known:
                parser.error(f"{name!r}: choose from {sorted(known)}")


def pending(arguments):
    """Return (recipe folder, commands after ``python``) of the runs left."""
    rows = [
        row
        for row in rows_of(arguments.table)
        if not arguments.corpus or row.corpus.corpus in arguments.corpus
    ]
    runs = [
        (ROOT / "recipes" / row.recipe, steps_left(row, seed, arguments))
        for seed in arguments.seeds or SEEDS
        for row in rows
        if arguments.seeds or seed in row.corpus.seeds
    ]
    return [(folder, commands) for folder, commands in runs if commands]


def steps_left(row, seed, arguments):
    """Return the commands of one run that have not left their record."""
    folder = ROOT / "recipes" / row.recipe
    yaml = row.hparams.removesuffix(".yaml")
    init_from = dict(arguments.init_from).get(yaml)
    data_folder = dict(arguments.data_folder).get(row.corpus.corpus)
    steps = row.steps(seed, data_folder, init_from)
    left = [
        # Options of the training have no meaning in a later step
        [*command, *(arguments.further if command[0] == row.script else ())]
        for record, command in steps.items()
        if not (folder / record).exists()
    ]
    if left and row.needs_weights and not (init_from or arguments.dry_run):
        sys.exit(
            f"run_table.py: {row.recipe}/hparams/{row.hparams} starts from "
            "weights; the comment on its init_from says which. Give "
            f"--init_from {yaml}=PATH"
        )
    return left


def main(argv=None):
    """Run what is left, or print it."""
    arguments = parse_arguments(argv)
    left = pending(arguments)
    for number, (folder, commands) in enumerate(left, 1):
        lines = [shlex.join(["python", *command]) for command in commands]
        if arguments.dry_run:
            print(f"(cd {shlex.quote(str(folder))} && {' && '.join(lines)})")
            continue
        for line, command in zip(lines, commands, strict=True):
            print(f"run_table.py: {number} of {len(left)}: {line}", flush=True)
            done = subprocess.run([sys.executable, *command], cwd=folder)
            if done.returncode:
                sys.exit(
                    f"run_table.py: {line} in {folder} ended with status "
                    f"{done.returncode}; the same command resumes there."
                )
    if not left:
        print("run_table.py: nothing is left to run")


if __name__ == "__main__":
    main()
