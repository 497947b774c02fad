"""Records of runs: reading ``results.json``, and the rows they count for."""

import json
import shlex
from pathlib import Path

import pandas as pd

from result_tables.rows import Row, read_corpora, read_rows

# Options that do not change what is measured
NEUTRAL = (
    "seed data_folder output_folder manifest_folder save_folder num_workers "
    "skip_prep download label_file allow_missing max_missing "
    "ckpt_interval_minutes precision device noprogressbar test_only meta_file"
).split()
# Protocols that never look at the reported clips
HONEST = ("honest", "last")
NEEDED = ("dataset", "hparams_file", "metric", "seed", "command", "n_classes")
# Names of recipes in records, where they are not the folder's
RECIPES = {"ESC-50": "ESC50", "ESC-10": "ESC50", "ESC10": "ESC50"}
RECIPES["SpeechCommands-12"] = "SpeechCommands"
COLUMNS = (
    "recipe hparams overrides corpus seed metric value protocol epoch honest "
    "average parameters gflop hardware hours commit command record"
).split()


class RecordError(ValueError):
    """A ``results.json`` that is incomplete, or no record of a training."""


def options_of(command: str) -> dict[str, str]:
    """Return the options of a recorded command that change the result.

    A flag has an empty value; a run on several processes, whose batch is
    larger, has the key ``processes``.
    """
    options, key = {}, None
    for word in shlex.split(command):
        if word.startswith("--"):
            key, equals, value = word[2:].partition("=")
            options[key] = value
            key = None if equals else key
        elif key is not None:
            options[key] = word
            key = None
    processes = options.pop("nproc_per_node", "1")
    if processes != "1":
        options["processes"] = processes
    return {k: v for k, v in options.items() if k not in NEUTRAL}


def read_record(path: Path) -> dict:
    """Read a ``results.json``, without the folder it was written to.

    Raises
    ------
    RecordError
        If it cannot be read, or keys are missing.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise RecordError(f"{path} cannot be read: {error}") from error
    missing = [key for key in NEEDED if key not in record]
    if missing:
        raise RecordError(
            f"{path} has no {', '.join(missing)}: it is not the results.json "
            "of a training run."
        )
    record.pop("folder", None)
    return record


def recipe_of(record: dict) -> str:
    """Return the recipe's folder."""
    return RECIPES.get(record["dataset"], record["dataset"])


def rows_of(record: dict) -> list[Row]:
    """Return the rows that a record counts for: none, one or several.

    It must have their YAML, their overrides and all of their corpus; any
    weights will do where the YAML asks for some.
    """
    hparams = Path(record["hparams_file"]).name
    options = options_of(record["command"])
    found = []
    for row in read_rows():
        own = dict(options)
        if row.needs_weights:
            own.pop("init_from", None)
        if (
            (row.recipe, row.hparams) == (recipe_of(record), hparams)
            and own == dict(row.overrides)
            and row.corpus.is_that_of(record)
        ):
            found.append(row)
    return found


def describe(record: dict, path: str) -> dict:
    """Turn a record into a line of ``egs_results.csv``, scores in percent.

    ``path`` is the record's, relative to the repository's root.
    """
    rows = rows_of(record)
    metric = record["metric"]["name"]

    def score(*protocols):
        """The score of the first protocol that was tested, in percent."""
        for name in protocols:
            if name in record["protocols"]:
                value = record["protocols"][name]["test"][metric]
                return round(100 * value, 4)
        return ""

    options = dict(rows[0].overrides) if rows else options_of(record["command"])
    flops = record.get("flops_per_clip")
    return {
        "recipe": recipe_of(record),
        "hparams": Path(record["hparams_file"]).name,
        "overrides": " ".join(f"{k}={v}" for k, v in options.items()),
        "corpus": rows[0].corpus.corpus if rows else "",
        "seed": record["seed"],
        "metric": metric,
        "value": round(100 * record["metric"]["value"], 4),
        "protocol": record["protocol"],
        "epoch": record["epoch"],
        "honest": score(*HONEST),
        "average": score("average"),
        "parameters": record["parameters"],
        "gflop": round(flops["forward"] / 1e9, 3) if flops else "",
        "hardware": hardware_words(record["hardware"]),
        "hours": round(record["wall_time_s"] / 3600, 4),
        "commit": record["commit"] or "",
        "command": record["command"],
        "record": path,
    }


def hardware_words(hardware: dict) -> str:
    """Name what a run computed on."""
    if str(hardware["device"]).startswith("cuda"):
        return f"{hardware['processes']} x {hardware['name']}"
    n_threads = hardware["cpu_threads"]
    return f"{hardware['name']}, {n_threads} thread{'s' * (n_threads != 1)}"


def place_of(record: dict) -> Path:
    """Return where a record is kept, relative to the folder of records."""
    rows = rows_of(record)
    if rows:
        name = rows[0].run_name
    else:
        values = options_of(record["command"]).items()
        extra = "".join(f"_{k}-{v}" if v else f"_{k}" for k, v in values)
        stem = Path(record["hparams_file"]).stem + extra
        name = "".join(c if c.isalnum() or c in "-_." else "_" for c in stem)
    return Path(recipe_of(record)) / f"{name}-seed{record['seed']}.json"


def table_of(folder: Path) -> pd.DataFrame:
    """Return ``egs_results.csv``, made from the folder of records."""
    lines = [
        describe(read_record(path), path.relative_to(folder.parent).as_posix())
        for path in sorted(folder.rglob("*.json"))
    ]
    return pd.DataFrame(lines, columns=COLUMNS)


def runs_of(table: pd.DataFrame, row: Row) -> pd.DataFrame:
    """Return the lines of ``egs_results.csv`` that count for a row."""
    overrides = " ".join(f"{key}={value}" for key, value in row.overrides)
    # A record names the first corpus it fits; others may be tested alike.
    alike = [
        name
        for name, other in read_corpora().items()
        if (other.recipe, other.n_classes, other.test_clips)
        == (row.recipe, row.corpus.n_classes, row.corpus.test_clips)
    ]
    return table[
        (table["recipe"] == row.recipe)
        & (table["hparams"] == row.hparams)
        & (table["corpus"].isin(alike))
        & (table["overrides"] == overrides)
    ].sort_values("seed")
