"""Utterances that are too short for CTC to write down their transcripts.

A step writes at most one token, and between two equal tokens CTC needs a step
with a blank. The loss of an utterance with fewer steps is infinite, which
SpeechBrain's ``ctc_loss`` counts as 0: nothing would be learned from it.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from speechbrain.utils.logger import get_logger

from audiomamba.dataio.manifest import read_manifest
from audiomamba.dataio.problems import PreparationError
from audiomamba.dataio.tokenizer import TokenEncoder

logger = get_logger(__name__)

# Utterances that a message lists
_SHOWN = 10


def steps_needed(tokens: torch.Tensor) -> int:
    """Return how many steps of CTC write some tokens.

    Arguments
    ---------
    tokens : torch.Tensor
        [n].

    Returns
    -------
    int

    Example
    -------
    >>> steps_needed(torch.tensor([3, 3, 5]))
    4
    """
    return len(tokens) + int((tokens[1:] == tokens[:-1]).sum())


def find_short(
    manifest: str | Path, encoder: TokenEncoder, hparams: dict, speed: float
) -> pd.DataFrame:
    """Return the utterances with fewer steps than their tokens need.

    Arguments
    ---------
    manifest : str or Path
        The CSV of a split.
    encoder : TokenEncoder
        Gives the tokens.
    hparams : dict
        With ``compute_features``, ``embedding_model`` and ``sample_rate``.
    speed : float
        Percent of the utterances' own.

    Returns
    -------
    pandas.DataFrame
        ``ID``, ``steps``, ``needed``.
    """
    table = read_manifest(manifest)
    n_samples = table["duration"] * hparams["sample_rate"] * 100 / speed
    n_samples = torch.from_numpy(np.floor(n_samples.to_numpy() + 1e-3)).long()
    n_frames = hparams["compute_features"].count_frames(n_samples)
    steps = hparams["embedding_model"].step_counts(n_frames).numpy()
    needed = table["label"].map(lambda text: steps_needed(encoder(text)))
    found = table[["ID"]].assign(steps=steps, needed=needed)
    return found[steps < needed]


def without_short(
    split: str, encoder: TokenEncoder, hparams: dict
) -> frozenset[str]:
    """Return the utterances that a run leaves out of a split.

    In training, those that are too short at the highest speed are an error,
    or left out with ``allow_missing``. In other splits they are named in the
    log, and stay: their errors count.

    Arguments
    ---------
    split : str
        ``train``, ``valid`` or ``test``.
    encoder : TokenEncoder
        Gives the tokens.
    hparams : dict
        As for `find_short`, with ``manifest_folder``, ``wav_augment``,
        ``speeds`` and ``allow_missing``.

    Returns
    -------
    frozenset of str
        Their IDs.

    Raises
    ------
    PreparationError
        With the utterances, and what to change.
    """
    is_train = split == "train"
    perturbed = is_train and hparams["wav_augment"] is not None
    speed = max(hparams["speeds"]) if perturbed else 100
    manifest = Path(hparams["manifest_folder"], f"{split}.csv")
    short = find_short(manifest, encoder, hparams, speed)
    if short.empty:
        return frozenset()
    text = _describe(short, manifest, speed)
    if is_train and not hparams["allow_missing"]:
        raise PreparationError(
            f"{text}\nCorrect their transcripts; choose a larger vocab_size, "
            "a shorter stride or lower speeds; or pass --allow_missing True to "
            "leave these utterances out of training."
        )
    fate = "They are left out" if is_train else "Their errors count"
    logger.warning("%s\n%s.", text, fate)
    return frozenset(short["ID"]) if is_train else frozenset()


def _describe(short, manifest, speed):
    """Name the utterances."""
    lines = [
        f"  {row.ID}: {row.steps} of {row.needed} steps"
        for row in short.head(_SHOWN).itertuples()
    ]
    if len(short) > _SHOWN:
        lines.append(f"  ... and {len(short) - _SHOWN} more")
    at_speed = f" at {speed} % of their speed" if speed != 100 else ""
    head = (
        f"{manifest}: {len(short)} utterances have{at_speed} fewer encoder "
        "steps than CTC needs to write their tokens:"
    )
    return "\n".join([head, *lines])
