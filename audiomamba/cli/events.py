"""The options of ``audiomamba-tag`` for events, and where they are written."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from audiomamba.cli.listing import ResultPlaces

if TYPE_CHECKING:  # loading PyTorch would delay --help
    from audiomamba.inference.events import Event, EventRules

FORMATS = ("csv", "audacity", "raven", "rttm", "jsonl")
# These have no column for the name of the recording
_OF_ONE_RECORDING = ("audacity", "raven")
# Ending -> format, where --format does not say it
_ENDINGS = {".csv": "csv", ".jsonl": "jsonl", ".rttm": "rttm", ".txt": None}
# The options that are arguments of `EventRules`
_RULES = ("threshold", "low", "median", "min_duration", "min_gap")
_SECONDS = {
    "median": "running median of the probabilities",
    "min-duration": "leave out shorter events",
    "min-gap": "events of a class that are closer are one",
}


def add_event_options(parser: argparse.ArgumentParser) -> None:
    """Add the options for events.

    Arguments
    ---------
    parser : argparse.ArgumentParser
        Of the command.

    Example
    -------
    >>> parser = argparse.ArgumentParser()
    >>> add_event_options(parser)
    >>> parser.parse_args(["--events", "a.csv", "--min-gap", "0.5"]).min_gap
    0.5
    """
    group = parser.add_argument_group(
        "events",
        "what begins and ends when; from frames, where the model "
        "classifies frames, otherwise from windows, to a hop",
    )
    group.add_argument(
        "--events",
        type=Path,
        metavar="FILE",
        help="write events here; audacity and raven: for several recordings, "
        "give a folder",
    )
    group.add_argument(
        "--format",
        choices=FORMATS,
        help="default: what the ending says, otherwise csv",
    )
    group.add_argument(
        "--threshold",
        type=float,
        metavar="P",
        help="probability that an event reaches (default: 0.5)",
    )
    group.add_argument(
        "--low",
        type=float,
        metavar="SHARE",
        help="an event begins and ends at this share of the threshold "
        "(default: 0.5)",
    )
    for name, what in _SECONDS.items():
        group.add_argument(
            f"--{name}",
            type=float,
            metavar="S",
            help=f"seconds: {what} (default: 0)",
        )


def event_fault(arguments: argparse.Namespace) -> str | None:
    """Say what is wrong with the options for events, if anything.

    Arguments
    ---------
    arguments : argparse.Namespace
        Of the command line; ``format`` is set if it was left out.

    Returns
    -------
    str or None

    Example
    -------
    >>> options = argparse.Namespace(events=Path("a.wav"), format=None)
    >>> event_fault(options)
    '--events a.wav: its name ends in .csv, .jsonl, .rttm, .txt'
    """
    target = arguments.events
    if target is None:
        options = vars(arguments)
        given = [n for n in ("format", *_RULES) if options[n] is not None]
        first = "".join(given[:1]).replace("_", "-")
        return f"--{first} needs --events" if given else None
    ending = target.suffix.lower()
    is_folder = target.is_dir() or not ending
    if ending not in _ENDINGS and not is_folder:
        return f"--events {target}: its name ends in {', '.join(_ENDINGS)}"
    arguments.format = arguments.format or _ENDINGS.get(ending) or "csv"
    one_each = arguments.format in _OF_ONE_RECORDING
    if one_each and len(arguments.files) > 1 and not is_folder:
        return f"--events {target}: give a folder, it gets one file each"
    if is_folder and not one_each:
        return f"--events {target}: give the name of a file, as events.csv"
    return None


def event_rules(arguments: argparse.Namespace) -> "EventRules":
    """Return what counts as an event, from the command line.

    Arguments
    ---------
    arguments : argparse.Namespace
        With the options of `add_event_options`.

    Returns
    -------
    EventRules

    Raises
    ------
    ValueError
        If a value has no meaning.
    """
    from audiomamba.inference.events import EventRules

    options = vars(arguments)
    return EventRules(
        **{n: options[n] for n in _RULES if options[n] is not None}
    )


class EventOutput:
    """Writes the events of recordings where the command line says.

    A file of an earlier call is replaced with the first recording: it outlives
    a call that hears none.

    Arguments
    ---------
    arguments : argparse.Namespace
        With the options of `add_event_options`, and ``files``.
    """

    def __init__(self, arguments: argparse.Namespace):
        from audiomamba.inference.event_files import EventFile

        self.target, self.form = arguments.events, arguments.format
        self.places = ResultPlaces(arguments.files)
        self.stems = ResultPlaces(arguments.files, lambda x: Path(x).stem)
        self._open = EventFile
        self.one_each = self.target.is_dir() or not self.target.suffix
        self._shared = None
        if not self.one_each and not self.target.exists():
            self._shared = EventFile(self.target, self.form)

    def add(self, path: str, events: "list[Event]") -> None:
        """Write the events of a recording."""
        if self.one_each:
            place = self.places.place(self.target, path, ".txt")
            self._open(place, self.form).add(path, events)
            return
        if self._shared is None:
            self._shared = self._open(self.target, self.form)
        self._shared.add(path, events, self.stems.name(path))
