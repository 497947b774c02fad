"""How commands print their results, and where files of results go."""

import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # loading PyTorch would delay --help
    from audiomamba.inference.events import Event
    from audiomamba.inference.tagger import Decision, TaggedWindow


class ResultPlaces:
    """Chooses where in a folder the results for several files go.

    Where two files have the same name, their results are in folders as the
    files are.

    Arguments
    ---------
    files : list of str
        All files.
    short : callable
        From a path to the name that it has where no two are the same.

    Example
    -------
    >>> places = ResultPlaces(["a/x.wav", "b/x.wav"])
    >>> str(places.place(Path("out"), "b/x.wav", ".png"))
    'out/b/x.wav.png'
    """

    def __init__(
        self,
        files: list[str],
        short: Callable[[str], str] = os.path.basename,
    ):
        places = {os.path.abspath(file) for file in files}
        self.short, self.top = short, None
        if len({short(place) for place in places}) < len(places):
            self.top = os.path.commonpath([*map(os.path.dirname, places)])

    def name(self, path: str) -> str:
        """Name one file, as no other is.

        Arguments
        ---------
        path : str
            The file.

        Returns
        -------
        str
        """
        if self.top is None:
            return self.short(path)
        return os.path.relpath(path, self.top)

    def place(self, folder: Path, path: str, ending: str) -> Path:
        """Choose the place of one file's result.

        Arguments
        ---------
        folder : Path
            The folder.
        path : str
            The file.
        ending : str
            What is added to the file's name.

        Returns
        -------
        Path
        """
        return folder / f"{self.name(path)}{ending}"


def _rows(tags):
    return [{"label": label, "probability": round(p, 6)} for label, p in tags]


def as_json(
    path: str,
    tags: list[tuple[str, float]],
    windows: "list[TaggedWindow] | None" = None,
) -> str:
    """Format a file's result as a line of JSON.

    Arguments
    ---------
    path : str
        The file.
    tags : list of tuple
        (label, probability) for the whole clip.
    windows : list of TaggedWindow or None
        Results per window, which replace ``tags``.

    Returns
    -------
    str

    Example
    -------
    >>> as_json("a.wav", [("Dog", 0.75)])
    '{"file": "a.wav", "tags": [{"label": "Dog", "probability": 0.75}]}'
    """
    result: dict[str, object] = {"file": path}
    if windows is None:
        result["tags"] = _rows(tags)
    else:
        result["windows"] = [
            {
                "start": round(window.start, 3),
                "stop": round(window.stop, 3),
                "tags": _rows(window.tags),
            }
            for window in windows
        ]
    return json.dumps(result, ensure_ascii=False)


def as_text(
    path: str,
    tags: list[tuple[str, float]],
    windows: "list[TaggedWindow] | None" = None,
) -> str:
    """Format a file's result as readable lines.

    Arguments
    ---------
    path, tags, windows
        As for `as_json`.

    Returns
    -------
    str

    Example
    -------
    >>> print(as_text("a.wav", [("Dog", 0.75), ("Rain", 0.02)]))
    a.wav
      75.0%  Dog
       2.0%  Rain
    """
    if windows is None:
        return "\n".join([path, *(f"  {p:5.1%}  {n}" for n, p in tags)])
    return "\n".join([path, *map(window_as_text, windows)])


def window_as_text(window: "TaggedWindow") -> str:
    """Format a window as a readable line.

    Arguments
    ---------
    window : TaggedWindow
        From `AudioTagger.tag_stream`.

    Returns
    -------
    str

    Example
    -------
    >>> from audiomamba.inference.tagger import TaggedWindow
    >>> window_as_text(TaggedWindow(0.5, 2.5, [("Dog", 0.75)], None))
    '       0.5 - 2.5 s  Dog 75.0%'
    >>> window_as_text(TaggedWindow(0.25, 2.25, [("Dog", 0.75)], None))
    '      0.25 - 2.25 s  Dog 75.0%'
    """
    found = ", ".join(f"{name} {p:.1%}" for name, p in window.tags)
    start, stop = (round(float(s), 3) for s in (window.start, window.stop))
    return f"  {start!s:>8} - {stop} s  {found}"


def decisions_as_text(
    path: str, decisions: "list[Decision]", top: int, as_line: bool = False
) -> str:
    """Format what is heard in a file, as lines or as a line of JSON.

    Arguments
    ---------
    path : str
        The file.
    decisions : list of Decision
        From `AudioTagger.decide_batch`: all that are heard are shown.
    top : int
        Classes to show, if fewer are heard.
    as_line : bool
        Whether to write JSON.

    Returns
    -------
    str

    Example
    -------
    >>> from audiomamba.inference.tagger import Decision
    >>> heard = [Decision("Dog", 0.75, True), Decision("Rain", 0.02, False)]
    >>> print(decisions_as_text("a.wav", heard, 5))
    a.wav
      yes   75.0%  Dog
      no     2.0%  Rain
    """
    shown = decisions[: max(top, sum(d.yes for d in decisions))]
    if as_line:
        rows = [
            {**row, "yes": d.yes}
            for row, d in zip(_rows([d[:2] for d in shown]), shown)
        ]
        return json.dumps({"file": path, "tags": rows}, ensure_ascii=False)
    lines = [
        f"  {'yes' if d.yes else 'no':3}  {d.probability:6.1%}  {d.label}"
        for d in shown
    ]
    return "\n".join([path, *lines])


def events_as_text(path: str, events: "list[Event]") -> str:
    """Format a file's events as readable lines.

    Arguments
    ---------
    path : str
        The file.
    events : list of Event
        From `audiomamba.inference.events.find_events`.

    Returns
    -------
    str

    Example
    -------
    >>> from audiomamba.inference.events import Event
    >>> print(events_as_text("a.wav", [Event(0.5, 2.0, "Dog", 0.75)]))
    a.wav
           0.50 - 2.00 s  Dog 75.0%
    """
    lines = [
        f"  {e.onset:9.2f} - {e.offset:.2f} s  {e.label} {e.score:.1%}"
        for e in events
    ]
    return "\n".join([path, *(lines or ["  no events"])])


def print_any_name() -> None:
    """Let the names of files that are printed have any bytes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
