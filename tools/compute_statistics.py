#!/usr/bin/env python3
"""Mean and standard deviation of a corpus' features, for its YAML.

Taken over every bin of every frame of a manifest's clips, exactly, in float64
and in bounded memory. Give it the manifest of the training split and the YAML's
feature settings. It prints two YAML lines:

    python tools/compute_statistics.py --manifest train.csv --data_folder data

A recipe does this by itself with --feature_mean auto --feature_std auto.

By default padding does not count. With --n_frames clips are padded or cut as in
the recipe and padding counts, which suits a model that treats padding as
content, like the paper's.
"""

import argparse
import sys
from pathlib import Path

from audiomamba.dataio.pipeline import ClipDataset
from audiomamba.dataio.reader import AudioReader
from audiomamba.lobes.feature_statistics import feature_statistics
from audiomamba.lobes.features import KaldiFbank, LogMelSpectrogram

FEATURES = {"kaldi": KaldiFbank, "log_mel": LogMelSpectrogram}


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
        mean, std = feature_statistics(
            ClipDataset(args.manifest, reader),
            features,
            str(args.manifest),
            args.num_workers,
        )
    except ValueError as error:
        sys.exit(f"compute_statistics.py: {error}")
    print(f"feature_mean: {mean:.7f}")
    print(f"feature_std: {std:.7f}")


if __name__ == "__main__":
    main()
