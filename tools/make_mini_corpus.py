#!/usr/bin/env python3
"""Make a miniature corpus of synthetic sounds in a corpus' own layout.

The sounds differ as the classes do, so that a model has something to learn
and a wrong label shows. The same options give the same files, bit for bit.

    python tools/make_mini_corpus.py VoxCeleb data --n_speakers 6
    python tools/make_mini_corpus.py VoxCeleb --help
"""

import argparse
import json
import sys
from importlib import import_module
from pathlib import Path

# dataset -> module in mini_corpus/
CORPORA = {
    "AudioSet": "audioset",
    "EPIC-Sounds": "epic_sounds",
    "ESC-50": "esc50",
    "SpeechCommands": "speech_commands",
    "VGGSound": "vggsound",
    "VoxCeleb": "voxceleb",
}
# Tells this tool's own products; also says with which options
MARKER = ".mini_corpus.json"


def parse_arguments(argv=None):
    """Read the command line; every corpus has options of its own."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    corpora = parser.add_subparsers(
        dest="dataset",
        required=True,
        metavar="DATASET",
        help=", ".join(CORPORA),
    )
    for name, module in CORPORA.items():
        corpus = corpora.add_parser(
            name, formatter_class=argparse.ArgumentDefaultsHelpFormatter
        )
        corpus.add_argument("folder", type=Path, help="where to write it")
        corpus.add_argument("--seed", type=int, default=0, help="of chance")
        corpus.add_argument(
            "--broken",
            action="store_true",
            help="add the bad files and list entries that users meet",
        )
        options = import_module(f"mini_corpus.{module}").OPTIONS
        for option, (default, text) in options.items():
            kind = {"type": type(default), "default": default}
            if isinstance(default, bool):
                kind = {"action": "store_true"}
            corpus.add_argument(f"--{option}", help=text, **kind)
    return parser.parse_args(argv)


def is_made(folder, wanted):
    """Whether the corpus stands there already; refuses any other content.

    Arguments
    ---------
    folder : Path
        Where the corpus shall be.
    wanted : dict
        Dataset and options.

    Returns
    -------
    bool
        False if it has to be made, also if an earlier attempt was cut off.

    Raises
    ------
    ValueError
        If there is something else in the folder.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; name another folder")
    marker = folder / MARKER
    if not marker.exists():
        if folder.exists() and any(folder.iterdir()):
            raise ValueError(
                f"{folder} is not empty and was not made by this tool; name "
                "another folder"
            )
        return False
    made = json.loads(marker.read_text())
    complete = made.pop("complete")
    if not complete and [*folder.iterdir()] == [marker]:
        return False
    if made != wanted:
        raise ValueError(
            f"{folder} holds a miniature made with other options:\n  "
            f"{json.dumps(made)}\ninstead of\n  {json.dumps(wanted)}\n"
            "name another folder, or delete that one"
        )
    return complete


def main(argv=None):
    """Make the corpus that the command line asks for."""
    wanted = vars(parse_arguments(argv))
    folder = wanted.pop("folder")
    options = dict(wanted)
    corpus = import_module(f"mini_corpus.{CORPORA[options.pop('dataset')]}")
    try:
        if is_made(folder, wanted):
            print(f"The miniature {wanted['dataset']} is there: {folder}")
            return
        folder.mkdir(parents=True, exist_ok=True)
        marker = folder / MARKER
        marker.write_text(json.dumps({**wanted, "complete": False}))
        complaints = corpus.make(folder, **options)
        marker.write_text(json.dumps({**wanted, "complete": True}))
    except ValueError as error:
        sys.exit(f"make_mini_corpus.py: {error}")
    files = sum(path.is_file() for path in folder.rglob("*")) - 1
    print(f"Made a miniature {wanted['dataset']} of {files} files: {folder}")
    for complaint in complaints:
        print(f"broken: {complaint}")


if __name__ == "__main__":
    main()
