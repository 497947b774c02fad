from .export import export_run
from .onnx import export_onnx
from .program import export_program
from .speakers import SpeakerRecognition
from .tagger import AudioTagger

__all__ = [
    "AudioTagger",
    "SpeakerRecognition",
    "export_onnx",
    "export_program",
    "export_run",
]
