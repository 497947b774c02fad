from .ast import AudioSpectrogramTransformer
from .audio_mamba import AudioMamba, aum_base, aum_small, aum_tiny
from .augment import Mixup, SpectrogramMask, TimeRollNoise, TimeWarp
from .clip_encoder import ClipEncoder, Waveforms
from .ctc import CTCEncoder, Recognizer
from .dass import DASS, dass_medium, dass_small
from .fbank import SpeechBrainFbank
from .features import KaldiFbank, LogMelSpectrogram
from .normalization import SpectrogramNorm
from .pooling import MeanOverTime

__all__ = [
    "DASS",
    "AudioMamba",
    "AudioSpectrogramTransformer",
    "CTCEncoder",
    "ClipEncoder",
    "KaldiFbank",
    "LogMelSpectrogram",
    "MeanOverTime",
    "Mixup",
    "Recognizer",
    "SpectrogramMask",
    "SpectrogramNorm",
    "SpeechBrainFbank",
    "TimeRollNoise",
    "TimeWarp",
    "Waveforms",
    "aum_base",
    "aum_small",
    "aum_tiny",
    "dass_medium",
    "dass_small",
]
