#!/usr/bin/env python3
"""Measure how many clips a second a recipe's loader delivers.

Reading, resampling, mixing down and batching as a recipe does it; features
are computed on the model's device and do not belong here.  The clips are
tones in noise, made anew in a temporary folder.

    python tools/benchmark_loading.py
    python tools/benchmark_loading.py --rates 44100 --workers 0 2 4
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
import torch
from speechbrain.dataio.dataloader import make_dataloader

from audiomamba.dataio.pipeline import AudioReader, manifest_dataset

MODEL_RATE = 16000


def make_clips(folder, n_clips, rate, seconds, ending):
    """Write clips and their manifest.

    Arguments
    ---------
    folder : Path
        Where to.
    n_clips : int
        How many.
    rate : int
        Hz.
    seconds : float
        Length of a clip.
    ending : str
        "flac" or "wav".

    Returns
    -------
    Path
        The manifest.
    """
    generator = np.random.default_rng(0)
    times = np.arange(round(seconds * rate)) / rate
    rows = []
    for number in range(n_clips):
        pitches = generator.uniform(80, 4000, (6, 1))
        tones = 0.05 * np.sin(2 * np.pi * pitches * times).sum(0)
        noise = 0.02 * generator.standard_normal(len(times))
        name = f"{number}.{ending}"
        soundfile.write(folder / name, tones + noise, rate)
        rows.append({"ID": number, "duration": seconds, "wav": name})
    manifest = folder / "clips.csv"
    pd.DataFrame(rows).to_csv(manifest, index=False)
    return manifest


def clips_per_second(manifest, seconds, batch_size, workers):
    """Return how many clips a second the loader delivers."""
    reader = AudioReader(str(manifest.parent), MODEL_RATE, seconds)
    dataset = manifest_dataset(str(manifest))
    dataset.add_dynamic_item(reader, *AudioReader.ITEM)
    dataset.set_output_keys(["id", "sig"])
    loader = make_dataloader(
        dataset, batch_size=batch_size, num_workers=workers
    )
    start = time.perf_counter()
    found = sum(len(batch.id) for batch in loader)
    return found / (time.perf_counter() - start)


def main(argv=None):
    """Measure every rate with every number of workers, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rates", type=int, nargs="+", default=[16000, 44100])
    parser.add_argument(
        "--workers",
        type=int,
        nargs="+",
        default=[0],
        help="loader processes; 0 is the training process itself, one core",
    )
    parser.add_argument("--n_clips", type=int, default=400)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--ending", choices=["flac", "wav"], default="flac")
    parser.add_argument("--batch_size", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)
    lines = []
    for rate in arguments.rates:
        with tempfile.TemporaryDirectory() as folder:
            manifest = make_clips(
                *(Path(folder), arguments.n_clips, rate),
                *(arguments.seconds, arguments.ending),
            )
            for workers in arguments.workers:
                runs = [
                    clips_per_second(
                        *(manifest, arguments.seconds),
                        *(arguments.batch_size, workers),
                    )
                    for _ in range(arguments.repeats)
                ]
                lines.append((rate, workers, np.median(runs)))
    table = pd.DataFrame(lines, columns=["rate", "workers", "clips_per_s"])
    print(table.to_string(index=False, float_format="{:.0f}".format))


if __name__ == "__main__":
    sys.exit(main())
