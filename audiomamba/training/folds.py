"""Train and test on the folds of a corpus, one after the other, and average.

Every fold is a run of the recipe's ``train.py`` in a folder of its own. In its
options ``<fold>`` stands for the fold's name, as in
``--init_from 'pretrained/fold<fold>'``.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pandas as pd

from audiomamba.dataio.files import write_json
from audiomamba.dataio.problems import PreparationError
from audiomamba.dataio.tables import TABLE_FORMATS, write_table
from audiomamba.training.results import describe
from audiomamba.training.runs.environment import command_line
from audiomamba.training.runs.hparams import read_settings
from audiomamba.training.runs.options import parse_arguments

# With these options, a run writes to the folder of that name within its own
LOOKS = ("debug", "test_only")
# What the record of all folds has from that of the first
SHARED = (
    "dataset",
    "hparams_file",
    "protocol",
    "seed",
    "n_classes",
    "clips",
    "parameters",
    "flops_per_clip",
    "precision",
    "hardware",
    "engine",
    "versions",
    "commit",
)


def run_folds(list_folds, argv=None):
    """Run ``train.py`` of the present folder on every fold; write the average.

    Arguments
    ---------
    list_folds : callable
        From the plain values of the YAML to the names of the folds: values of
        its key ``fold``, whole numbers or text.
    argv : list of str, optional
        The arguments after the script's name; by default the program's.
    """
    own, further = _read_options(sys.argv[1:] if argv is None else argv)
    try:
        arguments = [own.hparams_file, f"--seed={own.seed}", *further]
        _, _, overrides = parse_arguments(arguments)
        folds = list_folds(read_settings(own.hparams_file, overrides))
    except PreparationError as error:
        sys.exit(f"run_folds.py: {error}")
    folders = {}
    for fold in _chosen(own.folds, folds):
        folder = own.output_folder / f"fold{fold}"
        command = [
            sys.executable,
            "train.py",
            *(text.replace("<fold>", str(fold)) for text in arguments),
            f"--fold={json.dumps(fold)}",
            f"--output_folder={folder}",
        ]
        print(f"run_folds.py: {shlex.join(command)}", flush=True)
        status = subprocess.run(command, check=False).returncode
        if status:
            sys.exit(f"run_folds.py: fold {fold} ended with status {status}")
        folders[fold] = _tested_folder(folder, further)
    # The record of the folds' training stays, as those of the folds do
    (name, *others) = {folder.name for folder in folders.values()}
    looked = name in LOOKS and not others
    place = own.output_folder / name if looked else own.output_folder
    _write_average(place, folders)


def _read_options(argv):
    """Separate the options of this script from those for train.py."""
    parser = argparse.ArgumentParser(
        prog="run_folds.py",
        description="Train and test on every fold, and average. Further "
        "options are passed on to train.py.",
        allow_abbrev=False,
    )
    parser.add_argument("hparams_file", help="of the recipe")
    parser.add_argument("--seed", type=int, default=1, help="of every fold")
    parser.add_argument("--output_folder", type=Path, help="of all folds")
    parser.add_argument("--folds", nargs="+", help="some of them")
    own, further = parser.parse_known_args(argv)
    given = {option.split("=")[0] for option in further}
    if "--fold" in given:
        parser.error("--fold is set here; --folds 2 3 does some of the folds")
    if "--hpopt" in given:
        parser.error("--hpopt is for one run: train.py with --fold")
    if own.output_folder is None:
        name = Path(own.hparams_file).stem
        own.output_folder = Path("results", name, str(own.seed))
    return own, further


def _chosen(wanted, folds):
    """Return the folds that the user wants; by default all."""
    known = {str(fold): fold for fold in folds}
    unknown = [name for name in wanted or () if name not in known]
    if unknown:
        sys.exit(
            f"run_folds.py: there is no fold {', '.join(unknown)}; choose from "
            f"{', '.join(known)}"
        )
    return [known[name] for name in wanted or known]


def _tested_folder(folder, further):
    """Return where a fold's results are."""
    for name in LOOKS:
        looked = folder / name
        if f"--{name}" in further and (looked / "results.json").is_file():
            return looked
    return folder


def _write_average(place, folders):
    """Write the record of all folds, and the scores of all their clips."""
    records = {
        fold: json.loads((folder / "results.json").read_text(encoding="utf-8"))
        for fold, folder in folders.items()
    }
    record = record_of_all(records)
    path = place / "results.json"
    write_json(path, record)
    for protocol, average in record["protocols"].items():
        print(
            f"{protocol} ({average['rule']}): "
            f"{describe(average['test'])}; standard deviation over "
            f"{len(records)} folds: {describe(average['std'])}"
        )
    _join_scores(place, folders)
    print(f"results: {path}")


def _join_scores(place, folders):
    """Join the scores of the folds' test clips, where all folds have them."""
    for form in TABLE_FORMATS:
        tables = []
        for fold, folder in folders.items():
            path = folder / f"scores.{form}"
            if not path.is_file():
                break
            tables.append(_read_scores(path).assign(fold=str(fold)))
        else:
            write_table(place / f"scores.{form}", pd.concat(tables))


def _read_scores(path):
    """Read scores; names are text, whatever they look like."""
    if path.suffix == ".parquet":
        return pd.read_parquet(path)
    text = {"ID": str, "target": str}
    return pd.read_csv(path, dtype=text, keep_default_na=False)


def record_of_all(records):
    """Combine the folds' ``results.json`` into one of the same form.

    Arguments
    ---------
    records : dict
        Fold -> its record.

    Returns
    -------
    dict
        Ready for `audiomamba.dataio.files.write_json`.
    """
    first = next(iter(records.values()))
    name = first["metric"]["name"]
    averages = {
        protocol: average_tested(records, protocol)
        for protocol in first["protocols"]
    }
    curves = {fold: pd.DataFrame(r["curve"]) for fold, r in records.items()}
    # folds that were only tested have no curve
    if "paper" in averages and all(map(len, curves.values())):
        averages["paper"] = average_best_epoch(curves, name)
    headline = averages[first["protocol"]]
    return {
        **{key: first[key] for key in SHARED},
        "metric": {
            "name": name,
            "value": headline["test"][name],
            "std": headline["std"][name],
            "split": f"test, mean of folds {', '.join(map(str, records))}",
        },
        "rule": headline["rule"],
        "epoch": headline["epoch"],
        "metrics": headline["test"],
        "protocols": averages,
        "curves": {fold: r["curve"] for fold, r in records.items()},
        "wall_time_s": sum(r["wall_time_s"] for r in records.values()),
        "command": command_line(),
        "folder": os.getcwd(),
    }


def average_tested(records, protocol):
    """Average what the folds were tested with.

    Arguments
    ---------
    records : dict
        Fold -> its record.
    protocol : str
        One that all folds have.

    Returns
    -------
    dict
        ``epoch`` (None if the folds have different ones), ``rule``, ``test``
        (means by name), ``std`` (over the folds, n - 1; NaN for a single one)
        and ``folds`` (headline of each).
    """
    entries = {fold: r["protocols"][protocol] for fold, r in records.items()}
    name = next(iter(records.values()))["metric"]["name"]
    epochs = {entry["epoch"] for entry in entries.values()}
    table = pd.DataFrame({f: entry["test"] for f, entry in entries.items()}).T
    rule = next(iter(entries.values()))["rule"]
    epoch = epochs.pop() if len(epochs) == 1 else None
    return {"epoch": epoch, "rule": rule, **_mean_and_std(table, name)}


def average_best_epoch(curves, name):
    """Average the epoch that is best for all folds together, as AST does.

    Arguments
    ---------
    curves : dict
        Fold -> pandas.DataFrame, one row per epoch, with ``epoch`` and the
        scores on the fold's test clips as ``test_<name>``.
    name : str
        The metric that chooses.

    Returns
    -------
    dict
        As from `average_tested`.
    """
    counts = {fold: len(curve) for fold, curve in curves.items()}
    if len(set(counts.values())) > 1:
        sys.exit(
            "run_folds.py: the folds have different numbers of epochs, "
            f"{counts}, and the protocol 'paper' chooses one for all: start "
            "again with the same options for all folds, and without patience"
        )
    table = pd.concat(
        {fold: curve.set_index("epoch") for fold, curve in curves.items()},
        names=["fold"],
    )
    table = table.filter(regex="^test_").rename(
        columns=lambda column: column.removeprefix("test_")
    )
    epoch = int(table[name].groupby("epoch").mean().idxmax())
    return {
        "epoch": epoch,
        "rule": f"AST's: best epoch of the mean over the folds' test {name}",
        **_mean_and_std(table.xs(epoch, level="epoch"), name),
    }


def _mean_and_std(table, name):
    """Summarise a table with a row per fold."""
    return {
        "test": table.mean().to_dict(),
        "std": table.std().to_dict(),
        "folds": table[name].to_dict(),
    }
