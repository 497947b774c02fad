"""The mean embedding of training clips, which centres embeddings."""

from pathlib import Path

import numpy as np
import torch
from tqdm.auto import tqdm

from audiomamba.dataio.hdf5 import HDF5Reader
from audiomamba.dataio.manifest import read_manifest
from audiomamba.dataio.pipeline import ClipDataset
from audiomamba.dataio.reader import AudioReader
from audiomamba.inference.tagger import AudioTagger

N_CLIPS = 100


def mean_embedding(
    tagger: AudioTagger,
    manifest: str | Path,
    data_folder: str | Path,
    n_clips: int = N_CLIPS,
) -> dict:
    """Average the embeddings of clips that are evenly spaced in a manifest.

    Arguments
    ---------
    tagger : AudioTagger
        The model.
    manifest : str or Path
        CSV of `audiomamba.dataio.manifest`.
    data_folder : str or Path
        What its paths are relative to.
    n_clips : int
        Clips to use at most.

    Returns
    -------
    dict
        What SpeechBrain's ``InputNormalization`` saves: ``count``,
        ``glob_mean`` and ``glob_std``, both [D]; the latter is all 1.

    Raises
    ------
    OSError or ValueError
        If the manifest or a file cannot be read.
    """
    audio = (data_folder, tagger.sample_rate)
    if "recording" in read_manifest(manifest):
        dataset = ClipDataset(manifest, HDF5Reader(*audio))
    else:
        remove_mean = tagger.hparams.audio_normalizer.remove_mean
        reader = AudioReader(*audio, remove_mean=remove_mean)
        dataset = ClipDataset(manifest, reader)
    count = min(n_clips, len(dataset))
    places = np.linspace(0, len(dataset) - 1, count).round().astype(int)
    clips = (dataset[place]["sig"] for place in tqdm(places.tolist()))
    # One by one: bounded in memory, whatever the lengths
    rows = [tagger.embed_batch([clip])[0] for clip in clips]
    mean = torch.stack(rows).double().mean(0).float()
    return {
        "count": count,
        "glob_mean": mean,
        "glob_std": torch.ones_like(mean),
    }
