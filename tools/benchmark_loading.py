#!/usr/bin/env python3
"""Measure how many clips per second a recipe's data loader delivers.

That is reading, resampling, mixing down and batching; features are computed
on the model's device and do not count.  The clips are tones in noise, written
to a temporary folder.

    python tools/benchmark_loading.py
    python tools/benchmark_loading.py --rates 44100 --workers 0 2 4
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
import torch
from speechbrain.dataio.dataloader import make_dataloader

from audiomamba.dataio.pipeline import AudioReader, ClipDataset

MODEL_RATE = 16000


def make_clips(folder, n_clips, rate, seconds, ending):
    """Write clips into a folder, and return the path of their manifest."""
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
    """Return how many clips per second the loader delivers."""
    reader = AudioReader(str(manifest.parent), MODEL_RATE, seconds)
    dataset = ClipDataset(manifest, reader)
    loader = make_dataloader(
        dataset, batch_size=batch_size, num_workers=workers
    )
    start = time.perf_counter()
    found = sum(len(batch.id) for batch in loader)
    return found / (time.perf_counter() - start)


def main(argv=None):
    """Measure every rate with every number of workers, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add = parser.add_argument
    add("--rates", type=int, nargs="+", default=[16000, 44100], help="Hz")
    workers = "loader processes; 0 loads in the training process, on one core"
    add("--workers", type=int, nargs="+", default=[0], help=workers)
    add("--n_clips", type=int, default=400)
    add("--seconds", type=float, default=10.0)
    add("--ending", choices=["flac", "wav"], default="flac")
    add("--batch_size", type=int, default=12)
    add("--repeats", type=int, default=5)
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    lines = []
    for rate in args.rates:
        with tempfile.TemporaryDirectory() as folder:
            manifest = make_clips(
                Path(folder), args.n_clips, rate, args.seconds, args.ending
            )
            for workers in args.workers:
                setting = (manifest, args.seconds, args.batch_size, workers)
                runs = [clips_per_second(*setting) for _ in range(args.repeats)]
                lines.append((rate, workers, statistics.median(runs)))
    table = pd.DataFrame(lines, columns=["rate", "workers", "clips_per_s"])
    print(table.to_string(index=False, float_format="{:.0f}".format))


if __name__ == "__main__":
    main()
