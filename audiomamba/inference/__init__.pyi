from .export import export_run
from .programs.onnx import export_onnx
from .programs.program import export_program
from .speakers import SpeakerRecognition
from .tagger import AudioTagger
from .transcriber import Transcriber

__all__ = [
    "AudioTagger",
    "SpeakerRecognition",
    "Transcriber",
    "export_onnx",
    "export_program",
    "export_run",
]
