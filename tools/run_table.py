#!/usr/bin/env python3
"""Run all rows of one of the tables, one run after the other.

    python tools/run_table.py 2 --dry_run
    python tools/run_table.py 2 --data_folder VGGSound=/data/VGGSound
    python tools/run_table.py 3 --init_from aum_small_imagenet=vim_s.pth
    python tools/run_table.py comparison --seeds 1 2 3

Tables: 1, 2 (scan x position of the class token), 3, 4, ESC50, DASS,
comparison, distillation, few_labels; their rows are in
tools/result_tables/rows.csv. Runs with a results.json are skipped and stopped
ones resumed, so the same command again runs what is left. Options after -- are
passed on to every run: -- --precision bf16. --dry_run prints the commands, one
per line, ready for a shell or a cluster's queue.
"""

import argparse
import shlex
import subprocess
import sys

from result_tables.rows import ROOT, read_rows


def pair(text):
    """Split NAME=VALUE."""
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=PATH")
    return name, value


def parse_arguments(argv=None):
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    tables = list(dict.fromkeys(row.table for row in read_rows()))
    parser.add_argument("table", choices=tables)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
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


def check_names(parser, arguments):
    """Refuse names that the table does not have: they would do nothing."""
    rows = [row for row in read_rows() if row.table == arguments.table]
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
    """Return (recipe folder, command after ``python``) of the runs left."""
    data, weights = dict(arguments.data_folder), dict(arguments.init_from)
    left = []
    for seed in arguments.seeds:
        for row in read_rows():
            name = row.corpus.corpus
            chosen = arguments.corpus is None or name in arguments.corpus
            if row.table != arguments.table or not chosen:
                continue
            folder = ROOT / "recipes" / row.recipe
            if (folder / row.output_folder(seed) / "results.json").exists():
                continue
            yaml = row.hparams.removesuffix(".yaml")
            init_from = weights.get(yaml)
            if row.needs_weights and not (init_from or arguments.dry_run):
                sys.exit(
                    f"run_table.py: {row.recipe}/hparams/{row.hparams} starts "
                    "from weights; the comment on its init_from says which. "
                    f"Give --init_from {yaml}=PATH"
                )
            command = row.arguments(seed, data.get(name), init_from)
            left.append((folder, [*command, *arguments.further]))
    return left


def main(argv=None):
    """Run what is left, or print it."""
    arguments = parse_arguments(argv)
    left = pending(arguments)
    for number, (folder, command) in enumerate(left, 1):
        line = shlex.join(["python", *command])
        if arguments.dry_run:
            print(f"(cd {shlex.quote(str(folder))} && {line})")
            continue
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
