"""What holds for all tests."""

import io
import logging
import os
from contextlib import nullcontext
from types import SimpleNamespace

import pytest


@pytest.fixture(autouse=True, scope="module")
def environment():
    """Put back what commands change: environment and level of the log."""
    before, level = dict(os.environ), logging.root.level
    yield
    os.environ.clear()
    os.environ.update(before)
    logging.root.setLevel(level)


def pytest_addoption(parser):
    """Add the device of the operators' tests."""
    parser.addoption("--device", default="cpu", help="of tests/ops: cpu, cuda")


@pytest.fixture(scope="session")
def make_recognizer():
    """Make a `Recognizer` with random weights that looks at the past alone."""
    import torch

    from audiomamba.lobes import (
        AudioMamba,
        CTCEncoder,
        KaldiFbank,
        Recognizer,
        SpectrogramNorm,
    )

    def make(features=None, norm=None, **options):
        torch.manual_seed(5)
        settings = {
            "n_mels": 16,
            "n_frames": 4,
            "patch_size": (16, 4),
            "stride": (16, 4),
            "embed_dim": 16,
            "depth": 2,
            "scan": "fo_fo",
            "cls_token": None,
        }
        encoder = AudioMamba(**{**settings, **options})
        return Recognizer(
            features or KaldiFbank(n_mels=16),
            norm or SpectrogramNorm(mean=2.0, std=0.5),
            CTCEncoder(encoder),
            torch.nn.Linear(16, 11),
        ).eval()

    return make


@pytest.fixture(scope="session")
def make_causal(make_recognizer):
    """Make a `Transcriber` with random weights that writes while it hears."""
    import sentencepiece
    import torch

    from audiomamba.inference.transcriber import Transcriber
    from audiomamba.inference.waveforms import WaveformNormalizer
    from audiomamba.lobes.transcripts import GreedyDecoder

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["ONE TWO SIX"] * 9),
        model_writer=model,
        vocab_size=11,
        unk_id=0,
        bos_id=-1,
        eos_id=-1,
        pad_id=-1,
        minloglevel=2,
    )
    processor = sentencepiece.SentencePieceProcessor(
        model_proto=model.getvalue()
    )

    class Causal(Transcriber):
        device, inference_ctx = "cpu", nullcontext()
        sample_rate, step, tokenizer = 16000, 0.04, processor

        def __init__(self, **options):
            recognizer = make_recognizer(**options)
            # noise differs from step to step, and the tokens with it
            torch.nn.init.normal_(recognizer.classifier.weight, std=3.0)
            self.mods = SimpleNamespace(recognizer=recognizer)
            self.hparams = SimpleNamespace(
                audio_normalizer=WaveformNormalizer(16000)
            )
            self.decode = GreedyDecoder(processor)

    return Causal
