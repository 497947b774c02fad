#!/usr/bin/env python3
"""Measure how many clips per second a recipe's data loader delivers.

That is reading, resampling, mixing down and batching; features are computed
on the model's device and do not count.  The clips are tones in noise, written
to a temporary folder.

    python tools/benchmark_loading.py
    python tools/benchmark_loading.py --rates 44100 --workers 0 2 4
    python tools/benchmark_loading.py --shards     # loose files and shards
    python tools/benchmark_loading.py --rows 2000000

With --rows, no audio is read: it measures how long a manifest of so many rows
takes until the first batch, and in how much memory. "private" is what a loader
worker has for itself.
"""

import argparse
import multiprocessing
import resource
import statistics
import tempfile
import time
from pathlib import Path

import make_shards
import numpy as np
import pandas as pd
import soundfile
import torch
from speechbrain.dataio.dataloader import make_dataloader

from audiomamba.dataio.pipeline import ClipDataset, LabelEncoder
from audiomamba.dataio.reader import AudioReader
from audiomamba.dataio.samplers import EpochBatchSampler, label_weights

MODEL_RATE = 16000
N_CLASSES = 527


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
    manifest = folder / "train.csv"
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


def pack(manifest):
    """Pack the clips of a manifest into shards; return the new manifest."""
    folder = manifest.parent
    shards = folder / "shards"
    options = ["--data_folder", str(folder), "--megabytes", "100"]
    make_shards.main([str(folder), str(shards), *options])
    return shards / manifest.name


class NoAudio(AudioReader):
    """Reads no file: what is left is the work on rows."""

    def __call__(self, item_id, wav, start, stop):
        """Return one sample."""
        return torch.zeros(1)


def make_manifest(path, n_rows):
    """Write a manifest as AudioSet's: IDs, paths and some labels of a clip."""
    generator = np.random.default_rng(0)
    # small indices are more frequent, as are some classes
    classes = (N_CLASSES * generator.random((n_rows, 4)) ** 3).astype(int)
    counts = generator.integers(1, 5, n_rows)
    with open(path, "w", encoding="utf-8") as file:
        file.write("ID,duration,wav,label\n")
        for row in range(n_rows):
            name = f"{row:07}_{row * 7919 % 9973:04}"
            labels = ";".join(
                f"/m/0{n:05}" for n in classes[row, : counts[row]]
            )
            wav = f"audio/train/{name[:3]}/Y{name}.flac"
            file.write(f"{name},10.0,{wav},{labels}\n")


def memory():
    """Return the largest memory of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def private_memory(process):
    """Return what a process shares with no other, in MiB (Linux)."""
    text = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
    found = [line.split() for line in text.splitlines()]
    return sum(int(f[1]) for f in found if f[0].startswith("Private")) / 1024


def after_first(batches):
    """Take the first batch from an iterator, and return it."""
    next(batches)
    return batches


def measure_rows(n_rows, batch_size, n_workers):
    """Print the time and memory of a manifest until the first batch."""
    labels = [f"/m/0{index:05}" for index in range(N_CLASSES)]
    lines, base = [], memory()

    def step(name, work):
        wall, cpu = time.perf_counter(), time.process_time()
        made = work()
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        lines.append((name, wall, cpu, memory()))
        return made

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "train.csv")
        make_manifest(path, n_rows)
        encoder = LabelEncoder(labels, multi_label=True)
        dataset = step("open", lambda: ClipDataset(path, NoAudio("."), encoder))
    texts = dataset.data.columns["label"]
    weights = step("weights", lambda: label_weights(texts, encoder.names))
    sampler = EpochBatchSampler(n_rows, batch_size, 1, True, weights)
    loader = make_dataloader(
        dataset, batch_sampler=sampler, num_workers=n_workers
    )
    batches = step("first batch", lambda: after_first(iter(loader)))
    for _ in range(min(200, len(loader) - 1)):
        next(batches)
    private = [*map(private_memory, multiprocessing.active_children())]
    columns = ["step", "seconds", "cpu_s", "peak_MiB"]
    table = pd.DataFrame(lines, columns=columns)
    print(table.to_string(index=False, float_format="{:.2f}".format))
    print(f"before: {base:.0f} MiB")
    print("private:", *(f"{size:.0f} MiB" for size in private))


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
    add("--shards", action="store_true", help="measure shards as well")
    add("--rows", type=int, help="measure a manifest instead of audio")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    if args.rows:
        measure_rows(args.rows, args.batch_size, max(args.workers))
    else:
        measure_clips(args)


def measure_clips(args):
    """Print how many clips per second every setting delivers."""
    lines = []
    for rate in args.rates:
        with tempfile.TemporaryDirectory() as folder:
            manifest = make_clips(
                Path(folder), args.n_clips, rate, args.seconds, args.ending
            )
            forms = [("files", manifest)]
            if args.shards:
                forms.append(("shards", pack(manifest)))
            for workers in args.workers:
                lines += [
                    (rate, workers, name, speed)
                    for name, speed in compare(forms, args, workers)
                ]
    columns = ["rate", "workers", "form", "clips_per_s"]
    table = pd.DataFrame(lines, columns=columns)
    print(table.to_string(index=False, float_format="{:.0f}".format))


def compare(forms, args, workers):
    """Return the median speed of each form, measured in turn."""
    speeds = {name: [] for name, _ in forms}
    for _ in range(args.repeats):
        for name, manifest in forms:
            setting = (manifest, args.seconds, args.batch_size, workers)
            speeds[name].append(clips_per_second(*setting))
    return [(name, statistics.median(own)) for name, own in speeds.items()]


if __name__ == "__main__":
    main()
