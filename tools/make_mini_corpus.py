#!/usr/bin/env python3
"""Make a miniature of a corpus, of synthetic sounds, in the corpus' own layout.

Classes sound different, so that a model has something to learn and a wrong
label shows. The same options give the same files, bit for bit.

    python tools/make_mini_corpus.py VoxCeleb data --n_speakers 6
    python tools/make_mini_corpus.py VoxCeleb --help
"""

import argparse
import json
import sys
from importlib import import_module
from pathlib import Path

# Corpus -> module in mini_corpus/
CORPORA = {
    "AudioSet": "audioset",
    "EPIC-Sounds": "epic_sounds",
    "ESC50": "esc50",
    "LibriSpeech": "librispeech",
    "SpeechCommands": "speech_commands",
    "VGGSound": "vggsound",
    "VoxCeleb": "voxceleb",
}
# Other names that are understood
ALIASES = {"ESC-50": "ESC50"}
# Marks a folder as made by this tool, and holds its options
MARKER = ".mini_corpus.json"


def parse_arguments(argv=None):
    """Read the command line; every corpus has its own options."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    corpora = parser.add_subparsers(
        dest="dataset",
        required=True,
        metavar="CORPUS",
        help=", ".join(CORPORA),
    )
    for name, module in CORPORA.items():
        corpus = corpora.add_parser(
            name,
            aliases=[alias for alias, of in ALIASES.items() if of == name],
            formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        )
        corpus.add_argument("folder", type=Path, help="where to write it")
        corpus.add_argument("--seed", type=int, default=0, help="random seed")
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
    arguments = parser.parse_args(argv)
    arguments.dataset = ALIASES.get(arguments.dataset, arguments.dataset)
    return arguments


def is_made(folder, wanted):
    """Whether the corpus is there already, whole; refuse any other content."""
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
    made["dataset"] = ALIASES.get(made["dataset"], made["dataset"])
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
    """Make the corpus that the command line names."""
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
    except (ValueError, OSError) as error:
        sys.exit(f"make_mini_corpus.py: {error}")
    files = sum(path.is_file() for path in folder.rglob("*")) - 1
    print(f"Made a miniature {wanted['dataset']} of {files} files: {folder}")
    for complaint in complaints:
        print(f"broken: {complaint}")


if __name__ == "__main__":
    main()
