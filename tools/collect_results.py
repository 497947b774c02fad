#!/usr/bin/env python3
"""Gather the results of runs, and write the tables of results from them.

    python tools/collect_results.py recipes/*/results
    python tools/collect_results.py            # write the pages again
    python tools/collect_results.py --check    # change nothing

Every results.json below the folders is kept in egs_records/ (of a run of the
same row and seed the newer one replaces the older). From the kept records come
egs_results.csv, one line per run, and from it and the paper's figures in
tools/result_tables/rows.csv the page egs_results.md and the tables in the
READMEs of the recipes. --check ends with an error where one of these files is
not what the others make of it, or where a run has no record.
"""

import argparse
import io
import json
import sys
from pathlib import Path

import pandas as pd
from result_tables import models as counting
from result_tables.page import recipe_table, results_page, with_table
from result_tables.records import (
    RecordError,
    lost_records,
    place_of,
    read_record,
    table_of,
)
from result_tables.rows import HERE, ROOT, read_rows

COUNTED = ["parameters", "forward", "training", "epochs", "hours"]
KEYS = ["table", "corpus", "hparams", "overrides"]


def parse_arguments(argv=None):
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folders", type=Path, nargs="*", metavar="FOLDER")
    parser.add_argument("--check", action="store_true")
    parser.add_argument(
        "--count",
        action="store_true",
        help="count parameters and operations again, after a change of YAMLs",
    )
    arguments = parser.parse_args(argv)
    if arguments.check and (arguments.folders or arguments.count):
        parser.error("--check changes nothing: give it alone")
    return arguments


def keep(folders, records):
    """Copy the results below folders to where they are kept.

    Arguments
    ---------
    folders : list of Path
        With ``results.json`` somewhere in them.
    records : Path
        Where they are kept.

    Returns
    -------
    list of Path
        The records.
    """
    kept = []
    for folder in folders:
        found = sorted(folder.rglob("results.json"))
        # A fold of ESC-50 is a part of the run that averages it.
        found = [p for p in found if not p.parent.name.startswith("fold")]
        if not found:
            raise RecordError(f"{folder} has no results.json below it.")
        for path in found:
            record = read_record(path)
            target = records / place_of(record)
            target.parent.mkdir(parents=True, exist_ok=True)
            text = json.dumps(record, indent=1) + "\n"
            target.write_text(text, encoding="utf-8")
            kept.append(target)
    return kept


def key_of(row):
    """Return what tells a row from the others, as text."""
    overrides = " ".join(f"{key}={value}" for key, value in row.overrides)
    return row.table, row.corpus.corpus, row.hparams, overrides


def count_models():
    """Count the models of all rows, for ``models.csv``."""
    lines = [
        [*key_of(row), *map(counting.figures_of(row).get, COUNTED)]
        for row in read_rows()
    ]
    return pd.DataFrame(lines, columns=KEYS + COUNTED)


def read_models(path=HERE / "models.csv"):
    """Return the counted figures of every row.

    Arguments
    ---------
    path : Path
        From `count_models`.

    Returns
    -------
    dict
        Row -> ``parameters``, ``forward``, ``training``, ``epochs``, ``hours``.
    """
    table = pd.read_csv(path, dtype={"table": str}, keep_default_na=False)
    counted = table.set_index(KEYS)[COUNTED].to_dict("index")
    missing = [key_of(r) for r in read_rows() if key_of(r) not in counted]
    if missing:
        raise RecordError(
            f"{path} lacks {missing[0]}: python tools/collect_results.py "
            "--count"
        )
    return {row: counted[key_of(row)] for row in read_rows()}


def csv_text(table):
    """Write a table as the CSV file has it."""
    return table.to_csv(index=False, lineterminator="\n")


def pages(root, csv):
    """Write all pages.

    Arguments
    ---------
    root : Path
        Of the repository.
    csv : str
        The text of ``egs_results.csv``.

    Returns
    -------
    dict
        Path -> text.
    """
    table = pd.read_csv(io.StringIO(csv), keep_default_na=False)
    models = read_models()
    written = {root / "egs_results.md": results_page(table, models)}
    for recipe in dict.fromkeys(row.recipe for row in read_rows()):
        path = root / "recipes" / recipe / "README.md"
        text = path.read_text(encoding="utf-8")
        block = recipe_table(recipe, table, models)
        written[path] = with_table(text, block, path)
    return written


def problems(root=ROOT):
    """Compare CSV, records and pages.

    Arguments
    ---------
    root : Path
        Of the repository.

    Returns
    -------
    list of str
        What does not fit together; none if all does.
    """
    found = []
    csv = (root / "egs_results.csv").read_text(encoding="utf-8")
    table = pd.read_csv(io.StringIO(csv), keep_default_na=False)
    for record in lost_records(table, root):
        found.append(
            f"egs_results.csv has a run whose record is lost: {record}"
        )
    if csv != csv_text(table_of(root / "egs_records")):
        found.append("egs_results.csv is not what egs_records/ makes of it")
    for path, text in pages(root, csv).items():
        if path.read_text(encoding="utf-8") != text:
            name = path.relative_to(root)
            found.append(f"{name} is not what egs_results.csv makes of it")
    return found


def main(argv=None):
    """Gather and write, or check."""
    arguments = parse_arguments(argv)
    if arguments.check:
        found = problems()
        if found:
            sys.exit("\n".join(["collect_results.py:", *found]))
        return
    try:
        if arguments.count:
            (HERE / "models.csv").write_text(csv_text(count_models()))
        for path in keep(arguments.folders, ROOT / "egs_records"):
            print(f"kept: {path.relative_to(ROOT)}")
        csv = csv_text(table_of(ROOT / "egs_records"))
        (ROOT / "egs_results.csv").write_text(csv, encoding="utf-8")
        for path, text in pages(ROOT, csv).items():
            path.write_text(text, encoding="utf-8")
            print(f"written: {path.relative_to(ROOT)}")
    except (RecordError, ValueError) as error:
        sys.exit(f"collect_results.py: {error}")


if __name__ == "__main__":
    main()
