"""Use of trained models: tag, embed, export, deploy."""

from importlib import import_module

_HOME = {
    "AudioTagger": "audiomamba.inference.tagger",
    "export_run": "audiomamba.inference.export",
    "export_program": "audiomamba.inference.program",
    "export_onnx": "audiomamba.inference.onnx",
}

__all__ = list(_HOME)


def __getattr__(name):
    """Load a public name from the module it lives in."""
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted(__all__)
