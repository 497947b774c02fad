"""Records of runs: reading ``results.json``, and the rows they count for."""

import hashlib
import json
import shlex
from pathlib import Path

import pandas as pd

from result_tables.rows import Corpus, Row, read_corpora, read_rows
from result_tables.schema import RecordError, check_record

# Options that do not change what is measured
NEUTRAL = (
    "seed data_folder output_folder manifest_folder save_folder num_workers "
    "skip_prep download label_file allow_missing max_missing check_audio "
    "ckpt_interval_minutes process_timeout precision device noprogressbar "
    "test_only meta_file"
).split()
# Protocols that never look at the reported clips
HONEST = ("honest", "last", "cosine")
# The recipe for data of one's own
ANY_DATA = "Custom"
# The largest file that is read, and the longest name that is written
_LARGEST, _LONGEST = 1 << 24, 120
# Names of recipes in records, where they are not the folder's
RECIPES = {"ESC-50": "ESC50", "ESC-10": "ESC50", "ESC10": "ESC50"}
RECIPES["SpeechCommands-12"] = "SpeechCommands"
COLUMNS = (
    "recipe hparams overrides corpus seed metric value std protocol epoch "
    "honest paper average minDCF macro_f1 macro_f1_half micro_f1 micro_f1_half "
    "parameters gflop hardware hours commit command record"
).split()


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
        If it cannot be read, or is no record of a run: with the key and value.
    """
    try:
        if path.stat().st_size > _LARGEST:
            raise ValueError(f"it has more than {_LARGEST >> 20} MiB")
        text = path.read_text(encoding="utf-8")
        record = json.loads(text, parse_constant=_no_number)
    except (OSError, ValueError, RecursionError) as error:
        raise RecordError(f"{path} cannot be read: {error}") from error
    check_record(path, record)
    _check_corpus(path, record)
    record.pop("folder", None)
    return record


def _no_number(name):
    """Refuse NaN and infinity, which are no JSON."""
    raise ValueError(f"{name} is no number")


def _check_corpus(path, record):
    """Refuse a metric or a number of clips that the corpus cannot have."""
    hparams = Path(of_training(record)["hparams_file"]).name
    metrics = {
        row.corpus.metric
        for row in read_rows()
        if (row.recipe, row.hparams) == (recipe_of(record), hparams)
    }
    name = record["metric"]["name"]
    # Any data has any metric, and embeddings are trained as classifiers
    free = recipe_of(record) == ANY_DATA or "EER" in metrics
    if metrics and name not in metrics and not free:
        raise RecordError(
            f"{path}: metric.name is {name!r}; it must be one of "
            f"{sorted(metrics)}, as {hparams} of {recipe_of(record)} is judged."
        )
    largest = max(map(_n_test, _corpora_of(record)), default=None)
    clips = record["clips"].get("test", 0)
    if largest is not None and clips > largest:
        raise RecordError(
            f"{path}: clips.test is {clips}; the corpora of "
            f"{recipe_of(record)} have at most {largest}."
        )


def _n_test(corpus: Corpus) -> int:
    return corpus.test_clips


def _corpora_of(record):
    """The corpora of a record's recipe; none where it takes any data."""
    recipe = recipe_of(record)
    return [
        corpus
        for corpus in read_corpora().values()
        if corpus.recipe == recipe != ANY_DATA
    ]


def recipe_of(record: dict) -> str:
    """Return the recipe's folder."""
    return RECIPES.get(record["dataset"], record["dataset"])


def of_training(record: dict) -> dict:
    """Return a record as its training's, where trials were tested after it.

    The clips that count are still those of the trials.
    """
    return {**record, **record.get("training", {}), "clips": record["clips"]}


def rows_of(record: dict) -> list[Row]:
    """Return the rows that a record counts for: none, one or several.

    It must have their YAML, their overrides and all of their corpus; any
    weights will do where the YAML asks for some.
    """
    record = of_training(record)
    hparams = Path(record["hparams_file"]).name
    options = options_of(record["command"])
    found = []
    for row in read_rows():
        own = dict(options)
        if row.needs_weights:
            own.pop("init_from", None)
        if (
            (row.recipe, row.hparams) == (recipe_of(record), hparams)
            and own == row.options(record["seed"])
            and row.corpus.is_that_of(record)
        ):
            found.append(row)
    return found


def describe(record: dict, path: str) -> dict:
    """Turn a record into a line of ``egs_results.csv``, scores in percent.

    ``path`` is the record's, relative to the repository's root.
    """
    rows, record = rows_of(record), of_training(record)
    metric, std = record["metric"]["name"], record["metric"].get("std")

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
        "std": "" if std is None else round(100 * std, 4),
        "protocol": record["protocol"],
        "epoch": record["epoch"],
        "honest": score(*HONEST),
        "paper": score("paper"),
        "average": score("average"),
        "minDCF": record["metrics"]["minDCF"] if metric == "EER" else "",
        **f1_of(record),
        "parameters": record["parameters"],
        "gflop": round(flops["forward"] / 1e9, 3) if flops else "",
        "hardware": hardware_words(record["hardware"]),
        "hours": round(record["wall_time_s"] / 3600, 4),
        "commit": record["commit"] or "",
        "command": record["command"],
        "record": path,
    }


def f1_of(record: dict) -> dict:
    """Return F1 with the learned thresholds, and at one half, in percent.

    Of a record without decisions, and where F1 is not defined, it is empty.
    """
    found = {}
    for kind in ("macro", "micro"):
        for suffix, way in (("", "thresholds"), ("_half", "one_half")):
            value = record.get("f1", {}).get(way, {}).get(kind)
            found[f"{kind}_f1{suffix}"] = (
                "" if value is None else round(100 * value, 4)
            )
    return found


def hardware_words(hardware: dict) -> str:
    """Name what a run computed on."""
    if str(hardware["device"]).startswith("cuda"):
        return f"{hardware['processes']} x {hardware['name']}"
    n_threads = hardware["cpu_threads"]
    return f"{hardware['name']}, {n_threads} thread{'s' * (n_threads != 1)}"


def place_of(record: dict) -> Path:
    """Return where a record is kept, relative to the folder of records."""
    rows, record = rows_of(record), of_training(record)
    if rows:
        name = rows[0].run_name
    else:
        values = options_of(record["command"]).items()
        extra = "".join(f"_{k}-{v}" if v else f"_{k}" for k, v in values)
        stem = Path(record["hparams_file"]).stem + extra
        name = "".join(c if c.isalnum() or c in "-_." else "_" for c in stem)
        if len(name) > _LONGEST:
            digest = hashlib.sha256(name.encode()).hexdigest()[:12]
            name = f"{name[:_LONGEST]}-{digest}"
    return Path(recipe_of(record)) / f"{name}-seed{record['seed']}.json"


def kept_records(folder: Path) -> dict[Path, dict]:
    """Read the folder of records: path -> record.

    Raises
    ------
    RecordError
        Naming a file that is no record.
    """
    return {path: read_record(path) for path in folder.rglob("*.json")}


def table_of(folder: Path, records: dict[Path, dict]) -> pd.DataFrame:
    """Return ``egs_results.csv``, made from the records of a folder."""
    lines = [
        describe(record, path.relative_to(folder.parent).as_posix())
        for path, record in sorted(records.items())
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
