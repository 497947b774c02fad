#!/usr/bin/env python3
"""Store a teacher's scores of a corpus, to train students without it.

    python tools/store_scores.py results/large/exported \\
        results/aum_tiny/1/manifests/train.csv scores.h5 --data_folder data

The file is what ``scores`` of `audiomamba.pretrained.distillation.Distillation`
takes.  The same command resumes a stopped run.  A clip's scores are those of
the model's evaluation: its own sample rate and features, no augmentation.
"""

import argparse
import sys
from pathlib import Path

import torch
from speechbrain.dataio.dataloader import make_dataloader
from tqdm import tqdm

from audiomamba.dataio.audio import AudioError
from audiomamba.dataio.pipeline import ClipDataset
from audiomamba.dataio.scores import ScoreError, ScoreFile
from audiomamba.inference import AudioTagger
from audiomamba.nnet.parameters import weights_digest


def open_scores(path, dataset, tagger):
    """Open or make the file of scores of a data set."""
    ids = list(dataset.data_ids)
    # A path would not show that its model was trained further
    model = f"SHA-256 of the weights: {weights_digest(tagger.mods)}"
    if not path.exists():
        return ScoreFile.create(path, ids, tagger.labels, model)
    scores = ScoreFile(path)
    held = {
        "another model": scores.model,
        "other labels": scores.labels,
        "other clips": list(scores.rows),
    }
    wanted = (model, tagger.labels, ids)
    different = [k for k, v in zip(held, wanted) if held[k] != v]
    if different:
        raise ScoreError(
            f"{path} holds scores of {' and '.join(different)}: name a new "
            "file."
        )
    return scores


@torch.inference_mode()
def store(tagger, dataset, scores, batch_size, num_workers):
    """Score the clips that the file lacks; return how many they are."""
    pending = scores.pending()
    if not tagger.clip_encoder.batch_invariant:
        batch_size = 1
    loader = make_dataloader(
        dataset,
        batch_size=batch_size,
        num_workers=num_workers,
        sampler=pending.tolist(),
    )
    for batch in tqdm(loader, unit="batch"):
        wavs, lengths = batch.to(tagger.device).sig
        emb = tagger.clip_encoder(wavs, lengths)
        logits = tagger.mods.classifier(emb).squeeze(1)
        rows = [scores.rows[clip] for clip in batch.id]
        scores.write(rows, logits.float().cpu())
    return len(pending)


def parse_arguments(argv=None):
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", help="exported folder of the teacher")
    parser.add_argument("manifest", type=Path, help="CSV of a recipe's run")
    parser.add_argument("scores", type=Path, help="HDF5 file to write")
    parser.add_argument(
        "--data_folder", required=True, help="what the manifest's paths are in"
    )
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--num_workers", type=int, default=1)
    parser.add_argument("--device", help="default: a GPU if there is one")
    return parser.parse_args(argv)


def main(argv=None):
    """Store the scores."""
    arguments = parse_arguments(argv)
    run_opts = {"device": arguments.device} if arguments.device else None
    try:
        tagger = AudioTagger.from_hparams(arguments.model, run_opts=run_opts)
        reader = tagger.hparams.audio_normalizer.reader(arguments.data_folder)
        dataset = ClipDataset(arguments.manifest, reader)
        scores = open_scores(arguments.scores, dataset, tagger)
        count = store(
            tagger,
            dataset,
            scores,
            arguments.batch_size,
            arguments.num_workers,
        )
    except (AudioError, OSError, ValueError) as error:
        sys.exit(f"store_scores.py: {error}")
    print(f"{arguments.scores}: {count} new of {len(dataset)} clips")


if __name__ == "__main__":
    main()
