"""Embeddings of many files with a trained encoder, each file once."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.lib.format import open_memmap
from speechbrain.dataio.dataloader import make_dataloader
from speechbrain.utils.logger import get_logger
from tqdm.auto import tqdm

from audiomamba.dataio.files import replaced_file
from audiomamba.dataio.manifest import read_manifest
from audiomamba.dataio.pipeline import ClipDataset
from audiomamba.dataio.problems import PreparationError
from audiomamba.dataio.reader import AudioReader
from audiomamba.lobes.clip_encoder import ClipEncoder
from audiomamba.pretrained.sources import HPARAMS_FILE
from audiomamba.training.checkpoints import find_checkpoint
from audiomamba.training.protocols import PROTOCOLS, module_weights
from audiomamba.training.runs.hparams import load_hparams, read_settings

logger = get_logger(__name__)

# Objects of a run's YAML that are not needed here, or that open other files
_NOT_NEEDED = (
    "wav_augment",
    "spec_augment",
    "norm_augment",
    "train_logger",
    "checkpointer",
)
_ENCODER = "embedding_model"


class Weights(NamedTuple):
    """A file of encoder weights, its epoch if known, and why it was chosen."""

    path: Path
    epoch: int | None
    rule: str


def find_weights(folder: str | Path) -> Weights:
    """Find the encoder's weights in a run's output folder or exported model.

    Arguments
    ---------
    folder : str or Path
        A folder with ``embedding_model.ckpt``, or with checkpoints in
        ``save``, of which the run's first protocol chooses one.

    Returns
    -------
    Weights

    Raises
    ------
    PreparationError
        If the folder has neither.
    """
    exported = Path(folder, f"{_ENCODER}.ckpt")
    if exported.is_file():
        return Weights(exported, None, "an exported model")
    recipe = Path(folder, HPARAMS_FILE)
    if recipe.is_file() and Path(folder, "save").is_dir():
        protocol = read_settings(recipe)["protocols"][0]
        found = find_checkpoint(Path(folder, "save"), protocol)
        if found is not None:
            files, (_, rule) = found.paramfiles, PROTOCOLS[protocol]
            path = files.get(protocol, files[_ENCODER])
            return Weights(path, found.meta["epoch"], rule)
    raise PreparationError(
        f"{folder} has neither {_ENCODER}.ckpt nor, beside its "
        f"{HPARAMS_FILE}, finished epochs in save: "
        "give the output folder of a training run, or an exported model"
    )


def load_embedder(
    folder: str | Path, device: str = "cpu", trained: bool = True
) -> tuple[ClipEncoder, Weights]:
    """Load a trained encoder for inference.

    ``hyperparams.yaml`` names Python objects to create: from an untrusted
    source it can run arbitrary code.

    Arguments
    ---------
    folder : str or Path
        See `find_weights`.
    device : str
        Device to compute on.
    trained : bool
        False leaves the encoder with its initial, random weights.

    Returns
    -------
    embedder : ClipEncoder
        In evaluation mode.
    weights : Weights
        See `find_weights`.
    """
    weights = find_weights(folder)
    path = Path(folder, HPARAMS_FILE)
    if not path.is_file():
        raise PreparationError(f"{path} is missing: it describes the model")
    settings = read_settings(path)
    skipped = {name: "null" for name in _NOT_NEEDED if name in settings}
    hparams = load_hparams(str(path), skipped)
    encoder = hparams[_ENCODER]
    if trained:
        encoder.load_state_dict(module_weights(weights.path, _ENCODER))
    embedder = ClipEncoder(
        hparams["compute_features"], hparams["mean_var_norm"], encoder
    )
    return embedder.to(device).eval(), weights


def duration_batches(
    durations: Sequence[float], max_seconds: float
) -> list[list[int]]:
    """Batch clips of similar length.

    Arguments
    ---------
    durations : sequence of float
        Duration of each clip in seconds.
    max_seconds : float
        Limit of a batch's duration with padding; a longer clip gets a batch
        to itself.

    Returns
    -------
    list of list of int
        Indices of the clips; longest first, so that memory runs out in the
        first batch or not at all.

    Example
    -------
    >>> duration_batches([1.0, 9.0, 2.0, 2.0], max_seconds=4.0)
    [[1], [2, 3], [0]]
    """
    batches: list[list[int]] = []
    for index in np.argsort(-np.asarray(durations), kind="stable").tolist():
        if batches:
            longest = durations[batches[-1][0]]
            if longest * (len(batches[-1]) + 1) <= max_seconds:
                batches[-1].append(index)
                continue
        batches.append([index])
    return batches


def embed_manifest(
    embedder: ClipEncoder,
    manifest: str | Path,
    reader: AudioReader,
    path: str | Path,
    key: str,
    max_seconds: float = 120.0,
    num_workers: int = 0,
    progressbar: bool = True,
) -> tuple[pd.Series, np.memmap]:
    """Embed the files of a manifest, unless that was done before.

    Arguments
    ---------
    embedder : ClipEncoder
        In evaluation mode.
    manifest : str or Path
        CSV of `audiomamba.dataio.manifest`.
    reader : AudioReader
        Reads the rows of the manifest.
    path : str or Path
        ``.npy`` file for the array [files, D], float32, L2-normalised; it is
        written atomically.
    key : str
        Digest of all inputs, see `audiomamba.dataio.manifest.inputs_key`;
        stored next to the array, which is reused while the key is unchanged.
    max_seconds : float
        Limit of a batch; see `duration_batches`.
    num_workers : int
        Loader processes.
    progressbar : bool
        Whether to show one.

    Returns
    -------
    rows : pandas.Series
        File ID -> row.
    embeddings : numpy.memmap
        The array, memory-mapped.
    """
    table = read_manifest(manifest)
    rows = pd.Series(table.index, index=table["ID"])
    record = Path(path).with_suffix(".key")
    if Path(path).is_file() and record.is_file() and record.read_text() == key:
        logger.info(f"Nothing has changed: using the embeddings in {path}")
        return rows, np.load(path, mmap_mode="r")
    dataset = ClipDataset(manifest, reader)
    limit = max_seconds if embedder.batch_invariant else 0.0
    loader = make_dataloader(
        dataset,
        batch_sampler=duration_batches(table["duration"], limit),
        num_workers=num_workers,
    )
    # The old key must not be left next to a new array
    record.unlink(missing_ok=True)
    with replaced_file(path) as draft:
        _embed(embedder, loader, rows, draft, progressbar)
    with replaced_file(record) as draft:
        draft.write_text(key)
    return rows, np.load(path, mmap_mode="r")


@torch.no_grad()
def _embed(embedder, loader, rows, path, progressbar):
    """Write the embeddings, with one batch of waveforms in memory."""
    device = next(embedder.parameters()).device
    array = None
    with tqdm(
        total=len(rows),
        desc="embedding",
        unit=" files",
        disable=not progressbar,
    ) as bar:
        for batch in loader:
            wavs, lengths = batch.sig
            emb = embedder(wavs.to(device), lengths.to(device)).squeeze(1)
            emb = torch.nn.functional.normalize(emb.float()).cpu().numpy()
            for name, row in zip(batch.id, emb):
                if not np.isfinite(row).all():
                    raise ValueError(
                        f"{name}: its embedding is not finite; check the "
                        "file and the model"
                    )
            if array is None:
                shape = (len(rows), emb.shape[1])
                array = open_memmap(path, "w+", np.float32, shape)
            array[rows[batch.id].to_numpy()] = emb
            bar.update(len(emb))
    array.flush()
