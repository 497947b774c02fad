from . import cli, dataio, inference, lobes, nnet, ops, pretrained, training
from .lobes.audio_mamba import AudioMamba, aum_base, aum_small, aum_tiny
from .lobes.dass import DASS, dass_medium, dass_small
from .pretrained.official import load_official

__version__: str

__all__ = [
    "DASS",
    "AudioMamba",
    "aum_base",
    "aum_small",
    "aum_tiny",
    "cli",
    "dass_medium",
    "dass_small",
    "dataio",
    "inference",
    "load_official",
    "lobes",
    "nnet",
    "ops",
    "pretrained",
    "training",
]
