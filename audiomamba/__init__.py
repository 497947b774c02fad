"""Audio Mamba (AuM) for SpeechBrain: encoder, operators, recipes' helpers.

The public names are loaded on first use, so that ``import audiomamba``
costs next to nothing.

Example
-------
>>> import torch
>>> from audiomamba import AudioMamba
>>> encoder = AudioMamba(n_frames=64, embed_dim=32, depth=2)
>>> encoder(torch.randn(2, 64, 128)).shape
torch.Size([2, 1, 32])
"""

from importlib import import_module

__version__ = "0.1.0"

_HOME = {
    "AudioMamba": "audiomamba.lobes.audio_mamba",
    "aum_tiny": "audiomamba.lobes.audio_mamba",
    "aum_small": "audiomamba.lobes.audio_mamba",
    "aum_base": "audiomamba.lobes.audio_mamba",
    "load_official": "audiomamba.lobes.official",
}

__all__ = [*_HOME, "__version__"]


def __getattr__(name):
    """Load a public name from the module it lives in."""
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted(__all__)
