"""How ``audiomamba-tag`` prints its results, and where files of results go."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # loading PyTorch would delay --help
    from audiomamba.inference.events import Event
    from audiomamba.inference.tagger import TaggedWindow


def place_in(folder: Path, path: str, files: list[str], ending: str) -> Path:
    """Choose where in a folder the result for one of several files goes.

    Arguments
    ---------
    folder : Path
        The folder.
    path : str
        The file.
    files : list of str
        All files. Where two have the same name, their results are in folders
        as the files are.
    ending : str
        What is added to the file's name.

    Returns
    -------
    Path

    Example
    -------
    >>> files = ["a/x.wav", "b/x.wav"]
    >>> [str(place_in(Path("out"), path, files, ".png")) for path in files]
    ['out/a/x.wav.png', 'out/b/x.wav.png']
    """
    places = {os.path.abspath(file) for file in files}
    name = Path(path).name
    if len({Path(place).name for place in places}) < len(places):
        top = os.path.commonpath([os.path.dirname(place) for place in places])
        name = os.path.relpath(path, top)
    return folder / f"{name}{ending}"


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
    """
    found = ", ".join(f"{name} {p:.1%}" for name, p in window.tags)
    return f"  {window.start:8.1f} - {window.stop:.1f} s  {found}"


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
