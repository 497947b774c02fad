"""A model as a program of its own, without this package's Python code."""

from pathlib import Path

import torch
from torch.export import Dim

from audiomamba.lobes.clip_encoder import encode
from audiomamba.nnet.patch_embed import to_pair

MAX_BATCH, MAX_FRAMES = 1024, 1 << 20


class FeatureClassifier(torch.nn.Module):
    """The part of a tagger that is exported: from features to logits.

    Arguments
    ---------
    tagger : AudioTagger
        Its normalisation, encoder and classifier are shared, not copied.

    Example
    -------
    >>> from types import SimpleNamespace
    >>> from audiomamba.lobes import AudioMamba, SpectrogramNorm
    >>> parts = SimpleNamespace(
    ...     mean_var_norm=SpectrogramNorm(mean=-4.0, std=4.0),
    ...     embedding_model=AudioMamba(embed_dim=32, depth=1),
    ...     classifier=torch.nn.Linear(32, 5),
    ... )
    >>> classify = FeatureClassifier(SimpleNamespace(mods=parts))
    >>> classify(torch.randn(2, 100, 128), torch.tensor([1.0, 0.5])).shape
    torch.Size([2, 5])
    """

    def __init__(self, tagger):
        super().__init__()
        self.mean_var_norm = tagger.mods.mean_var_norm
        self.embedding_model = tagger.mods.embedding_model
        self.classifier = tagger.mods.classifier

    def forward(self, feats, lengths):
        """Classify.

        Arguments
        ---------
        feats : torch.Tensor
            Of ``compute_features``, [B, T, n_mels].
        lengths : torch.Tensor
            Relative lengths of the feats, [B].

        Returns
        -------
        torch.Tensor
            Logits, [B, C].
        """
        feats = self.mean_var_norm(feats, lengths)
        emb = encode(self.embedding_model, feats, lengths)
        return self.classifier(emb).squeeze(1)


def least_frames(encoder):
    """Frames from which on an exported program works: two columns of patches.

    Arguments
    ---------
    encoder : AudioMamba
        The encoder.

    Returns
    -------
    int

    Example
    -------
    >>> from audiomamba import AudioMamba
    >>> least_frames(AudioMamba(stride=10, depth=1))
    26
    """
    return to_pair(encoder.patch_size)[1] + to_pair(encoder.stride)[1]


def export_program(tagger, path=None):
    """Export normalisation, encoder and classifier with ``torch.export``.

    Batch and frames stay free; see ``docs/deployment.md`` for what runs the
    program.

    Arguments
    ---------
    tagger : AudioTagger
        With an `audiomamba.AudioMamba`; on the device the program is for.
    path : str or Path, optional
        Where to save it, for example ``model.pt2``.

    Returns
    -------
    torch.export.ExportedProgram
        Called, as ``.module()``, with feats [B, T, n_mels] of
        ``compute_features`` and their relative lengths [B]; gives logits
        [B, C].  T is at least `least_frames`; shorter features are padded
        with zeros, and ``lengths`` says so.
    """
    model = FeatureClassifier(tagger).eval()
    encoder = model.embedding_model
    shortest = least_frames(encoder)
    # Sizes that differ from each other and from 1, which would be taken
    # for constants
    feats = torch.zeros(2, shortest + 1, encoder.n_mels, device=tagger.device)
    lengths = torch.tensor([1.0, 0.75], device=tagger.device)
    batch = Dim("batch", min=1, max=MAX_BATCH)
    frames = Dim("frames", min=shortest, max=MAX_FRAMES)
    with torch.no_grad():
        program = torch.export.export(
            model,
            (feats, lengths),
            dynamic_shapes=({0: batch, 1: frames}, {0: batch}),
        )
    if path is not None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        torch.export.save(program, path)
    return program
