#!/usr/bin/env python3
"""Mean and standard deviation of a corpus' features, for its YAML.

Taken over every bin of every frame of a manifest's clips, exactly, in float64
and in bounded memory. Give it the manifest of the training split and the YAML's
feature settings. It prints two YAML lines:

    python tools/compute_statistics.py --manifest train.csv --data_folder data

By default padding does not count. With --n_frames clips are padded or cut as in
the recipe and padding counts, which suits a model that treats padding as
content, like the paper's.
"""

import argparse
import math
import sys
from functools import partial
from pathlib import Path

import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

from audiomamba.dataio.pipeline import AudioReader, ClipDataset
from audiomamba.lobes.features import KaldiFbank, LogMelSpectrogram

FEATURES = {"kaldi": KaldiFbank, "log_mel": LogMelSpectrogram}
# Clips per item of a loader worker
CHUNK = 16


def moments(features, sig):
    """Return count, sum and sum of squares [3] of the features of sig [N]."""
    feats = features(sig[None]).double()
    count = torch.tensor(feats.numel(), dtype=torch.float64)
    return torch.stack((count, feats.sum(), feats.square().sum()))


def add_up(rows):
    """Collate rows of the dataset: add their moments."""
    return torch.stack([row["moments"] for row in rows]).sum(dim=0)


def statistics(
    manifest: str | Path,
    reader: AudioReader,
    features: torch.nn.Module,
    num_workers: int = 0,
) -> tuple[float, float]:
    """Compute mean and standard deviation over a manifest.

    Arguments
    ---------
    manifest : str or Path
        CSV with the columns ``ID,duration,wav``, and optionally ``start,stop``.
    reader : AudioReader
        Reads a row's waveform.
    features : torch.nn.Module
        Waveforms [B, N] -> feats [B, T, F].
    num_workers : int
        Loader processes; the result does not depend on it.

    Returns
    -------
    tuple of float
        Mean and (population) standard deviation.

    Raises
    ------
    ValueError
        If a clip cannot be read, or the features never vary.
    """
    dataset = ClipDataset(manifest, reader)
    dataset.add_dynamic_item(partial(moments, features), "sig", "moments")
    dataset.set_output_keys(["moments"])
    loader = DataLoader(
        dataset, CHUNK, num_workers=num_workers, collate_fn=add_up
    )
    total = torch.zeros(3, dtype=torch.float64)
    with tqdm(total=len(dataset), unit="clip") as progress:
        for chunk in loader:
            total += chunk
            progress.update(min(CHUNK, len(dataset) - progress.n))
    count, first, second = total.tolist()
    mean = first / count
    variance = second / count - mean**2
    # Equal features leave a variance of rounding errors.
    if variance <= 1e-12 * max(1.0, mean**2):
        raise ValueError(
            f"all features of {manifest} are {mean:.7g}: is it all silence?"
        )
    return mean, math.sqrt(variance)


def parse_arguments(argv=None):
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--manifest", type=Path, required=True, help="CSV of the clips")
    add(
        "--data_folder",
        type=Path,
        required=True,
        help="the root of the manifest's wav column",
    )
    add(
        "--features",
        choices=sorted(FEATURES),
        default="kaldi",
        help="kaldi: KaldiFbank (default); log_mel: LogMelSpectrogram",
    )
    add("--sample_rate", type=int, help="Hz; default: the features' own")
    add("--n_mels", type=int, default=128, help="mel bins (128)")
    add("--n_frames", type=int, help="pad or cut clips to this many frames")
    add("--max_duration", type=float, help="read only the first seconds")
    add("--num_workers", type=int, default=0, help="loader processes (0)")
    return parser.parse_args(argv)


def main(argv=None):
    """Print the two lines for the corpus of the command line."""
    args = parse_arguments(argv)
    settings = {"n_mels": args.n_mels, "n_frames": args.n_frames}
    if args.sample_rate:
        settings["sample_rate"] = args.sample_rate
    try:
        features = FEATURES[args.features](**settings)
        reader = AudioReader(
            args.data_folder, features.sample_rate, args.max_duration
        )
        mean, std = statistics(
            args.manifest, reader, features, args.num_workers
        )
    except (ValueError, FileNotFoundError) as error:
        sys.exit(f"compute_statistics.py: {error}")
    print(f"feature_mean: {mean:.7f}")
    print(f"feature_std: {std:.7f}")


if __name__ == "__main__":
    main()
