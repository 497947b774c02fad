#!/usr/bin/env python3
"""Collect the results of runs, and write the tables of results.

    python tools/collect_results.py recipes/*/results
    python tools/collect_results.py a/results.json b.json
    python tools/collect_results.py            # only write the pages again
    python tools/collect_results.py --check    # write nothing

Every results.json below the folders is copied to egs_records/, where it
replaces the record of the same row and seed. All of them are checked first: if
a value is impossible, or two are of one row and seed, nothing is written. The
records give
egs_results.csv, one line per run; it and the paper's figures in
tools/result_tables/rows.csv give egs_results.md and the tables in the recipes'
READMEs. docs/models.md lists the published checkpoints of
tools/result_tables/checkpoints.csv. --check fails if one of these files is not
what the others give, or if a run has no record.
"""

import argparse
import io
import json
import sys
from pathlib import Path

import pandas as pd
from result_tables.checkpoints import models_page
from result_tables.models import count_models, read_models
from result_tables.page import recipe_table, results_page, with_table
from result_tables.records import (
    kept_records,
    place_of,
    read_record,
    table_of,
)
from result_tables.rows import HERE, ROOT, read_rows
from result_tables.schema import RecordError

from audiomamba.dataio.files import replaced_file


def parse_arguments(argv=None):
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "paths",
        type=Path,
        nargs="*",
        metavar="FOLDER_OR_RECORD",
        help="folders of runs, or single records",
    )
    parser.add_argument(
        "--check", action="store_true", help="compare the files, write none"
    )
    parser.add_argument(
        "--count",
        action="store_true",
        help="count parameters and operations again, after a change of YAMLs",
    )
    arguments = parser.parse_args(argv)
    if arguments.check and (arguments.paths or arguments.count):
        parser.error("--check writes nothing: give it alone")
    return arguments


def find(path: Path) -> list[Path]:
    """Return the records below a folder; a file is one itself."""
    if path.is_file():
        return [path]
    found = sorted(path.rglob("results.json"))
    # A fold, with what was exported of it, is part of the run that averages
    # it, and a training of the test of its trials. A later look at a run is
    # none of its own.
    folds = {p.parent for p in found if p.parent.name.startswith("fold")}
    found = [
        p
        for p in found
        if folds.isdisjoint(p.parents)
        and p.parent.name not in ("test_only", "debug")
        and not (p.parent / "verification" / p.name).is_file()
    ]
    if not found:
        print(f"{path} has no results.json below it yet")
    return found


def collect(paths: list[Path], folder: Path) -> dict[Path, dict]:
    """Read records; return them by the paths where they are to be kept."""
    found = [one.resolve() for path in paths for one in find(path)]
    if paths and not found:
        where = ", ".join(map(str, paths))
        raise RecordError(f"There is no results.json below {where}.")
    sources: dict[Path, Path] = {}
    records = {}
    for source in found:
        record = read_record(source)
        place = folder / place_of(record)
        other = sources.setdefault(place, source)
        if other != source:
            raise RecordError(
                f"{other} and {source} are of one row and seed: keep one of "
                "them in these folders."
            )
        records[place] = record
    return records


def record_text(record: dict) -> str:
    """Return a record as the text of its file."""
    return json.dumps(record, indent=1) + "\n"


def csv_text(table: pd.DataFrame) -> str:
    """Return a table as the text of its CSV file."""
    return table.to_csv(index=False, lineterminator="\n")


def read_csv(text: str) -> pd.DataFrame:
    """Return the table of the text of ``egs_results.csv``."""
    return pd.read_csv(io.StringIO(text), keep_default_na=False)


def pages(root: Path, table: pd.DataFrame) -> dict[Path, str]:
    """Return path -> text of all pages, from the table of runs."""
    models = read_models()
    written = {
        root / "egs_results.md": results_page(table, models),
        root / "docs" / "models.md": models_page(),
    }
    # The Custom recipe has no table of its own: its rows are an experiment
    recipes = dict.fromkeys(row.recipe for row in read_rows())
    for recipe in [name for name in recipes if name != "Custom"]:
        path = root / "recipes" / recipe / "README.md"
        text = path.read_text(encoding="utf-8")
        block = recipe_table(recipe, table, models)
        written[path] = with_table(text, block, path)
    return written


def problems(root: Path = ROOT) -> list[str]:
    """Return where CSV, records and pages disagree."""
    csv = (root / "egs_results.csv").read_text(encoding="utf-8")
    table = read_csv(csv)
    found = [
        f"egs_results.csv has a run whose record is lost: {record}"
        for record in table["record"]
        if not (root / record).is_file()
    ]
    records = root / "egs_records"
    if csv != csv_text(table_of(records, kept_records(records))):
        found.append("egs_results.csv is not what egs_records/ gives")
    for path, text in pages(root, table).items():
        if path.read_text(encoding="utf-8") != text:
            name = path.relative_to(root)
            found.append(f"{name} is not what the tables give")
    return found


def write(paths: list[Path], count: bool = False, root: Path = ROOT):
    """Collect the results; write records, CSV and pages if all are good."""
    folder = root / "egs_records"
    new = collect(paths, folder)
    csv = csv_text(table_of(folder, {**kept_records(folder), **new}))
    files = {path: record_text(record) for path, record in new.items()}
    files[root / "egs_results.csv"] = csv
    if count:
        (HERE / "models.csv").write_text(csv_text(count_models()))
    files.update(pages(root, read_csv(csv)))
    for path, text in files.items():
        with replaced_file(path) as draft:
            draft.write_text(text, encoding="utf-8")
        print(f"written: {path.relative_to(root)}")


def main(argv=None):
    """Collect and write, or check."""
    arguments = parse_arguments(argv)
    try:
        if arguments.check:
            check()
            return
        write(arguments.paths, arguments.count)
    except ValueError as error:
        sys.exit(f"collect_results.py: {error}")


def check():
    """Raise an error with all that disagrees."""
    found = problems()
    if found:
        found.append("python tools/collect_results.py writes them again")
        raise ValueError("\n".join(["", *found]))


if __name__ == "__main__":
    main()
