"""Augmentation of waveforms and spectrograms, over whole batches.

Every clip gets draws of its own, on the device, from torch's default
generator of that device. The Brain seeds it anew for every step from seed,
rank and step: a resumed run repeats the draws, ranks differ. How many numbers
are drawn depends on shapes alone. All act in training mode only, and return
new tensors.

Several in a row, with the lengths handed to each:
``speechbrain.nnet.containers.LengthsCapableSequential(TimeWarp(),
SpectrogramMask())``.
"""

from audiomamba.lobes.augment.mixup import Mixup
from audiomamba.lobes.augment.spectrogram import (
    SpectrogramMask,
    TimeRollNoise,
    TimeWarp,
)

__all__ = ["Mixup", "SpectrogramMask", "TimeRollNoise", "TimeWarp"]
