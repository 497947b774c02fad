"""Audio Mamba (AuM) for SpeechBrain: encoder, operators and training.

Names are imported on first use, so that ``import audiomamba`` costs next to
nothing. The stub ``__init__.pyi`` lists them.

Example
-------
>>> import torch
>>> from audiomamba import AudioMamba
>>> encoder = AudioMamba(n_frames=64, embed_dim=32, depth=2)
>>> encoder(torch.randn(2, 64, 128)).shape
torch.Size([2, 1, 32])
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__all__ += ["__version__"]
