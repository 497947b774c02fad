"""Scores of clips that nobody has labelled, for challenges."""

import numpy as np
import torch
from speechbrain.core import Stage
from tqdm.auto import tqdm


@torch.no_grad()
def predict(brain, dataset, loader_kwargs=None):
    """Compute the logits of a set without targets.

    Under torchrun every rank must call it; each computes its share and gets
    the whole.

    Arguments
    ---------
    brain : ClassificationBrain
        With the weights to use; after ``brain.test`` those of the headline.
    dataset : DynamicItemDataset
        With ``id`` and ``sig``.
    loader_kwargs : dict, optional
        Options of its loader.

    Returns
    -------
    tuple
        ids (list of str, sorted) and logits [clips, classes], float32.

    Raises
    ------
    ValueError
        If a logit is not finite; names the clip.
    """
    loader = brain.make_dataloader(
        dataset, Stage.TEST, None, **(loader_kwargs or {})
    )
    brain.modules.eval()
    found = {}
    for batch in tqdm(loader, desc="predicting", disable=brain.noprogressbar):
        with brain.evaluation_ctx:
            logits, _ = brain.compute_forward(batch, Stage.TEST)
        found.update(zip(batch.id, logits.float().cpu().numpy()))
    if torch.distributed.is_initialized():
        parts = [None] * torch.distributed.get_world_size()
        torch.distributed.all_gather_object(parts, found)
        found = {name: row for part in parts for name, row in part.items()}
    ids = sorted(found)
    scores = np.stack([found[name] for name in ids])
    broken = np.flatnonzero(~np.isfinite(scores).all(axis=1))
    if broken.size:
        raise ValueError(
            f"{broken.size} of {len(ids)} clips have scores that are not "
            f"finite, the first is {ids[broken[0]]!r}: the clip is damaged, or "
            "the training diverged."
        )
    return ids, scores
