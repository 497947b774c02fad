"""Taggers with random weights, of the sizes that are published."""

from collections.abc import Callable

import torch
from speechbrain.dataio.encoder import CategoricalEncoder

from audiomamba import aum_base, aum_small, aum_tiny
from audiomamba.inference import AudioTagger
from audiomamba.inference.waveforms import WaveformNormalizer
from audiomamba.lobes import (
    AudioSpectrogramTransformer,
    KaldiFbank,
    SpectrogramNorm,
    dass_medium,
    dass_small,
)
from audiomamba.nnet.classifier import LinearClassifier

# As published: AudioSet's classes and statistics
RATE, N_CLASSES = 16000, 527
MODELS: dict[str, Callable[[], torch.nn.Module]] = {
    "aum_tiny": aum_tiny,
    "aum_small": aum_small,
    "aum_base": aum_base,
    "dass_small": dass_small,
    "dass_medium": dass_medium,
    "ast_small": lambda: AudioSpectrogramTransformer(embed_dim=384),
    "ast_base": AudioSpectrogramTransformer,
}


def new_tagger(encoder, n_frames=1024):
    """Return a tagger of clips of ``n_frames``, or of any length for None."""
    labels = CategoricalEncoder()
    labels.update_from_iterable(map(str, range(N_CLASSES)))
    return AudioTagger(
        modules={
            "compute_features": KaldiFbank(n_frames=n_frames),
            "mean_var_norm": SpectrogramNorm(-4.27, 4.57),
            "embedding_model": encoder,
            "classifier": LinearClassifier(encoder.embed_dim, N_CLASSES),
        },
        hparams={
            "label_encoder": labels,
            "activation": "sigmoid",
            "audio_normalizer": WaveformNormalizer(RATE),
        },
        run_opts={"device": "cpu"},
    )
