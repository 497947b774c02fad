"""From probabilities over time to events with an onset and an offset.

Everything works on a stream of scores, so hours of sound need little memory.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.ndimage import median_filter

from audiomamba.dataio.samples import Samples
from audiomamba.inference.model import Window
from audiomamba.inference.tagger import AudioTagger
from audiomamba.inference.waveforms import window_seconds

# Steps that are filtered at a time
_BLOCK = 1024
# Seconds that sums of steps may be off
_ROUNDING = 1e-9
# Weight of what stands in where a window has no frame of its own
_FAINT = 1e-9


class Event(NamedTuple):
    """A sound from onset to offset, in seconds, with its peak probability."""

    onset: float
    offset: float
    label: str
    score: float


@dataclass(frozen=True)
class EventRules:
    """What counts as an event.

    Arguments
    ---------
    threshold : float or sequence of float
        Probability that an event has to reach, of all classes or of each.
    low : float, optional
        Probability at which it begins and ends (hysteresis), as a share of the
        threshold: 1 for a single threshold.
    median : float
        Seconds of the median filter over the probabilities; 0 for none.
    min_duration : float
        Seconds; shorter events are left out.
    min_gap : float
        Seconds; events of a class that are closer are one.

    Raises
    ------
    ValueError
        If a value has no meaning.

    Example
    -------
    >>> EventRules(threshold=0.3, min_gap=0.5).low
    0.5
    """

    threshold: float | Sequence[float] = 0.5
    low: float = 0.5
    median: float = 0.0
    min_duration: float = 0.0
    min_gap: float = 0.0

    def __post_init__(self):
        thresholds = np.atleast_1d(self.threshold)
        # A comparison with NaN is false
        if not ((thresholds > 0) & (thresholds <= 1)).all():
            raise ValueError(
                f"threshold is {self.threshold}; it must be in (0, 1]."
            )
        if not 0 < self.low <= 1:
            raise ValueError(
                f"low is {self.low}; it is a share of the threshold in (0, 1]."
            )
        for name in ("median", "min_duration", "min_gap"):
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise ValueError(f"{name} is {value}; 0 s or more.")


def score_grid(windows: Iterable[Window], step: float) -> Iterator[np.ndarray]:
    """Average overlapping windows on a grid of equal steps.

    Arguments
    ---------
    windows : iterable of Window
        In order of their starts. Probabilities [C] of a whole window, or
        [T', C] of its frames, which are one step apart.
    step : float
        Seconds per step.

    Yields
    ------
    np.ndarray
        Probabilities [steps, C], one block after the other without gaps.

    Example
    -------
    >>> import torch
    >>> windows = [
    ...     Window(0.0, 2.0, torch.tensor([0.5])),
    ...     Window(1.0, 3.0, torch.tensor([1.0])),
    ... ]
    >>> np.concatenate(list(score_grid(windows, 1.0)))[:, 0].tolist()
    [0.5, 0.75, 1.0]
    """
    first, total, count = 0, None, np.zeros((0, 1))
    for start, stop, values in windows:
        place = round(start / step)
        n_steps = max(1, round(stop / step) - place)
        frames = values.expand(n_steps, -1) if values.ndim == 1 else values
        n_steps, n_own = max(n_steps, len(frames)), len(frames)
        # Its last frame goes on to the end of a window, where nothing else is
        rows = np.pad(
            frames.numpy(), ((0, n_steps - n_own), (0, 0)), mode="edge"
        )
        weights = np.where(np.arange(n_steps) < n_own, 1.0, _FAINT)[:, None]
        total = np.zeros((0, rows.shape[1])) if total is None else total
        if done := place - first:
            yield total[:done] / count[:done]
            total, count, first = total[done:], count[done:], place
        longer = ((0, max(0, n_steps - len(total))), (0, 0))
        total, count = np.pad(total, longer), np.pad(count, longer)
        total[:n_steps] += rows * weights
        count[:n_steps] += weights
    if total is not None:
        yield total / count


def smooth(blocks: Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """Filter a stream of scores by a running median.

    Arguments
    ---------
    blocks : iterable of np.ndarray
        Scores [steps, C].
    size : int
        Steps of the filter, odd; 1 leaves the scores as they are. At both ends
        the first and the last score go on.

    Yields
    ------
    np.ndarray
        Scores in larger blocks.

    Example
    -------
    >>> blocks = [np.array([[0.0], [1.0]]), np.array([[0.0], [1.0], [1.0]])]
    >>> np.concatenate(list(smooth(blocks, 3)))[:, 0].tolist()
    [0.0, 0.0, 1.0, 1.0, 1.0]
    """
    reach, waiting, n_waiting, before = size // 2, [], 0, None
    for block in blocks:
        waiting.append(block)
        n_waiting += len(block)
        if n_waiting < max(_BLOCK, reach) + reach:
            continue
        rows = np.concatenate(waiting)
        yield _median(rows, before, reach)[: len(rows) - reach]
        before = rows[len(rows) - 2 * reach : len(rows) - reach]
        waiting, n_waiting = [rows[len(rows) - reach :]], reach
    if n_waiting:
        yield _median(np.concatenate(waiting), before, reach)


def _median(rows, before, reach):
    """Return the running median of rows that follow on ``before``."""
    if not reach:
        return rows
    n_before = 0 if before is None else len(before)
    joined = np.concatenate([before, rows]) if n_before else rows
    size = (2 * reach + 1, 1)
    return median_filter(joined, size, mode="nearest")[n_before:]


class EventFinder:
    """Finds the events in a stream of scores, block by block.

    Arguments
    ---------
    labels : list of str
        Names of the classes.
    rules : EventRules
        What counts as an event.
    step : float
        Seconds per step of the scores.

    Example
    -------
    >>> finder = EventFinder(["dog"], EventRules(threshold=0.6), step=0.5)
    >>> finder.add(np.array([[0.1], [0.4], [0.9]]))
    >>> finder.add(np.array([[0.4], [0.2], [0.4]]))
    >>> finder.events(duration=3.0)
    [Event(onset=0.5, offset=2.0, label='dog', score=0.9)]
    """

    def __init__(self, labels: list[str], rules: EventRules, step: float):
        self.labels, self.rules, self.step = labels, rules, step
        self.threshold = np.broadcast_to(rules.threshold, len(labels))
        # Of each class: spans [first step, step after the last, peak]
        self.spans: dict[int, list[list]] = {}
        self.n_steps = 0

    def add(self, scores: np.ndarray) -> None:
        """Take the next scores.

        Arguments
        ---------
        scores : np.ndarray
            [steps, C].
        """
        active = scores >= self.threshold * self.rules.low
        for index in np.flatnonzero(active.any(0)).tolist():
            padded = np.pad(active[:, index].astype(np.int8), 1)
            edges = np.flatnonzero(np.diff(padded)).reshape(-1, 2)
            for start, stop in edges.tolist():
                peak = float(scores[start:stop, index].max())
                self._add_span(
                    index, start + self.n_steps, stop + self.n_steps, peak
                )
        self.n_steps += len(scores)

    def _add_span(self, index, start, stop, peak):
        """Add a span of a class, or go on with its last one."""
        spans = self.spans.setdefault(index, [])
        if spans and spans[-1][1] == start:
            spans[-1][1:] = [stop, max(spans[-1][2], peak)]
            return
        # Complete now: kept only if it is an event
        if spans and spans[-1][2] < self.threshold[index]:
            spans.pop()
        spans.append([start, stop, peak])

    def events(self, duration: float) -> list[Event]:
        """Return the events so far.

        Arguments
        ---------
        duration : float
            Seconds of the recording, where its last events end.

        Returns
        -------
        list of Event
            By onset.
        """
        found = []
        for index, spans in self.spans.items():
            merged: list[list] = []
            for start, stop, peak in spans:
                if peak < self.threshold[index]:
                    continue
                gap = start - merged[-1][1] if merged else math.inf
                if gap * self.step < self.rules.min_gap - _ROUNDING:
                    merged[-1][1:] = [stop, max(merged[-1][2], peak)]
                else:
                    merged.append([start, stop, peak])
            for start, stop, peak in merged:
                onset = start * self.step
                offset = min(stop * self.step, duration)
                if offset - onset > self.rules.min_duration - _ROUNDING:
                    label = self.labels[index]
                    found.append(Event(onset, offset, label, peak))
        return sorted(found)


def find_events(
    tagger: AudioTagger,
    source: str | Path | Iterable[Samples],
    rules: EventRules | None = None,
    window: float | None = None,
    hop: float | None = None,
    sample_rate: int | None = None,
) -> list[Event]:
    """Find the events in a recording of any length, in bounded memory.

    With a model that classifies frames (`audiomamba.nnet.frame_classifier`),
    onsets and offsets are precise to a frame. With any other model, overlapping
    windows are tagged, and they are precise to a hop.

    Arguments
    ---------
    tagger : AudioTagger
        The model.
    source, window, hop, sample_rate
        See `AudioTagger.tag_stream`.
    rules : EventRules, optional
        What counts as an event.

    Returns
    -------
    list of Event
        By onset.
    """
    rules = rules or EventRules()
    if tagger.classifies_frames:
        step = tagger.frame_seconds
        heard = tagger.frame_stream(source, window, hop, sample_rate)
    else:
        _, step = window_seconds(window, hop, tagger.max_duration)
        tagged = tagger.tag_stream(source, window, hop, 1, sample_rate)
        heard = (Window(w.start, w.stop, w.probabilities) for w in tagged)
    duration = 0.0

    def timed():
        nonlocal duration
        for found in heard:
            duration = found.stop
            yield found

    finder = EventFinder(tagger.labels, rules, step)
    n_smoothed = 2 * round(rules.median / step / 2) + 1
    for block in smooth(score_grid(timed(), step), n_smoothed):
        finder.add(block)
    return finder.events(duration)
