"""Parts that recipes name in their YAML: encoders, features, augmentation."""

from importlib import import_module

_HOME = {
    "AudioMamba": "audiomamba.lobes.audio_mamba",
    "aum_tiny": "audiomamba.lobes.audio_mamba",
    "aum_small": "audiomamba.lobes.audio_mamba",
    "aum_base": "audiomamba.lobes.audio_mamba",
    "AudioSpectrogramTransformer": "audiomamba.lobes.ast",
    "CTCEncoder": "audiomamba.lobes.ctc",
    "KaldiFbank": "audiomamba.lobes.features",
    "LogMelSpectrogram": "audiomamba.lobes.features",
    "SpectrogramNorm": "audiomamba.lobes.normalization",
    "SpectrogramMask": "audiomamba.lobes.augment",
    "Mixup": "audiomamba.lobes.augment",
    "TimeRollNoise": "audiomamba.lobes.augment",
    "TimeWarp": "audiomamba.lobes.augment",
    "load_official": "audiomamba.lobes.official",
}

__all__ = list(_HOME)


def __getattr__(name):
    """Load a public name from the module it lives in."""
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted(__all__)
