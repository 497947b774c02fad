"""Train and test on every fold of ESC-50, and average.

    python run_folds.py hparams/aum_base.yaml --data_folder /path/to/ESC50

Further options are passed on to train.py.  The same command resumes a stopped
run.  The epoch is chosen by two rules: AST's, the one with the best mean
accuracy over the folds' test clips, and the last, which does not depend on the
test clips.  --init_from with --test_only tests given weights as they are.
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
from audiomamba.training.environment import command_line
from audiomamba.training.results import describe

FOLDS = (1, 2, 3, 4, 5)
RULES = {
    "paper": "AST's: best epoch of the mean over the folds' test accuracies",
    "last": "last epoch, whatever its figures",
}
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


def parse_arguments():
    """Separate the options of this script from those for train.py."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "hparams_file", help="for example hparams/aum_base.yaml"
    )
    parser.add_argument("--seed", type=int, default=1, help="of every fold")
    parser.add_argument("--output_folder", type=Path, help="of all folds")
    parser.add_argument("--folds", type=int, nargs="+", default=FOLDS)
    own, further = parser.parse_known_args()
    if any(option.split("=")[0] == "--fold" for option in further):
        parser.error("--fold is set here; --folds 2 3 does some of the folds")
    if own.output_folder is None:
        name = Path(own.hparams_file).stem
        own.output_folder = Path("results", name, str(own.seed))
    return own, further


def average_folds(curves):
    """Average the scores of the folds at the epochs that the rules choose.

    Arguments
    ---------
    curves : dict
        Fold -> pandas.DataFrame, one row per epoch, with ``epoch`` and the
        scores on the fold's test clips as ``test_<name>``.

    Returns
    -------
    dict
        Rule -> ``epoch``, ``rule``, ``test`` (means by name), ``std`` (over
        the folds, n - 1; NaN for a single fold) and ``folds`` (accuracy of
        each).
    """
    counts = {fold: len(curve) for fold, curve in curves.items()}
    n_epochs = max(counts.values())
    if set(counts.values()) != {n_epochs}:
        sys.exit(
            f"run_folds.py: the folds have different numbers of epochs, "
            f"{counts}: start again with the same options for all folds"
        )
    table = pd.concat(
        {fold: curve.set_index("epoch") for fold, curve in curves.items()},
        names=["fold"],
    )
    table = table.filter(regex="^test_").rename(
        columns=lambda name: name.removeprefix("test_")
    )
    accuracies = table["accuracy"].groupby("epoch").mean()
    epochs = {"paper": int(accuracies.idxmax()), "last": n_epochs}
    found = {}
    for rule, epoch in epochs.items():
        folds = table.xs(epoch, level="epoch")
        found[rule] = {
            "epoch": epoch,
            "rule": RULES[rule],
            "test": folds.mean().to_dict(),
            "std": folds.std().to_dict(),
            "folds": folds["accuracy"].to_dict(),
        }
    return found


def average_tested(records):
    """Average the scores of folds that were only tested.

    Arguments
    ---------
    records : dict
        Fold -> its record.

    Returns
    -------
    dict
        Protocol -> entries as from `average_folds`.
    """
    first = next(iter(records.values()))
    found = {}
    for protocol, entry in first["protocols"].items():
        folds = pd.DataFrame(
            {f: r["protocols"][protocol]["test"] for f, r in records.items()}
        ).T
        found[protocol] = {
            "epoch": entry["epoch"],
            "rule": entry["rule"],
            "test": folds.mean().to_dict(),
            "std": folds.std().to_dict(),
            "folds": folds["accuracy"].to_dict(),
        }
    return found


def record_of_all(records):
    """Combine the folds' ``results.json`` into one of the same form.

    Arguments
    ---------
    records : dict
        Fold -> its record.

    Returns
    -------
    dict
        Ready for ``write_json``.
    """
    first = next(iter(records.values()))
    curves = {fold: pd.DataFrame(r["curve"]) for fold, r in records.items()}
    if all(len(curve) for curve in curves.values()):
        averages = average_folds(curves)
    else:
        averages = average_tested(records)
    headline = averages[first["protocol"]]
    name = first["metric"]["name"]
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
        "wall_time_s": sum(
            record["wall_time_s"] for record in records.values()
        ),
        "command": command_line(),
        "folder": os.getcwd(),
    }


def record_of_fold(folder, further):
    """Find the record that a fold just wrote.

    Arguments
    ---------
    folder : Path
        Output folder of the fold.
    further : list of str
        Options of train.py.

    Returns
    -------
    Path
        The fold's ``results.json``.
    """
    looked = folder / "test_only" / "results.json"
    if "--test_only" in further and looked.is_file():
        return looked
    return folder / "results.json"


def main():
    """Run the folds one after the other; write their average."""
    own, further = parse_arguments()
    records, found = {}, []
    for fold in own.folds:
        folder = own.output_folder / f"fold{fold}"
        command = [
            sys.executable,
            "train.py",
            own.hparams_file,
            f"--seed={own.seed}",
            f"--fold={fold}",
            f"--output_folder={folder}",
            *further,
        ]
        print(f"run_folds.py: {shlex.join(command)}", flush=True)
        status = subprocess.run(command, check=False).returncode
        if status:
            sys.exit(f"run_folds.py: fold {fold} ended with status {status}")
        found.append(record_of_fold(folder, further))
        records[fold] = json.loads(found[-1].read_text())
    record = record_of_all(records)
    # Testing trained folds again does not replace the record of their training
    looked = found[0].parent.name == "test_only"
    place = own.output_folder / "test_only" if looked else own.output_folder
    path = place / "results.json"
    write_json(path, record)
    for protocol, average in record["protocols"].items():
        print(
            f"{protocol} ({average['rule']}), epoch {average['epoch']}: "
            f"{describe(average['test'])}; standard deviation over "
            f"{len(records)} folds: {describe(average['std'])}"
        )
    print(f"results: {path}")


if __name__ == "__main__":
    main()
