#!/usr/bin/env python3
"""Measure how well a model hears a clip inside a much longer input.

    python tools/needle.py exported_model manifests/test.csv needle/zeros \\
        --data_folder data --totals 20 50 100 --positions 0 0.5 1
    python tools/needle.py exported_model manifests/test.csv needle/noise \\
        --data_folder data --hay white --snr 10

Every clip of the manifest (the needle) is placed in inputs of several lengths
(the hay), at several relative positions ("needle in the audio haystack", DASS,
arXiv 2407.04082). The hay is zeros in normalised features, which is the mean of
the training data; or white noise, or the noise of a file, below the level of
the clip by --snr. The needle's frames replace frames of hay, so that they are
the same everywhere.

Every input is scored in one pass, and in windows as long as the model's clips,
by the mean and by the maximum of their probabilities. OUT_DIR gets needle.csv,
needle.json and needle.png; the first row of the table is the clip alone.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import pandas as pd
import torch
from haystack.listener import MODES, Listener, NeedleError
from haystack.noise import Noise
from haystack.plot import plot_results
from tqdm import tqdm

from audiomamba.dataio.audio import AudioError
from audiomamba.dataio.files import write_json
from audiomamba.dataio.pipeline import ClipDataset, LabelEncoder
from audiomamba.dataio.tables import write_csv
from audiomamba.inference import AudioTagger
from audiomamba.inference.plot import require_matplotlib
from audiomamba.training.measures import (
    average_precisions,
    mean_of_defined,
    multi_hot,
    top_k_accuracy,
)
from audiomamba.training.runs.environment import environment

NAME = "needle.{}"


def read_clips(manifest, data_folder, tagger, max_clips=None):
    """Return the clips of a manifest, or some, spread evenly over it."""
    reader = tagger.hparams.audio_normalizer.reader(data_folder)
    multi_label = tagger.hparams.activation == "sigmoid"
    encoder = LabelEncoder(tagger.labels, multi_label)
    dataset = ClipDataset(manifest, reader, encoder)
    if "label" not in dataset.data.columns:
        raise NeedleError(f"{manifest} has no column 'label'.")
    for clip in dataset.data_ids:
        encoder(clip, dataset.data[clip]["label"])
    if max_clips and max_clips < len(dataset):
        spread = torch.linspace(0, len(dataset) - 1, max_clips).long()
        dataset.data_ids = [dataset.data_ids[i] for i in spread.tolist()]
    return dataset


def check_totals(listener, dataset, totals):
    """Refuse inputs that some needle does not fit in."""
    frames, clip = max(
        (listener.needle_frames(dataset.data[clip]["duration"]), clip)
        for clip in dataset.data_ids
    )
    if listener.frames(min(totals)) < frames:
        raise NeedleError(
            f"--totals {min(totals):g} is {listener.frames(min(totals))} "
            f"frames, and clip {clip} alone is {frames}: name longer --totals."
        )


def evaluate(scores, targets):
    """Return the metrics of probabilities [C] of each clip, in percent."""
    scores, targets = torch.stack(scores).numpy(), torch.stack(targets)
    found = {}
    if targets.shape[1] == 1:
        targets = targets[:, 0]
        accuracy = top_k_accuracy(scores, targets.numpy())
        found["accuracy"] = 100 * accuracy
    rows = multi_hot(targets.numpy(), scores.shape[1])
    found["mAP"] = 100 * mean_of_defined(average_precisions(scores, rows))
    return found


def measure_alone(listener, dataset):
    """Return the row of the clips without hay."""
    scores, targets = [], []
    for clip in tqdm(dataset, "clip alone", unit="clip"):
        scores += listener.score(listener.needle(clip["sig"])[None])
        targets.append(clip["target"])
    return {"mode": "alone", "clips": len(targets), **evaluate(scores, targets)}


def measure(listener, dataset, total, positions, noise):
    """Return a row per mode and position for one total, in seconds."""
    n_frames = listener.frames(total)
    scores = {(p, mode): [] for mode in listener.modes for p in positions}
    targets, hay = [], None
    for clip in tqdm(dataset, f"{total:g} s", unit="clip"):
        needle = listener.needle(clip["sig"])
        if noise is not None:
            hay = listener.noise(noise, clip["id"], clip["sig"], n_frames)
        elif hay is None:
            hay = listener.zeros(n_frames, needle.shape[1])
        for key, found in listener.search(needle, hay, positions).items():
            scores[key].append(found)
        targets.append(clip["target"])
    return [
        {
            "mode": mode,
            "total": total,
            "position": position,
            "clips": len(targets),
            **evaluate(found, targets),
        }
        for (position, mode), found in scores.items()
    ]


def read_results(folders, own):
    """Return the tables of earlier measurements by the names of the models.

    Of two models of one name, or one called ``own`` as today's, the later goes
    by its folder.
    """
    tables = {}
    for folder in folders:
        path = folder / NAME.format("json")
        if not path.is_file():
            raise NeedleError(f"--beside {folder} has no {path.name}.")
        model = json.loads(path.read_text(encoding="utf-8"))["model"]
        name = Path(model).name
        name = str(folder) if name in {own, *tables} else name
        tables[name] = pd.read_csv(folder / NAME.format("csv"))
    return tables


def run(arguments, tagger):
    """Measure, and write the results after each total."""
    listener = Listener(
        tagger, arguments.modes, arguments.window, arguments.hop,
        arguments.batch_frames,
    )  # fmt: skip
    dataset = read_clips(
        arguments.manifest, arguments.data_folder, tagger, arguments.max_clips
    )
    check_totals(listener, dataset, arguments.totals)
    noise = None
    if arguments.hay != "zeros":
        noise = Noise(
            arguments.hay, arguments.snr, tagger.sample_rate, arguments.seed
        )
    name = Path(arguments.model).name
    beside = read_results(arguments.beside, name)
    out, started = arguments.out_dir, time.perf_counter()
    rows = [measure_alone(listener, dataset)]
    for total in sorted(set(arguments.totals)):
        rows += measure(listener, dataset, total, arguments.positions, noise)
        write_csv(out / NAME.format("csv"), pd.DataFrame(rows))
    record = {
        "model": str(arguments.model),
        "parameters": sum(p.numel() for p in tagger.mods.parameters()),
        "clips": len(dataset),
        "hay": arguments.hay,
        "snr": arguments.snr,
        "seed": arguments.seed,
        "window_seconds": listener.window * listener.frame_shift,
        "hop_seconds": listener.hop * listener.frame_shift,
        "wall_seconds": time.perf_counter() - started,
        **environment(tagger.device),
    }
    write_json(out / NAME.format("json"), record)
    plot_results({name: pd.DataFrame(rows), **beside}, out / NAME.format("png"))
    return rows


def parse_arguments(argv=None):
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("model", help="an exported model, or its name on the hub")
    add("manifest", type=Path, help="CSV with ID, duration, wav and label")
    add("out_dir", type=Path, help="folder for the results")
    add("--data_folder", required=True, help="what the paths are relative to")
    add("--totals", type=float, nargs="+", default=[20.0, 50.0, 100.0],
        metavar="S", help="lengths of the inputs (20 50 100)")  # fmt: skip
    add("--positions", type=float, nargs="+", default=[0.0, 0.5, 1.0],
        metavar="T", help="from 0, the start, to 1 (0 0.5 1)")  # fmt: skip
    add("--hay", default="zeros", help="zeros (default), white, or a file")
    add("--snr", type=float, metavar="DB", help="of the clip over noise")
    add("--modes", nargs="+", choices=MODES, default=MODES, help="(all)")
    add("--window", type=float, metavar="S", help="default: the model's clips")
    add("--hop", type=float, metavar="S", help="default: half a window")
    add("--max_clips", type=int, metavar="N", help="measure fewer clips")
    add("--beside", type=Path, nargs="+", default=[], metavar="DIR",
        help="earlier results to plot as well")  # fmt: skip
    add("--batch_frames", type=int, default=1 << 16, metavar="N",
        help="frames per batch, but at least one input (65536)")  # fmt: skip
    add("--seed", type=int, default=1, help="of the noise (1)")
    add("--device", help="default: a GPU if there is one")
    arguments = parser.parse_args(argv)
    if (arguments.hay == "zeros") != (arguments.snr is None):
        parser.error("--snr goes with noise: --hay white, or a file.")
    if not all(0 <= position <= 1 for position in arguments.positions):
        parser.error("--positions are from 0, the start, to 1, the end.")
    return arguments


def main(argv=None):
    """Measure, and print the table."""
    arguments = parse_arguments(argv)
    require_matplotlib()
    run_opts = {"device": arguments.device} if arguments.device else None
    try:
        tagger = AudioTagger.from_hparams(arguments.model, run_opts=run_opts)
        rows = run(arguments, tagger)
    except (AudioError, OSError, ValueError) as error:
        sys.exit(f"needle.py: {error}")
    print(pd.DataFrame(rows).round(2).to_string(index=False, na_rep="-"))


if __name__ == "__main__":
    main()
