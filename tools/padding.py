#!/usr/bin/env python3
"""Measure what padding does to a model: batches of clips against single ones.

    python tools/padding.py exported_model manifests/test.csv padding.json \\
        --data_folder data

Every clip of the manifest is scored alone, in batches padded to their longest
clip with the clips' relative lengths, and in the same batches without lengths,
as models do that take padding for content. The batches are in random order, as
in training. The record has the metric of each, and how far the probabilities
are from those of the clips alone.
"""

import argparse
import sys
from pathlib import Path

import torch
from needle import evaluate, read_clips
from torch.nn.utils.rnn import pad_sequence

from audiomamba.dataio.audio import AudioError
from audiomamba.dataio.files import write_json
from audiomamba.inference import AudioTagger
from audiomamba.training.runs.environment import environment

WAYS = ("alone", "padded, with lengths", "padded, without lengths")


@torch.inference_mode()
def score(tagger, clips, with_lengths=True):
    """Return the probabilities [B, C] of one padded batch of waveforms."""
    sizes = torch.tensor([len(clip) for clip in clips])
    lengths = sizes / sizes.max()
    if not with_lengths:
        lengths = torch.ones_like(lengths)
    wavs = pad_sequence(clips, batch_first=True)
    return tagger(wavs.to(tagger.device), lengths.to(tagger.device)).cpu()


def score_all(tagger, clips, batch_size):
    """Return way -> probabilities of all clips [clips, C]."""
    batches = [
        clips[start : start + batch_size]
        for start in range(0, len(clips), batch_size)
    ]
    ways = (
        [score(tagger, [clip]) for clip in clips],
        [score(tagger, batch) for batch in batches],
        [score(tagger, batch, with_lengths=False) for batch in batches],
    )
    return {name: torch.cat(rows) for name, rows in zip(WAYS, ways)}


def compare(scores, targets):
    """Return a row per way: the metric, and the distance from alone."""
    alone = scores[WAYS[0]]
    rows = []
    for way, found in scores.items():
        distance = (found - alone).abs()
        rows.append(
            {
                "way": way,
                **evaluate(list(found), targets),
                "mean_difference": distance.mean().item(),
                "largest_difference": distance.max().item(),
            }
        )
    return rows


def measure(tagger, manifest, data_folder, batch_size=16, seed=1):
    """Score the clips of a manifest in all ways; return the record."""
    dataset = read_clips(manifest, data_folder, tagger)
    order = torch.randperm(
        len(dataset), generator=torch.Generator().manual_seed(seed)
    )
    clips = [dataset[i] for i in order.tolist()]
    waves = [clip["sig"] for clip in clips]
    scores = score_all(tagger, waves, batch_size)
    seconds = [len(wave) / tagger.sample_rate for wave in waves]
    return {
        "clips": len(clips),
        "shortest": min(seconds),
        "longest": max(seconds),
        "batch_size": batch_size,
        "seed": seed,
        "parameters": sum(p.numel() for p in tagger.mods.parameters()),
        "rows": compare(scores, [clip["target"] for clip in clips]),
    }


def main(argv=None):
    """Measure, write the record and print its rows."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("model", help="an exported model, or its name on the hub")
    add("manifest", type=Path, help="CSV with ID, duration, wav and label")
    add("out", type=Path, help="the record to write")
    add("--data_folder", required=True, help="what the paths are relative to")
    add("--name", help="of the model in tables; default: that of its folder")
    add("--batch_size", type=int, default=16)
    arguments = parser.parse_args(argv)
    if arguments.batch_size < 2:
        parser.error("--batch_size 1 pads nothing: give 2 or more.")
    try:
        tagger = AudioTagger.from_hparams(arguments.model)
        record = measure(
            tagger,
            arguments.manifest,
            arguments.data_folder,
            arguments.batch_size,
        )
    except (AudioError, OSError, ValueError) as error:
        sys.exit(f"padding.py: {error}")
    record = {
        "model": arguments.name or Path(arguments.model).name,
        **record,
        **environment(tagger.device),
    }
    record.pop("folder")
    write_json(arguments.out, record)
    for row in record["rows"]:
        print("  ".join(f"{key}: {value}" for key, value in row.items()))


if __name__ == "__main__":
    main()
