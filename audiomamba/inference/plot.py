"""A picture of what is heard when."""

from pathlib import Path

import torch
import torch.nn.functional as F

from audiomamba.dataio.audio import audio_info, read_blocks, resample
from audiomamba.lobes.features import KaldiFbank

_RATE = 16000
_BLOCK_SECONDS = 10
# More columns than a picture shows are not kept
_MAX_COLUMNS = 2000
# Quantiles of the spectrogram that are drawn darkest and brightest
_LIMITS = (0.05, 0.995)


def require_matplotlib():
    """End with a clear message where matplotlib is missing.

    Raises
    ------
    SystemExit
        If it is not installed.
    """
    from importlib.util import find_spec

    if find_spec("matplotlib") is None:
        raise SystemExit(
            "Pictures need matplotlib: pip install 'audiomamba[plots]'"
        )


def spectrogram(path):
    """Compute the log-mel spectrogram of a file of any length.

    Block by block, and averaged over time where there are more frames than a
    picture shows, so hours take little memory.

    Arguments
    ---------
    path : str or Path
        The file.

    Returns
    -------
    torch.Tensor
        [columns, 80], in natural logarithms of power.

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


def plot_tags(path, windows, labels, target, top_k=5):
    """Draw the spectrogram above and the probabilities over time below.

    Arguments
    ---------
    path : str or Path
        The file.
    windows : list of TaggedWindow
        Of `AudioTagger.tag_stream`.
    labels : list of str
        Names of all classes.
    target : str or Path
        The picture; its folder is made. ``.png``, ``.pdf``, ``.svg``.
    top_k : int
        How many classes: those with the highest mean square probability.
    """
    from matplotlib.figure import Figure

    duration = windows[-1].stop
    scores = torch.stack([window.probabilities for window in windows])
    # The mean square: both a short bark and hours of rain stand out
    strength = scores.square().mean(dim=0)
    shown = strength.topk(min(top_k, len(labels))).indices
    figure = Figure(figsize=(11, 3.4 + 0.32 * len(shown)), layout="constrained")
    above, below = figure.subplots(
        2, 1, sharex=True, height_ratios=(2.4, 0.4 + 0.32 * len(shown))
    )
    _draw_spectrogram(above, spectrogram(path), duration)
    above.set_title(Path(path).name, loc="left")
    image = _draw_tags(below, windows, scores[:, shown].T, duration)
    names = [
        f"{_shortened(labels[index])}  {scores[:, index].max():.2f}"
        for index in shown.tolist()
    ]
    below.set_yticks(range(len(names)), names)
    below.set_title("probability, its peak beside each name", loc="left")
    figure.colorbar(image, ax=below, pad=0.01)
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=120)


def _draw_spectrogram(axes, feats, duration):
    """Draw [columns, mels] over the seconds, between quiet and loud."""
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
    """Place of a frequency on the mel axis."""
    low, here, high = (
        torch.log1p(torch.tensor(f / 700.0)) for f in (low, hertz, high)
    )
    return float((here - low) / (high - low) * n_mels)


def _draw_tags(axes, windows, scores, duration):
    """Draw [classes, windows] as rows of colour.

    Of overlapping windows each is drawn around its centre, half way to its
    neighbours'.
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


def _shortened(name, length=32):
    return name if len(name) <= length else name[: length - 1] + "…"
