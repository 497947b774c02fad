#!/usr/bin/env python3
"""Probe what a frozen encoder knows, beside what needs no training.

    python tools/probe.py results/aum_tiny/1 train.csv test.csv
    python tools/probe.py exported sounds --folds 5
    python tools/probe.py exported clips.csv --folds 5 --group speaker

MODEL is the output folder of a run, of pre-training as well, or an exported
model. Clips are lists as of the Custom recipe, one to learn from and one to
test, or one list or a folder <class>/<any name>.wav for cross-validation;
clips with the same value in the column --group are in the same fold. Paths in a
list are relative to its folder, or to --data_folder.

A logistic regression and nearest neighbours (scikit-learn) see each clip as the
encoder's embedding, and as its rows: the means over time of each row of
patches, side by side. The same encoder with random weights, and the mean and
deviation of each mel bin, say how much of that was learned. Representations are
kept in --output_folder, with results.json: a second probe takes seconds.
"""

import argparse
import hashlib
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from speechbrain.dataio.dataloader import make_dataloader
from tqdm import tqdm

from audiomamba.dataio.corpora.corpus import list_audio, measure, stat_audio
from audiomamba.dataio.files import replaced_file, write_json
from audiomamba.dataio.manifest import inputs_key, read_manifest
from audiomamba.dataio.pipeline import ClipDataset
from audiomamba.dataio.problems import PreparationError, Problems
from audiomamba.dataio.reader import AudioReader
from audiomamba.dataio.tables import write_csv
from audiomamba.inference.embeddings import duration_batches, load_embedder
from audiomamba.lobes.clip_encoder import encode
from audiomamba.lobes.dass import DASS
from audiomamba.lobes.patch_encoder import PatchEncoder
from audiomamba.nnet.lengths import clear_padding
from audiomamba.training.runs.environment import environment
from audiomamba.training.runs.hparams import read_settings

# Seconds of audio in a batch
BATCH_SECONDS = 60.0
BASELINE = "filter banks"
PROBES = ("logistic regression", "nearest neighbours")

# Called with feats [B, T, F] and relative lengths [B]; returns [B, D]
Readout = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class Clips(NamedTuple):
    """Clips in the order of their IDs, and the folder that they are in.

    ``parts`` are pairs of row numbers, to learn from and to test.
    """

    folder: Path
    table: pd.DataFrame
    parts: list[tuple[np.ndarray, np.ndarray]]


def read_clips(arguments) -> Clips:
    """Read the lists or the folder of the command line, and measure."""
    first, data_folder = arguments.clips[0], arguments.data_folder
    if first.is_dir():
        data_folder = first
        wavs = [wav for wav in list_audio(first)["wav"] if "/" in wav]
        labels = [wav.partition("/")[0] for wav in wavs]
        table = pd.DataFrame({"ID": wavs, "wav": wavs, "label": labels})
        if table.empty:
            raise PreparationError(f"{first} has no <class>/<name>.wav")
        table["split"] = "test"
    else:
        splits = ("train", "test") if len(arguments.clips) == 2 else ("test",)
        table = pd.concat(
            read_manifest(path).assign(split=split)
            for split, path in zip(splits, arguments.clips)
        )
        # The same clip may be in both lists, which is the user's to say
        table["ID"] = table["split"] + "/" + table["ID"]
    for column in ("label", arguments.group):
        if column and column not in table:
            raise PreparationError(f"{first} has no column {column!r}")
    problems = Problems()
    folder = data_folder or first.parent
    table = measure(table.reset_index(drop=True), folder, problems)
    if problems.messages:
        raise PreparationError("\n".join(problems.messages[:10]))
    table = table.sort_values("ID", ignore_index=True)
    return Clips(folder, table, list(split_clips(table, arguments)))


def split_clips(table, arguments) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield rows to learn from and rows to test, once or for each fold."""
    if arguments.folds is None:
        is_test = table["split"] == "test"
        yield np.flatnonzero(~is_test), np.flatnonzero(is_test)
        return
    rarest = table["label"].value_counts().min()
    if rarest < arguments.folds:
        raise PreparationError(
            f"a class has {rarest} clips, too few for {arguments.folds} folds"
        )
    options = {"shuffle": True, "random_state": arguments.seed}
    if arguments.group:
        folds = StratifiedGroupKFold(arguments.folds, **options)
        yield from folds.split(table, table["label"], table[arguments.group])
    else:
        folds = StratifiedKFold(arguments.folds, **options)
        yield from folds.split(table, table["label"])


def bank_statistics(feats: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Return mean and deviation of each bin over a clip's own frames.

    Arguments
    ---------
    feats : torch.Tensor
        [B, T, F].
    lengths : torch.Tensor
        Relative lengths in (0, 1], [B].

    Returns
    -------
    torch.Tensor
        [B, 2 F].
    """
    feats, n_frames = clear_padding(feats, lengths)
    mean = feats.sum(1) / n_frames[:, None]
    power = feats.square().sum(1) / n_frames[:, None]
    deviation = (power - mean.square()).clamp(min=0).sqrt()
    return torch.cat([mean, deviation], dim=1)


def readouts_of(encoder: torch.nn.Module, name: str) -> dict[str, Readout]:
    """Return name -> readout of an encoder."""

    def embedding(feats, lengths):
        return encode(encoder, feats, lengths).squeeze(1)

    def rows(feats, lengths):
        return encoder(feats, lengths, output="rows").flatten(1)

    found = {f"{name}, embedding": embedding}
    # Encoders of others have an embedding only
    if isinstance(encoder, (PatchEncoder, DASS)):
        found[f"{name}, rows"] = rows
    return found


@torch.no_grad()
def represent(features, readouts, dataset, batches) -> dict[str, np.ndarray]:
    """Compute every readout [clips, D] of a data set."""
    rows = {clip: row for row, clip in enumerate(dataset.data_ids)}
    found: dict[str, list] = {name: [None] * len(rows) for name in readouts}
    loader = make_dataloader(dataset, batch_sampler=batches)
    with tqdm(total=len(rows), unit="clip", leave=False) as bar:
        for batch in loader:
            feats, lengths = features(*batch.sig)
            for name, read in readouts.items():
                values = read(feats, lengths).float().numpy()
                for clip, value in zip(batch.id, values):
                    found[name][rows[clip]] = value
            bar.update(len(batch.id))
    return {name: np.stack(values) for name, values in found.items()}


def representations(arguments, clips: Clips):
    """Return what was computed before, or compute it: name -> [clips, D].

    Also the weights that were read, and the number of parameters.
    """
    embedder, weights = load_embedder(arguments.model)
    blank, _ = load_embedder(arguments.model, trained=False)
    yaml = Path(arguments.model, "hyperparams.yaml")
    audio = stat_audio(clips.folder, clips.table["wav"])
    columns = [c for c in ("ID", "wav", "start", "stop") if c in clips.table]
    chosen = clips.table[columns].to_csv(index=False).encode()
    options = {"clips": hashlib.sha256(chosen).hexdigest()}
    key = inputs_key(options, [weights.path, yaml], audio)
    path = arguments.output_folder / f"{key[:16]}.npz"
    if not path.is_file():
        manifest = arguments.output_folder / "clips.csv"
        write_csv(manifest, clips.table)
        settings = read_settings(yaml)
        reader = AudioReader(
            clips.folder, settings["sample_rate"], settings.get("max_duration")
        )
        limit = BATCH_SECONDS if embedder.batch_invariant else 0.0
        found = represent(
            embedder.features,
            {
                **readouts_of(embedder.embedding_model, "model"),
                **readouts_of(blank.embedding_model, "random encoder"),
                BASELINE: bank_statistics,
            },
            ClipDataset(manifest, reader),
            duration_batches(clips.table["duration"], limit),
        )
        with replaced_file(path) as draft, open(draft, "wb") as file:
            np.savez(file, **found)
    count = sum(p.numel() for p in embedder.parameters())
    return dict(np.load(path)), weights, count


def probe(values, labels, parts, neighbours) -> dict[str, list[float]]:
    """Return the accuracy of both probes on each part."""
    found: dict[str, list[float]] = {name: [] for name in PROBES}
    for train, test in parts:
        for name, learner in zip(
            PROBES,
            (
                LogisticRegression(max_iter=2000),
                KNeighborsClassifier(neighbours, metric="cosine"),
            ),
        ):
            model = make_pipeline(StandardScaler(), learner)
            model.fit(values[train], labels[train])
            score = model.score(values[test], labels[test])
            found[name].append(float(score))
    return found


def percent(scores: list[float]) -> str:
    """Format accuracies as their mean, and their spread over folds."""
    mean = f"{100 * np.mean(scores):.1f} %"
    if len(scores) == 1:
        return mean
    return f"{mean} ± {100 * np.std(scores, ddof=1):.1f}"


def chance(labels, parts) -> list[float]:
    """Return the share of the most frequent training class in each test."""
    return [
        float((labels[test] == pd.Series(labels[train]).mode()[0]).mean())
        for train, test in parts
    ]


def table_of(scores: dict, guess: list[float]) -> str:
    """Return the lines to print."""
    lines = [["", *PROBES]]
    for name, found in scores.items():
        lines.append([name, *(percent(found[probe]) for probe in PROBES)])
    lines.append(["most frequent class", percent(guess), percent(guess)])
    width = max(len(line[0]) for line in lines)
    return "\n".join(
        f"{name:{width}}  " + "  ".join(f"{cell:>20}" for cell in cells)
        for name, *cells in lines
    )


def record_of(arguments, clips, scores, guess, weights, count, seconds) -> dict:
    """Return the content of ``results.json``, by the names of a run's."""
    readout = "model, rows" if "model, rows" in scores else "model, embedding"
    value = float(np.mean(scores[readout][PROBES[0]]))
    entry = {
        "epoch": weights.epoch,
        "rule": f"{PROBES[0]} on {readout}; weights: {weights.rule}",
        "test": {"accuracy": value},
    }
    train, test = clips.parts[0]
    return {
        "dataset": clips.folder.resolve().name,
        "hparams_file": "hyperparams.yaml",
        "metric": {"name": "accuracy", "value": value, "split": "test"},
        "protocol": "probe",
        "rule": entry["rule"],
        "epoch": weights.epoch,
        "protocols": {"probe": entry},
        "probes": scores,
        "most_frequent_class": guess,
        "neighbours": arguments.neighbours,
        "folds": arguments.folds,
        "seed": arguments.seed,
        "n_classes": clips.table["label"].nunique(),
        "clips": {"train": len(train), "test": len(test)},
        "parameters": count,
        "wall_time_s": round(seconds, 1),
        **environment("cpu"),
    }


def parse_arguments(argv=None):
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("model", help="output folder of a run, or an exported model")
    add("clips", type=Path, nargs="+", help="two lists; or one, or a folder")
    add("--data_folder", type=Path, help="what wav in the lists starts from")
    add("--folds", type=int, help="cross-validate one list or folder")
    add("--group", help="column: its clips stay together")
    add("--neighbours", type=int, default=1, help="of the second probe (1)")
    add("--seed", type=int, default=1, help="draws the folds")
    add("--output_folder", type=Path, default=Path("probe"))
    arguments = parser.parse_args(argv)
    two = len(arguments.clips) == 2
    if len(arguments.clips) > 2 or two == (arguments.folds is not None):
        parser.error("give two lists, or one list or folder with --folds")
    if two and any(path.is_dir() for path in arguments.clips):
        parser.error("a folder is probed alone, with --folds")
    if arguments.folds is not None and arguments.folds < 2:
        parser.error("--folds must be 2 or more")
    if arguments.group and not arguments.folds:
        parser.error("--group goes with --folds")
    return arguments


def main(argv=None):
    """Probe, print the table, and write the record."""
    arguments, started = parse_arguments(argv), time.monotonic()
    try:
        clips = read_clips(arguments)
        found, weights, count = representations(arguments, clips)
        labels = clips.table["label"].to_numpy()
        scores = {
            name: probe(values, labels, clips.parts, arguments.neighbours)
            for name, values in found.items()
        }
    except (ValueError, OSError) as error:
        sys.exit(f"probe.py: {error}")
    guess = chance(labels, clips.parts)
    print(table_of(scores, guess))
    seconds = time.monotonic() - started
    path = arguments.output_folder / "results.json"
    write_json(
        path,
        record_of(arguments, clips, scores, guess, weights, count, seconds),
    )
    print(f"record: {path}")


if __name__ == "__main__":
    main()
