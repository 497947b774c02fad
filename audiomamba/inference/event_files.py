"""Events as files that other programs read."""

import csv
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path

from audiomamba.dataio.files import printable, replaced_file
from audiomamba.inference.events import Event

_CSV = ("file", "onset", "offset", "label", "score")
_RAVEN = (
    "Selection",
    "View",
    "Channel",
    "Begin Time (s)",
    "End Time (s)",
    "Low Freq (Hz)",
    "High Freq (Hz)",
    "Begin File",
    "Species",
    "Score",
)
# Raven draws a box; events have no band, so it is this one
_BAND = ("0", "8000")


def _rows(path, events):
    """Return events as texts: times to a millisecond."""
    return [
        (path, f"{e.onset:.3f}", f"{e.offset:.3f}", e.label, f"{e.score:.4f}")
        for e in events
    ]


def _as_csv(path, events):
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(_rows(path, events))
    return text.getvalue()


def _as_jsonl(path, events):
    lines = [
        {
            "file": path,
            "onset": round(event.onset, 3),
            "offset": round(event.offset, 3),
            "label": event.label,
            "score": round(event.score, 4),
        }
        for event in events
    ]
    return "".join(json.dumps(x, ensure_ascii=False) + "\n" for x in lines)


def _as_audacity(path, events):
    return "".join(
        f"{onset}\t{offset}\t{_one_field(label)}\n"
        for _, onset, offset, label, _ in _rows(path, events)
    )


def _as_raven(path, events):
    name = _one_field(Path(path).name)
    lines = [
        (str(n), "Spectrogram 1", "1", on, off, *_BAND, name, label, score)
        for n, (_, on, off, label, score) in enumerate(_rows(path, events), 1)
    ]
    return "".join("\t".join(map(_one_field, x)) + "\n" for x in lines)


def _as_rttm(name, events):
    # Fields are separated by blanks, so they have none
    name = _word(name)
    return "".join(
        f"SPEAKER {name} 1 {e.onset:.3f} {e.offset - e.onset:.3f} <NA> <NA> "
        f"{_word(e.label)} {e.score:.4f} <NA>\n"
        for e in events
    )


def _word(text):
    """Return a text without blanks."""
    return re.sub(r"\s", "_", text)


def _one_field(text):
    """Return a text without tabs and line breaks."""
    return printable(text).replace("\t", " ")


# How a recording's events are written, and the header before all of them
_WRITERS = {
    "csv": (_as_csv, ",".join(_CSV) + "\n"),
    "audacity": (_as_audacity, ""),
    "raven": (_as_raven, "\t".join(_RAVEN) + "\n"),
    "rttm": (_as_rttm, ""),
    "jsonl": (_as_jsonl, ""),
}


def events_text(
    path: str,
    events: Sequence[Event],
    form: str,
    header: bool = True,
    name: str | None = None,
) -> str:
    """Return the events of a recording as text.

    Arguments
    ---------
    path : str
        The recording.
    events : sequence of Event
        From `audiomamba.inference.events.find_events`.
    form : str
        csv, audacity, raven, rttm or jsonl.
    header : bool
        Whether a line with the names of the columns comes first, where the
        format has one.
    name : str, optional
        What rttm calls the recording; None: its file's name without ending.

    Returns
    -------
    str

    Example
    -------
    >>> event = Event(0.5, 2.0, "Dog", 0.75)
    >>> print(events_text("a.wav", [event], "csv"), end="")
    file,onset,offset,label,score
    a.wav,0.500,2.000,Dog,0.7500
    >>> print(events_text("a.wav", [event], "rttm"), end="")
    SPEAKER a 1 0.500 1.500 <NA> <NA> Dog 0.7500 <NA>
    """
    write, columns = _WRITERS[form]
    if form == "rttm":
        path = name or Path(path).stem
    return (columns if header else "") + write(path, events)


class EventFile:
    """A file of the events of recordings, complete after each of them.

    Arguments
    ---------
    path : str or Path
        The file; its folder is created.
    form : str
        csv, audacity, raven, rttm or jsonl.

    Example
    -------
    >>> path = getfixture("tmp_path") / "events.csv"
    >>> events = EventFile(path, "csv")
    >>> events.add("a.wav", [Event(0.5, 2.0, "Dog", 0.75)])
    >>> events.add("b.wav", [])
    >>> len(path.read_text().splitlines())
    2
    """

    def __init__(self, path: str | Path, form: str):
        self.path, self.form = Path(path), form
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with replaced_file(self.path) as draft:
            draft.write_text(_WRITERS[form][1], encoding="utf-8")

    def add(
        self, path: str, events: Sequence[Event], name: str | None = None
    ) -> None:
        """Append the events of a recording.

        Arguments
        ---------
        path : str
            The recording.
        events : sequence of Event
            Its events.
        name : str, optional
            See `events_text`.
        """
        text = events_text(path, events, self.form, header=False, name=name)
        # Names of files may have any bytes, but not in JSON
        is_json = self.form == "jsonl"
        errors = "backslashreplace" if is_json else "surrogateescape"
        with open(self.path, "a", encoding="utf-8", errors=errors) as file:
            file.write(text)
