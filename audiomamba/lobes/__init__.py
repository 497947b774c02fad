"""Parts that recipes name in their YAML: encoders, features, augmentation."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
