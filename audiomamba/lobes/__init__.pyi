from .ast import AudioSpectrogramTransformer
from .audio_mamba import AudioMamba, aum_base, aum_small, aum_tiny
from .augment import Mixup, SpectrogramMask, TimeRollNoise, TimeWarp
from .clip_encoder import ClipEncoder
from .ctc import CTCEncoder
from .dass import DASS, dass_medium, dass_small
from .features import KaldiFbank, LogMelSpectrogram
from .normalization import SpectrogramNorm

__all__ = [
    "DASS",
    "AudioMamba",
    "AudioSpectrogramTransformer",
    "CTCEncoder",
    "ClipEncoder",
    "KaldiFbank",
    "LogMelSpectrogram",
    "Mixup",
    "SpectrogramMask",
    "SpectrogramNorm",
    "TimeRollNoise",
    "TimeWarp",
    "aum_base",
    "aum_small",
    "aum_tiny",
    "dass_medium",
    "dass_small",
]
