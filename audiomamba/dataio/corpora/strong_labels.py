"""Strong labels: what is heard in a training clip from when to when.

A list has the columns ``ID`` (of a clip), ``start`` and ``stop`` (seconds from
the clip's start) and ``label``, a row per event. A clip that it does not name
is known by its labels alone. The training manifest keeps the events of a clip
in its column ``events``, as JSON.
"""

import json
import math
from collections.abc import Collection, Mapping
from pathlib import Path

import pandas as pd
import torch

from audiomamba.dataio.columns import read_table, to_numbers
from audiomamba.dataio.lists import clean, split_labels
from audiomamba.dataio.problems import PreparationError, Problems

COLUMNS = ("ID", "start", "stop", "label")
# Seconds that an event may go on past a clip, by rounding
_ROUNDING = 0.05


def read_strong_labels(path: str | Path) -> pd.DataFrame:
    """Read a list of events.

    Arguments
    ---------
    path : str or Path
        The CSV.

    Returns
    -------
    pandas.DataFrame
        ``ID``, ``start``, ``stop``, ``label``; its index are the lines.

    Raises
    ------
    PreparationError
        (a ValueError) If it cannot be read, or a number is not one.

    Example
    -------
    >>> path = getfixture("tmp_path") / "events.csv"
    >>> _ = path.write_text("ID,start,stop,label\\nx,0.5,2,dog\\n")
    >>> read_strong_labels(path).values.tolist()
    [['x', 0.5, 2.0, 'dog']]
    """
    table = read_table(path, list(COLUMNS), f"events have {list(COLUMNS)}")
    for name in ("start", "stop"):
        table[name] = to_numbers(
            path,
            table,
            name,
            lambda x: (x >= 0) & (x < math.inf),
            "seconds from the start of its clip",
        )
    table["label"] = table["label"].map(clean)
    return table[list(COLUMNS)]


def add_events(
    rows: pd.DataFrame,
    path: str | Path,
    problems: Problems,
    others: Collection[str] = (),
) -> pd.DataFrame:
    """Add the column ``events`` to the rows of training clips.

    Arguments
    ---------
    rows : pandas.DataFrame
        Of the manifests, with ``split``, ``duration`` and ``label``.
    path : str or Path
        The list of events.
    problems : Problems
        Collects events that are not within a training clip, or whose label is
        none of the clip's.
    others : collection of str
        IDs of clips whose events are no problem, and not used.

    Returns
    -------
    pandas.DataFrame
        ``events`` is a list in JSON, empty for clips without a row there.
    """
    train = rows[rows["split"] == "train"].set_index("ID")
    found: dict[str, list] = {}
    for row in read_strong_labels(path).itertuples():
        if row.ID in others:
            continue
        fault = _fault(row, train)
        if fault:
            problems.add(f"{path}, line {row.Index}: {row.ID} {fault}")
        else:
            event = (row.start, row.stop, row.label)
            found.setdefault(row.ID, []).append(event)
    texts = [json.dumps(found[x]) if x in found else "" for x in rows["ID"]]
    is_train = rows["split"] == "train"
    return rows.assign(events=pd.Series(texts, rows.index).where(is_train, ""))


def _fault(row, train):
    """What is wrong with an event, if anything, and the remedy."""
    if row.ID not in train.index:
        return "is no clip of the training list; correct the ID"
    clip = train.loc[row.ID]
    if not row.start < row.stop <= clip["duration"] + _ROUNDING:
        return (
            f"has an event from {row.start:g} to {row.stop:g} s and lasts "
            f"{clip['duration']:g} s; correct start and stop"
        )
    if row.label not in split_labels(clip["label"]):
        return (
            f"has an event {row.label!r}, which is none of its labels "
            f"({clip['label']}); add it in the training list"
        )
    return None


class EventRows:
    """Dynamic item that turns the events of a row into targets of frames.

    Arguments
    ---------
    labels : list of str
        Class names, by index.
    step : float
        Seconds per frame.
    max_duration : float, optional
        Seconds of a clip that are kept, from its start.

    Example
    -------
    >>> item = EventRows(["dog", "rain"], step=0.5)
    >>> item("a", 1.5, '[[0.4, 1.1, "dog"]]').tolist()
    [[0.0, 0.0], [1.0, 0.0], [0.0, 0.0]]
    """

    ITEM = (["id", "duration", "events"], "events_rows")

    def __init__(
        self,
        labels: list[str],
        step: float,
        max_duration: float | None = None,
    ):
        self.indices = {label: index for index, label in enumerate(labels)}
        self.step, self.max_duration = step, max_duration

    def __call__(
        self, item_id: str, duration: float, events: str
    ) -> torch.Tensor:
        """Return the targets of a row.

        Arguments
        ---------
        item_id : str
            Its ID.
        duration : float
            Its seconds.
        events : str
            Its column ``events``.

        Returns
        -------
        torch.Tensor
            [T', C]: 1 where an event covers half of a frame or more, else 0;
            NaN if the events of the clip are not known.
        """
        heard = min(duration, self.max_duration or math.inf)
        shape = (max(1, math.ceil(heard / self.step)), len(self.indices))
        if not events:
            return torch.full(shape, math.nan)
        rows = torch.zeros(shape)
        for start, stop, label in json.loads(events):
            first = math.ceil(start / self.step - 0.5)
            last = math.floor(stop / self.step + 0.5)
            # An event shorter than a frame has the one that it begins in
            if first == last:
                first, last = int(start / self.step), int(start / self.step) + 1
            rows[first:last, self.indices[label]] = 1.0
        return rows


def learn_events(dataset, hparams: Mapping, labels: list[str]) -> None:
    """Give the clips of a training set targets for every frame.

    Arguments
    ---------
    dataset : ClipDataset
        Whose manifest has ``events``; it gets the item ``events_rows``.
    hparams : dict
        With ``compute_features``, ``embedding_model``, ``sample_rate`` and
        ``max_duration``.
    labels : list of str
        Class names, by index.

    Raises
    ------
    PreparationError
        If augmentation moves or mixes the sounds of a clip.
    """
    moving = [
        name
        for name in ("crop", "wav_augment")
        if hparams.get(name) is not None
    ]
    if moving:
        raise PreparationError(
            f"strong_csv says when sounds are heard, and {moving[0]} moves or "
            f"mixes them: set {moving[0]} to null, or strong_csv."
        )
    n_samples = (
        hparams["compute_features"].hop
        * hparams["embedding_model"].frames_per_column
    )
    item = EventRows(
        labels, n_samples / hparams["sample_rate"], hparams["max_duration"]
    )
    dataset.add_dynamic_item(item, *item.ITEM)
    dataset.set_output_keys(["id", "sig", "target", "events_rows"])
