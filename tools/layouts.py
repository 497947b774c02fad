"""What the tools that arrange a corpus, ``lay_out_*.py``, share."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile as sf

from audiomamba.dataio.audio import AudioError


class LayoutError(ValueError):
    """A folder that is not the corpus, or not empty; an impossible choice."""


def check_empty(target: Path) -> None:
    """Refuse a folder that has something in it."""
    if target.is_file() or (target.exists() and any(target.iterdir())):
        raise LayoutError(f"{target} is not empty: name a new folder")


def write(path: Path, samples: np.ndarray, rate: int) -> None:
    """Write 16-bit samples, and the folder that they are in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sf.write(path, np.asarray(samples), rate, subtype="PCM_16")


def parser_of(doc: str) -> argparse.ArgumentParser:
    """Return a parser that shows the head of a tool."""
    return argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def add_folders(parser: argparse.ArgumentParser) -> None:
    """Add the two folders that every tool takes."""
    parser.add_argument("clone", type=Path, help="of the corpus' repository")
    parser.add_argument("target", type=Path, help="new folder to write")


def run(
    file: str,
    lay_out: Callable[..., dict[str, int]],
    arguments: argparse.Namespace,
) -> None:
    """Write a layout, and print what it has; end with what is wrong.

    Arguments
    ---------
    file : str
        The tool's.
    lay_out : callable
        Takes the arguments by name; returns what there is -> how many.
    arguments : argparse.Namespace
        The command line.
    """
    try:
        counts = lay_out(**vars(arguments))
    except (LayoutError, AudioError, OSError) as error:
        sys.exit(f"{Path(file).name}: {error}")
    said = ", ".join(f"{count} {name}" for name, count in counts.items())
    print(f"{arguments.target}: {said}")
