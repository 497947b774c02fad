from . import dataio, inference, lobes, nnet, ops, pretrained, training
from .lobes.audio_mamba import AudioMamba, aum_base, aum_small, aum_tiny
from .pretrained.official import load_official

__version__: str

__all__ = [
    "AudioMamba",
    "aum_base",
    "aum_small",
    "aum_tiny",
    "dataio",
    "inference",
    "load_official",
    "lobes",
    "nnet",
    "ops",
    "pretrained",
    "training",
]
