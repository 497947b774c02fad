"""Augmentation of waveforms and spectrograms, in batches.

Every clip is augmented by its own random draws, on its device, from torch's
default generator of that device. The Brain seeds it before every step from
seed, rank and step, so a resumed run repeats the draws and ranks differ. The
number of draws depends on shapes only. Augmentation is active in training
mode only, and never in place.

To chain spectrogram augmentations, with lengths:
``speechbrain.nnet.containers.LengthsCapableSequential(TimeWarp(),
SpectrogramMask())``.
"""

from importlib import import_module

_MODULES = {
    "AugmentedCopies": "speech",
    "WithTargets": "speech",
    "FolderNoise": "noise",
    "Mixup": "mixup",
    "SpectrogramMask": "spectrogram",
    "TimeRollNoise": "spectrogram",
    "TimeWarp": "spectrogram",
    "noise_augmentation": "noise",
}

__all__ = list(_MODULES)


def __getattr__(name):
    """Import a public name when it is first used."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__():
    return sorted(__all__)
