"""Records of runs: reading ``results.json``, and which row one answers to."""

import json
import shlex
from pathlib import Path

import pandas as pd

from result_tables.rows import ROOT, read_corpora, read_rows

# Options that change nothing of what is measured.
NEUTRAL = {
    *("seed", "data_folder", "output_folder", "manifest_folder"),
    *("save_folder", "num_workers", "skip_prep", "download", "label_file"),
    *("allow_missing", "max_missing", "ckpt_interval_minutes", "precision"),
    *("device", "noprogressbar", "test_only", "meta_file"),
}
# Protocols that look at no figure on the reported clips.
HONEST = ("honest", "last")
NEEDED = ("dataset", "hparams_file", "metric", "seed", "command", "n_classes")
# Names that train.py gives its corpus, where they are not its folder's.
RECIPES = {"ESC-50": "ESC50", "ESC-10": "ESC50"}
COLUMNS = [
    *("recipe", "hparams", "overrides", "corpus", "seed", "metric"),
    *("value", "protocol", "epoch", "honest", "parameters", "gflop"),
    *("hardware", "hours", "commit", "command", "record"),
]


class RecordError(ValueError):
    """A ``results.json`` that says too little, or something else."""


def options_of(command):
    """Return the options of a recorded command, without those of no effect.

    Arguments
    ---------
    command : str
        Such as ``python train.py hparams/aum_base.yaml --seed=2 --debug``.

    Returns
    -------
    dict
        Key -> value, an empty one for a flag; ``processes`` for a run on
        several, whose batch is larger.
    """
    words = shlex.split(command)
    options, key = {}, None
    for word in words:
        if word.startswith("--"):
            key, equals, value = word[2:].partition("=")
            options[key] = value
            key = None if equals else key
        elif key is not None:
            options[key] = word
            key = None
    options["processes"] = options.pop("nproc_per_node", "1")
    if options["processes"] == "1":
        del options["processes"]
    return {k: v for k, v in options.items() if k not in NEUTRAL}


def read_record(path):
    """Read a record, without the folder it was made in.

    Arguments
    ---------
    path : Path
        A ``results.json``.

    Returns
    -------
    dict

    Raises
    ------
    RecordError
        With what is missing.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise RecordError(f"{path} cannot be read: {error}") from error
    missing = [key for key in NEEDED if key not in record]
    if missing:
        raise RecordError(
            f"{path} has no {', '.join(missing)}: it is no results.json of a "
            "training."
        )
    record.pop("folder", None)
    return record


def rows_of(record):
    """Return the rows that a record answers to: none, one or several.

    It must have their YAML and overrides, and their whole corpus; which
    weights it began with is for the YAML to ask.
    """
    recipe = RECIPES.get(record["dataset"], record["dataset"])
    hparams = Path(record["hparams_file"]).name
    options = options_of(record["command"])
    found = []
    for row in read_rows():
        own = dict(options)
        if row.needs_weights:
            own.pop("init_from", None)
        if (
            (row.recipe, row.hparams) == (recipe, hparams)
            and own == dict(row.overrides)
            and row.corpus.is_that_of(record)
        ):
            found.append(row)
    return found


def describe(record, path):
    """Put a record into a line of ``egs_results.csv``.

    Arguments
    ---------
    record : dict
        From `read_record`.
    path : str
        Where it is kept, from the repository's root.

    Returns
    -------
    dict
        By the names of ``COLUMNS``; figures in percent.
    """
    rows = rows_of(record)
    metric = record["metric"]["name"]
    honest = next(
        (record["protocols"][n] for n in HONEST if n in record["protocols"]),
        None,
    )
    options = options_of(record["command"])
    if rows:
        options = dict(rows[0].overrides)
    flops = record.get("flops_per_clip")
    return {
        "recipe": RECIPES.get(record["dataset"], record["dataset"]),
        "hparams": Path(record["hparams_file"]).name,
        "overrides": " ".join(f"{k}={v}" for k, v in options.items()),
        "corpus": rows[0].corpus.corpus if rows else "",
        "seed": record["seed"],
        "metric": metric,
        "value": round(100 * record["metric"]["value"], 4),
        "protocol": record["protocol"],
        "epoch": record["epoch"],
        "honest": round(100 * honest["test"][metric], 4) if honest else "",
        "parameters": record["parameters"],
        "gflop": round(flops["forward"] / 1e9, 3) if flops else "",
        "hardware": hardware_words(record["hardware"]),
        "hours": round(record["wall_time_s"] / 3600, 4),
        "commit": record["commit"] or "",
        "command": record["command"],
        "record": path,
    }


def hardware_words(hardware):
    """Say in a few words what a run computed on."""
    name = hardware["name"]
    if str(hardware["device"]).startswith("cuda"):
        return f"{hardware['processes']} x {name}"
    return f"{name}, {hardware['cpu_threads']} threads"


def place_of(record):
    """Return where a record is kept, below the folder of records."""
    rows = rows_of(record)
    if rows:
        name = rows[0].run_name
    else:
        values = options_of(record["command"]).items()
        extra = "".join(f"_{k}-{v}" if v else f"_{k}" for k, v in values)
        stem = Path(record["hparams_file"]).stem + extra
        name = "".join(c if c.isalnum() or c in "-_." else "_" for c in stem)
    return Path(record["dataset"]) / f"{name}-seed{record['seed']}.json"


def table_of(folder):
    """Return ``egs_results.csv`` as the kept records make it.

    Arguments
    ---------
    folder : Path
        Of the records, in the repository.

    Returns
    -------
    pandas.DataFrame
    """
    lines = [
        describe(read_record(path), path.relative_to(folder.parent).as_posix())
        for path in sorted(folder.rglob("*.json"))
    ]
    return pd.DataFrame(lines, columns=COLUMNS)


def runs_of(table, row):
    """Return the lines of a table of runs that a row is made of."""
    wanted = " ".join(f"{key}={value}" for key, value in row.overrides)
    return table[
        (table["recipe"] == row.recipe)
        & (table["hparams"] == row.hparams)
        & (table["corpus"].isin(same_corpora(row.corpus)))
        & (table["overrides"] == wanted)
    ].sort_values("seed")


def same_corpora(corpus):
    """Names under which a run of a corpus may stand: those of its recipe."""
    return [
        name
        for name, other in read_corpora().items()
        if (other.recipe, other.n_classes, other.test_clips)
        == (corpus.recipe, corpus.n_classes, corpus.test_clips)
    ]


def lost_records(table, root=ROOT):
    """Return the records that a table names and that are not there."""
    return [name for name in table["record"] if not (root / name).is_file()]
