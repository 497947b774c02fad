"""The command ``audiomamba-train``: from a folder of sounds to a tagger."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from audiomamba.cli.ending import command

if TYPE_CHECKING:  # loading PyTorch would delay --help
    from audiomamba.training.runs.choices import Choice

DESCRIPTION = """\
Train a tagger on your own sounds, in one command.

    audiomamba-train sounds
    audiomamba-train clips.csv --out results/birds --group '_([A-Z]+)_'
    audiomamba-train sounds --init_from owner/name --number_of_epochs 5
    audiomamba-train results/sounds/train.yaml --lr 0.0005 --output_folder new

SOURCE is a folder whose sub-folders are the classes, or a CSV with the columns
path,label (several labels joined by ";") and maybe split, group, start, stop.
What is decided is printed, and written to train.yaml in the output folder,
which SOURCE may be as well. Every key of that file is an option. The same
command resumes a stopped run. Afterwards:

    audiomamba-tag dog.wav --model results/sounds
"""


def parse_arguments(
    argv: list[str] | None = None,
) -> tuple[argparse.Namespace, list[str]]:
    """Parse the command line.

    Arguments
    ---------
    argv : list of str, optional
        Arguments to parse instead of the command line's.

    Returns
    -------
    argparse.Namespace
        The options of the command.
    list of str
        The others, which are options of the recipe.

    Example
    -------
    >>> arguments, others = parse_arguments(["sounds", "--lr", "0.1"])
    >>> str(arguments.source), others
    ('sounds', ['--lr', '0.1'])
    """
    parser = argparse.ArgumentParser(
        prog="audiomamba-train",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("source", type=Path, metavar="SOURCE")
    add(
        "--out",
        type=Path,
        metavar="DIR",
        help="the output folder; default: results/<name of SOURCE>, or the "
        "YAML's",
    )
    add(
        "--init_from",
        metavar="MODEL",
        help="fine-tune this model: an exported one, a run, a checkpoint or a "
        "name on the Hugging Face hub; default: train from scratch",
    )
    add(
        "--group",
        metavar="REGEX",
        help="searched in each path; clips in which its first group matches "
        "the same, as a speaker, stay in one split",
    )
    add(
        "--allow_missing",
        action="store_true",
        help="leave out files that are missing or unusable",
    )
    arguments, others = parser.parse_known_args(argv)
    if _is_yaml(arguments.source) and arguments.group:
        parser.error("--group is for a folder or a CSV: a YAML has its lists")
    return arguments, others


def _is_yaml(source):
    return source.suffix in (".yaml", ".yml")


def _keys_of(arguments):
    """The command's own options as keys of a YAML."""
    keys = {
        "output_folder": arguments.out,
        "init_from": arguments.init_from,
        "allow_missing": arguments.allow_missing or None,
    }
    return [f"--{key}={v}" for key, v in keys.items() if v is not None]


def template() -> Path:
    """Return the YAML that is filled in: that of ``recipes/Custom``.

    Returns
    -------
    Path
        Beside this module where it was installed, else in the clone.
    """
    installed = Path(__file__).with_name("train.yaml")
    if installed.is_file():
        return installed
    return Path(__file__).parents[2] / "recipes/Custom/hparams/aum_tiny.yaml"


def prepare(arguments: argparse.Namespace) -> Path:
    """Write the three lists and the YAML of a training.

    Arguments
    ---------
    arguments : argparse.Namespace
        From `parse_arguments`.

    Returns
    -------
    Path
        The YAML.
    """
    from audiomamba.dataio.corpora.collection import (
        read_collection,
        write_lists,
    )
    from audiomamba.training.runs.choices import (
        Choice,
        choose_settings,
        quoted,
        write_yaml,
    )

    source = arguments.source.resolve()
    name = source.name if source.is_dir() else source.stem
    out = arguments.out or Path("results", name)
    folder, rows = read_collection(
        arguments.source, arguments.group, arguments.allow_missing
    )
    path = out / "train.yaml"
    _check_source(path, folder.resolve())
    lists = write_lists(rows, out / "lists")
    _warn_of_rare(lists)
    choices = {
        "data_folder": Choice(quoted(folder.resolve())),
        "output_folder": Choice(quoted(out.resolve())),
        "dataset_name": Choice(quoted(name)),
        **{
            f"{split}_csv": Choice(
                quoted(out.resolve() / "lists" / f"{split}.csv"),
                f"{len(part)} clips of {part['group'].nunique()} groups",
            )
            for split, part in lists.items()
        },
        **choose_settings(lists),
    }
    if arguments.init_from:
        choices |= _choices_of(arguments.init_from)
    for key, choice in choices.items():
        if choice.value is not None:
            why = f"  # {choice.reason}" if choice.reason else ""
            print(f"{key}: {choice.value.splitlines()[0]}{why}")
    made_by = f"audiomamba-train {arguments.source}"
    write_yaml(template(), choices, path, made_by)
    return path


def _check_source(path, folder):
    """Refuse an output folder that another collection's training has."""
    from audiomamba.training.runs.hparams import read_settings

    if not path.is_file():
        return
    held = read_settings(path).get("data_folder", "another training")
    if Path(held) != folder:
        raise ValueError(
            f"{path} is of {held}, not of {folder}: name another --out."
        )


def _warn_of_rare(lists):
    """Say which classes cannot be tested."""
    from audiomamba.dataio.lists import split_labels

    trained, tested = (
        {name for text in lists[split]["label"] for name in split_labels(text)}
        for split in ("train", "test")
    )
    if untested := sorted(trained - tested):
        print(
            f"Not in the test list, as they have too few groups or recordings: "
            f"{', '.join(untested)}",
            file=sys.stderr,
        )


def _choices_of(model: str) -> "dict[str, Choice]":
    """What fine-tuning takes from a model instead of choosing it."""
    from audiomamba.inference.exported.start import starting_parts
    from audiomamba.training.runs.choices import Choice, quoted

    taken = {
        key: Choice(text, "of the model")
        for key, text in starting_parts(model).items()
    }
    unused = "depth patch_size stride feature_mean feature_std"
    return {
        **dict.fromkeys(unused.split(), Choice(None)),
        **taken,
        # Absolute as all paths here, if it is no name on the hub
        "init_from": Choice(
            quoted(Path(model).resolve() if Path(model).exists() else model)
        ),
        "lr": Choice("1.0e-4", "small, as the encoder is trained already"),
        "head_lr_scale": Choice("10.0", "the classifier is new"),
    }


@command("audiomamba-train")
def main(argv: list[str] | None = None) -> int:
    """Train as the command line says.

    Arguments
    ---------
    argv : list of str, optional
        Arguments to parse instead of the command line's.

    Returns
    -------
    int
        Exit status, 0.
    """
    arguments, others = parse_arguments(argv)
    from audiomamba.dataio.corpora.custom import dataio_prep
    from audiomamba.dataio.corpora.custom import prepare as prepare_run
    from audiomamba.training.recipe import run_recipe

    path = arguments.source
    if _is_yaml(path):
        others = [*_keys_of(arguments), *others]
    else:
        path = prepare(arguments)
    run_recipe(
        lambda settings: settings["dataset_name"],
        prepare_run,
        dataio_prep,
        finish=_say_how_to_use,
        argv=[str(path), *others],
    )
    return 0


def _say_how_to_use(brain, hparams, datasets):
    """Print the command that uses the trained model."""
    folder = Path(hparams["save_folder"]).parent
    print(f"\nNow: audiomamba-tag FILE --model {folder}")


if __name__ == "__main__":
    sys.exit(main())
