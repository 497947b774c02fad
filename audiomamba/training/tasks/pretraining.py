"""Self-supervised pre-training: an encoder learns from clips without labels.

Patches of the spectrogram are hidden, and two heads predict them from the
encoder's output at their positions; see `audiomamba.nnet.pretext`.
"""

import numpy as np
import pandas as pd
import torch
from speechbrain.core import Stage

from audiomamba.dataio.problems import PreparationError
from audiomamba.lobes.dass import DASS
from audiomamba.lobes.patch_encoder import PatchEncoder
from audiomamba.nnet.lengths import clear_padding
from audiomamba.nnet.patch_embed import cut_patches, grid_length
from audiomamba.nnet.patch_mask import seed_of_clip
from audiomamba.training.brain import RecipeBrain
from audiomamba.training.results import describe
from audiomamba.training.runs.environment import all_gather
from audiomamba.training.runs.folder import RunError


class PretextMetrics:
    """Means, over the clips of a split, of what `PretextHeads` measures.

    ``relative_mse`` is the mean squared error over the variance of what is
    predicted: 1 for an encoder that knows nothing but the mean. ``accuracy`` is
    that of the contrastive head, ``chance`` that of guessing.

    Example
    -------
    >>> from audiomamba.nnet.pretext import Pretext
    >>> figures = {"loss": 0.5, "mse": 0.5, "variance": 0.8}
    >>> tensors = {name: torch.tensor([v]) for name, v in figures.items()}
    >>> metrics = PretextMetrics()
    >>> metrics.append(["a"], Pretext(**tensors))
    >>> {name: round(v, 3) for name, v in metrics.summarise().items()}
    {'loss': 0.5, 'mse': 0.5, 'relative_mse': 0.625}
    """

    headline = "loss"
    higher_is_better = False

    def __init__(self):
        self.clear()

    def clear(self):
        """Drop all clips."""
        self.clips = {}

    def append(self, ids, pretext):
        """Add one batch.

        Arguments
        ---------
        ids : list of str
            IDs of the clips.
        pretext : audiomamba.nnet.pretext.Pretext
            What the heads measured of them.
        """
        given = {k: v for k, v in pretext._asdict().items() if v is not None}
        rows = zip(*(values.tolist() for values in given.values()))
        self.clips.update(
            {i: dict(zip(given, row)) for i, row in zip(ids, rows)}
        )

    def gather(self):
        """All-gather the clips of all ranks."""
        self.clips = {
            k: v for part in all_gather(self.clips) for k, v in part.items()
        }

    def summarise(self):
        """Compute the means.

        Returns
        -------
        dict
            Those of `Pretext`, but ``relative_mse`` for ``variance``.

        Raises
        ------
        RunError
            If a loss is not finite; names the clip.
        """
        # In one order, whatever the number of processes
        table = pd.DataFrame.from_dict(self.clips, orient="index").sort_index()
        broken = table.index[~np.isfinite(table["loss"])]
        if len(broken):
            raise RunError(
                f"{len(broken)} of {len(table)} clips have losses that are not "
                f"finite; the first is {broken[0]!r}. Check it, or lower lr if "
                "training diverged."
            )
        means = table.mean().to_dict()
        if "variance" in means:
            means["relative_mse"] = means["mse"] / means.pop("variance")
        return means


class PretrainingBrain(RecipeBrain):
    """Trains an encoder on hidden patches of clips.

    A clip's masks are drawn from the seed of the training step and its ID, in
    validation from the ID alone, so that they are the same in every epoch. So a
    clip has the same loss alone and in any batch.

    Arguments
    ---------
    *args, **kwargs
        As for `RecipeBrain`; the modules ``compute_features``,
        ``mean_var_norm``, ``embedding_model``, and ``pretext``, the heads.
        Batches need no ``target``.

    Raises
    ------
    PreparationError
        If the encoder cannot hide patches, or its patches overlap.
    """

    REQUIRED = (*RecipeBrain.REQUIRED, "patch_mask")
    HEAD = "pretext"

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.encoder = self.model["embedding_model"]
        if not isinstance(self.encoder, (PatchEncoder, DASS)):
            raise PreparationError(
                f"{type(self.encoder).__name__} cannot hide patches; pre-train "
                "AudioMamba, AudioSpectrogramTransformer or DASS."
            )
        patch_size, stride = self.encoder.patch_size, self.encoder.stride
        if stride[0] < patch_size[0] or stride[1] < patch_size[1]:
            raise PreparationError(
                f"stride {list(stride)} is smaller than patch_size "
                f"{list(patch_size)}: what is hidden in one patch would be "
                "seen in its neighbours. Pre-train without overlap, and give "
                "another stride in fine-tuning."
            )

    def compute_forward(self, batch, stage):
        """Hide patches, and predict them.

        Arguments
        ---------
        batch : PaddedBatch
            With ``id`` and ``sig``.
        stage : Stage
            Outside of training, a clip's mask is always the same.

        Returns
        -------
        audiomamba.nnet.pretext.Pretext
        """
        batch = batch.to(self.device)
        clip_encoder = self.clip_encoder(stage)
        feats, lengths = clip_encoder.features(*batch.sig)
        own, n_frames = clear_padding(feats, lengths)
        sizes = self.encoder.patch_size, self.encoder.stride
        targets = cut_patches(own, *sizes)
        _, n_rows, width, _ = targets.shape
        n_columns = grid_length(n_frames, *(size[1] for size in sizes))
        mask = self.hparams.patch_mask(
            n_rows, n_columns.tolist(), self._seeds(batch.id, stage), width
        ).to(self.device)
        patches = clip_encoder.embedding_model(
            feats,
            lengths,
            output="patches",
            mask=mask,
            mask_token=self.model["pretext"].mask_token,
        )
        # A last patch that is not whole is no target
        patches = patches[:, :n_rows, :width]
        return self.module("pretext", stage)(patches, targets, mask)

    def _seeds(self, ids, stage):
        """Return the seeds of the clips' masks."""
        step = 0
        if stage == Stage.TRAIN:
            step = int(torch.randint(2**62, ()))
        return [seed_of_clip(step, name) for name in ids]

    def compute_objectives(self, predictions, batch, stage):
        """Return the mean loss; outside of training, collect the figures.

        Arguments
        ---------
        predictions : audiomamba.nnet.pretext.Pretext
            From `compute_forward`.
        batch : PaddedBatch
            With ``id``.
        stage : Stage
            Where in the run.

        Returns
        -------
        torch.Tensor
        """
        if stage != Stage.TRAIN:
            self.hparams.metrics.append(batch.id, predictions)
        return predictions.loss.mean()

    def _end_epoch(self, epoch, stats):
        """As for `RecipeBrain`; log the figures of the two heads."""
        super()._end_epoch(epoch, stats)
        shown = ("relative_mse", "accuracy", "chance")
        figures = {name: stats[name] for name in shown if name in stats}
        self.hparams.epoch_log.note(f"  held out: {describe(figures)}")
