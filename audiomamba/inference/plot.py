"""Plots of tags over time."""

from pathlib import Path

import torch
import torch.nn.functional as F

from audiomamba.dataio.audio import audio_info, read_blocks, resample
from audiomamba.inference.events import Event
from audiomamba.inference.tagger import TaggedWindow
from audiomamba.lobes.features import KaldiFbank
from audiomamba.pictures import short_name

_RATE = 16000
_BLOCK_SECONDS = 10
# Columns of the spectrogram; longer files are averaged over time
_MAX_COLUMNS = 2000
# Quantiles of the spectrogram at the ends of the colour scale
_LIMITS = (0.05, 0.995)


def require_matplotlib() -> None:
    """Exit with a clear message if matplotlib is not installed."""
    from importlib.util import find_spec

    if find_spec("matplotlib") is None:
        raise SystemExit(
            "Plots need matplotlib: pip install 'audiomamba[plots]'"
        )


def spectrogram(path: str | Path) -> torch.Tensor:
    """Compute the log-mel spectrogram of a file of any length.

    It works block by block and averages over time where there are more frames
    than a plot shows, so hours of audio need little memory.

    Arguments
    ---------
    path : str or Path
        The file.

    Returns
    -------
    torch.Tensor
        Natural log of power, [columns, 80].

    Example
    -------
    >>> import soundfile
    >>> path = getfixture("tmp_path") / "a.wav"
    >>> soundfile.write(path, torch.randn(8000).numpy(), 8000)
    >>> spectrogram(path).shape
    torch.Size([98, 80])
    """
    features = KaldiFbank(sample_rate=_RATE, n_mels=80)
    info = audio_info(path)
    n_frames = 100 * info.n_frames / info.sample_rate
    columns_per_frame = min(1.0, _MAX_COLUMNS / n_frames)
    rows = []
    for block in read_blocks(path, _BLOCK_SECONDS * info.sample_rate):
        wav = resample(block, info.sample_rate, _RATE, path)
        feats = features(wav[None])
        n_columns = max(1, round(feats.shape[1] * columns_per_frame))
        rows.append(F.adaptive_avg_pool1d(feats.mT, n_columns)[0].T)
    return torch.cat(rows)


def plot_tags(
    path: str | Path,
    windows: list[TaggedWindow],
    labels: list[str],
    target: str | Path,
    top_k: int = 5,
    events: list[Event] | None = None,
) -> None:
    """Plot the spectrogram, and below it the probabilities over time.

    Arguments
    ---------
    path : str or Path
        The file.
    windows : list of TaggedWindow
        From `AudioTagger.tag_stream`.
    labels : list of str
        Names of all classes.
    target : str or Path
        Image file (``.png``, ``.pdf``, ``.svg``); its folder is created.
    top_k : int
        Number of classes: those with the highest mean square probability.
    events : list of Event, optional
        From `audiomamba.inference.events.find_events`; drawn as bars.
    """
    from matplotlib.figure import Figure

    duration = windows[-1].stop
    scores = torch.stack([window.probabilities for window in windows])
    # By mean square, both a short bark and hours of rain rank high
    strength = scores.square().mean(dim=0)
    shown = strength.topk(min(top_k, len(labels))).indices
    figure = Figure(figsize=(11, 3.4 + 0.32 * len(shown)), layout="constrained")
    above, below = figure.subplots(
        2, 1, sharex=True, height_ratios=(2.4, 0.4 + 0.32 * len(shown))
    )
    _draw_spectrogram(above, spectrogram(path), duration)
    # names are text, never formulas
    above.set_title(
        short_name(Path(path).name, 80), loc="left", parse_math=False
    )
    image = _draw_tags(below, windows, scores[:, shown].T, duration)
    rows = {labels[index]: row for row, index in enumerate(shown.tolist())}
    _draw_events(below, events or [], rows)
    names = [
        f"{short_name(labels[index])}  {scores[:, index].max():.2f}"
        for index in shown.tolist()
    ]
    below.set_yticks(range(len(names)), names, parse_math=False)
    below.set_title("probability, with the peak of each class", loc="left")
    figure.colorbar(image, ax=below, pad=0.01)
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=120)


def _draw_spectrogram(axes, feats, duration):
    """Draw the spectrogram [columns, mels] over time."""
    low, high = feats.quantile(torch.tensor(_LIMITS)).tolist()
    axes.imshow(
        feats.T.numpy(),
        extent=(0, duration, 0, feats.shape[1]),
        origin="lower",
        aspect="auto",
        cmap="magma",
        vmin=low,
        vmax=high,
    )
    ticks = [250, 500, 1000, 2000, 4000, 8000]
    axes.set_yticks([_bin_of(hertz) for hertz in ticks], map(str, ticks))
    axes.set_ylabel("frequency (Hz)")


def _bin_of(hertz, n_mels=80, low=20.0, high=_RATE / 2):
    """Return the mel bin of a frequency."""
    low, here, high = (
        torch.log1p(torch.tensor(f / 700.0)) for f in (low, hertz, high)
    )
    return float((here - low) / (high - low) * n_mels)


def _draw_events(axes, events, rows):
    """Draw a bar from onset to offset of each event of a class in a row."""
    for event in events:
        if event.label in rows:
            axes.barh(
                rows[event.label],
                event.offset - event.onset,
                height=0.3,
                left=event.onset,
                color="none",
                edgecolor="crimson",
                linewidth=1.5,
            )


def _draw_tags(axes, windows, scores, duration):
    """Draw scores [classes, windows] as a heat map.

    Windows overlap: each is drawn around its centre, half way to its
    neighbours.
    """
    centres = [(window.start + window.stop) / 2 for window in windows]
    between = [(a + b) / 2 for a, b in zip(centres, centres[1:])]
    edges = [0.0, *between, duration]
    image = axes.pcolormesh(
        edges,
        [row - 0.5 for row in range(len(scores) + 1)],
        scores.numpy(),
        cmap="Blues",
        vmin=0.0,
        vmax=1.0,
    )
    for row in range(1, len(scores)):
        axes.axhline(row - 0.5, color="lightgrey", linewidth=0.8)
    axes.set_ylim(len(scores) - 0.5, -0.5)
    axes.set_xlim(0, duration)
    axes.set_xlabel("time (s)")
    return image
