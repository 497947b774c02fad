"""Mean and standard deviation of a corpus' features, for `SpectrogramNorm`."""

import math

import torch
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from audiomamba.dataio.audio import AudioError
from audiomamba.dataio.pipeline import ClipDataset
from audiomamba.dataio.problems import PreparationError

# Clips per item of a loader worker
_CHUNK = 16
# Digits after the point: what is printed, recorded and used is the same
_DIGITS = 7


class _Moments(Dataset):
    """Count, sum and sum of squares [3] of a clip's features, or its fault."""

    def __init__(self, clips, features):
        self.clips, self.features = clips, features

    def __len__(self):
        return len(self.clips)

    def __getitem__(self, index):
        try:
            sig = self.clips[index]["sig"]
        except AudioError as error:
            return str(error)
        feats = self.features(sig[None]).double()
        count = torch.tensor(feats.numel(), dtype=torch.float64)
        return torch.stack((count, feats.sum(), feats.square().sum()))


def _add_up(rows):
    """Collate clips: the sum of their moments, and the faults."""
    total = torch.zeros(3, dtype=torch.float64)
    faults = [row for row in rows if isinstance(row, str)]
    for row in rows:
        if not isinstance(row, str):
            total += row
    return total, faults


def feature_statistics(
    clips: ClipDataset,
    features: torch.nn.Module,
    name: str,
    num_workers: int = 0,
    progress: bool = True,
    skip_bad: bool = False,
) -> tuple[float, float]:
    """Compute mean and standard deviation over every bin of every frame.

    Exactly, in float64 and in bounded memory. Padding counts if the features
    pad clips by themselves (``n_frames``), as in the paper's models, which
    treat it as content.

    Arguments
    ---------
    clips : ClipDataset
        The clips; from now on only ``sig`` is read from it.
    features : torch.nn.Module
        Waveforms [B, N] -> feats [B, T, F].
    name : str
        What to call the clips in messages: their manifest, for example.
    num_workers : int
        Loader processes; the result does not depend on it.
    progress : bool
        Show a progress bar.
    skip_bad : bool
        Leave out clips that cannot be read.

    Returns
    -------
    tuple of float
        Mean and (population) standard deviation, to 7 digits after the point.

    Raises
    ------
    PreparationError
        (a ValueError) Naming all clips that cannot be read, or if the
        features never vary.

    Example
    -------
    >>> import soundfile
    >>> from audiomamba.dataio.reader import AudioReader
    >>> folder = getfixture("tmp_path")
    >>> soundfile.write(folder / "a.wav", [0.25, -0.25] * 4000, 8000)
    >>> path = folder / "train.csv"
    >>> _ = path.write_text("ID,duration,wav\\na,1.0,a.wav\\n")
    >>> clips = ClipDataset(path, AudioReader(folder, 8000))
    >>> feature_statistics(clips, torch.nn.Identity(), path, progress=False)
    (0.0, 0.25)
    """
    clips.set_output_keys(["sig"])
    loader = DataLoader(
        _Moments(clips, features),
        _CHUNK,
        num_workers=num_workers,
        collate_fn=_add_up,
    )
    total, faults = torch.zeros(3, dtype=torch.float64), []
    with tqdm(
        total=len(clips), desc="statistics", unit=" clips", disable=not progress
    ) as bar:
        for moments, wrong in loader:
            total += moments
            faults += wrong
            bar.update(min(_CHUNK, len(clips) - bar.n))
    if faults and not (skip_bad and total[0]):
        lines = "".join(f"\n  {fault}" for fault in dict.fromkeys(faults))
        raise PreparationError(
            f"{len(faults)} of {len(clips)} clips of {name} cannot be read:"
            f"{lines}\nFix them, or take them out of the list."
        )
    count, first, second = total.tolist()
    mean = first / count
    variance = second / count - mean**2
    # Equal features leave a variance of rounding errors
    if variance <= 1e-12 * max(1.0, mean**2):
        raise PreparationError(
            f"all features of {name} are {mean:.7g}: is it all silence?"
        )
    return round(mean, _DIGITS), round(math.sqrt(variance), _DIGITS)
