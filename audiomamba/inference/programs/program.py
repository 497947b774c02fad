"""Export a model with ``torch.export``, to run without this package."""

from pathlib import Path

import torch
from torch.export import Dim

from audiomamba.inference.tagger import AudioTagger
from audiomamba.lobes.audio_mamba import AudioMamba
from audiomamba.lobes.clip_encoder import encode
from audiomamba.lobes.dass import DASS
from audiomamba.nnet.patch_embed import to_pair

MAX_BATCH, MAX_FRAMES = 1024, 1 << 20


class FeatureClassifier(torch.nn.Module):
    """The exported part of a tagger: from features to logits.

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

    def __init__(self, tagger: AudioTagger):
        super().__init__()
        self.mean_var_norm = tagger.mods.mean_var_norm
        self.embedding_model = tagger.mods.embedding_model
        self.classifier = tagger.mods.classifier

    def forward(
        self, feats: torch.Tensor, lengths: torch.Tensor
    ) -> torch.Tensor:
        """Compute logits.

        Arguments
        ---------
        feats : torch.Tensor
            Output of ``compute_features``, [B, T, n_mels].
        lengths : torch.Tensor
            Relative lengths of ``feats``, [B].

        Returns
        -------
        torch.Tensor
            Logits, [B, C].
        """
        feats = self.mean_var_norm(feats, lengths)
        emb = encode(self.embedding_model, feats, lengths)
        return self.classifier(emb).squeeze(1)


def least_frames(encoder: AudioMamba | DASS) -> int:
    """Return the fewest frames an exported program takes: two columns.

    Arguments
    ---------
    encoder : AudioMamba or DASS
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
    if isinstance(encoder, DASS):
        return encoder.frames_per_column + 1
    return to_pair(encoder.patch_size)[1] + to_pair(encoder.stride)[1]


def export_program(
    tagger: AudioTagger, path: str | Path | None = None
) -> torch.export.ExportedProgram:
    """Export normalisation, encoder and classifier with ``torch.export``.

    Batch size and number of frames are dynamic; see ``docs/deployment.md`` for
    how to run the program.

    Arguments
    ---------
    tagger : AudioTagger
        A tagger with an `audiomamba.AudioMamba` or `audiomamba.DASS`, on the
        device that the program will run on.
    path : str or Path, optional
        File to save it in, for example ``model.pt2``.

    Returns
    -------
    torch.export.ExportedProgram
        ``.module()`` maps feats [B, T, n_mels] from ``compute_features`` and
        their relative lengths [B] to logits [B, C].  T is at least
        `least_frames`: pad shorter features with zeros and adjust ``lengths``.
    """
    model = FeatureClassifier(tagger).eval()
    encoder = model.embedding_model
    shortest = least_frames(encoder)
    # Sizes that are equal, or 1, would be exported as constants
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
