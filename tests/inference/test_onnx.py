"""ONNX files compute what the tagger computes, from waveforms on."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from audiomamba.inference import export_onnx
from audiomamba.inference.export import ExportError
from audiomamba.inference.tagger import AudioTagger
from audiomamba.inference.waveforms import WaveformNormalizer
from audiomamba.lobes import (
    DASS,
    AudioMamba,
    KaldiFbank,
    LogMelSpectrogram,
    SpectrogramNorm,
)

RATE = 8000
LABELS = ["dog", "rain, heavy", "wind"]
# Seconds of the clips of a batch: a sample, less than a patch, a short clip,
# one as long as the features, one that is longer
CLIPS = [[1 / RATE], [0.1], [0.4, 0.21], [1.2, 1.025, 0.02]]
KALDI = {"sample_rate": RATE, "n_mels": 32}


def make_tagger(
    features=None, activation="softmax", max_duration=None, **model
):
    """Make a small tagger with random weights."""
    torch.manual_seed(0)
    if "widths" in model:
        encoder = DASS(32, **model)
    else:
        encoder = AudioMamba(32, 60, [8, 10], [8, 10], 16, 1, **model)
    classifier = torch.nn.Linear(16, len(LABELS))
    with torch.no_grad():
        for parameter in [*encoder.parameters(), *classifier.parameters()]:
            parameter += 0.1 * torch.randn_like(parameter)
    named = SimpleNamespace(ind2lab=dict(enumerate(LABELS)))
    return AudioTagger(
        modules={
            "compute_features": features or KaldiFbank(**KALDI, n_frames=101),
            "mean_var_norm": SpectrogramNorm(-6.0, 4.0),
            "embedding_model": encoder,
            "classifier": classifier,
        },
        hparams={
            "label_encoder": named,
            "activation": activation,
            "audio_normalizer": WaveformNormalizer(RATE, max_duration),
        },
        run_opts={"device": "cpu"},
    )


def make_clips(seconds):
    generator = np.random.default_rng(len(seconds))
    return [
        generator.normal(0.01, 0.1, round(s * RATE)).astype(np.float32)
        for s in seconds
    ]


def padded(clips):
    """Return a batch whose padding is anything."""
    n_samples = np.array([len(clip) for clip in clips])
    wavs = np.full((len(clips), n_samples.max()), 7.0, np.float32)
    for row, clip in zip(wavs, clips):
        row[: len(clip)] = clip
    return {"wavs": wavs, "n_samples": n_samples}


MODELS = {
    "fo_bi": {"max_duration": 1.2},
    "fixed": {"scan": "fo_fo", "cls_token": None, "mask_padding": False},
    "bi_bi": {
        "scan": "bi_bi",
        "cls_token": "both",
        "token_order": "time",
        "features": KaldiFbank(**KALDI),
        "activation": "sigmoid",
    },
    "dass": {
        "widths": [8, 16],
        "depths": [1, 1],
        "features": LogMelSpectrogram(RATE, 32, 256, n_frames=180),
    },
}


@pytest.fixture(scope="module")
def exported(request, tmp_path_factory):
    """Export a model of the table: the tagger and the file."""
    pytest.importorskip("onnxscript")
    tagger = make_tagger(**MODELS[request.param])
    path = tmp_path_factory.mktemp("onnx") / "new" / "model.onnx"
    return tagger, export_onnx(tagger, path)


@pytest.mark.parametrize("exported", MODELS, indirect=True)
def test_a_file_computes_what_the_tagger_computes(exported):
    onnxruntime = pytest.importorskip("onnxruntime")
    tagger, path = exported
    session = onnxruntime.InferenceSession(
        path, providers=["CPUExecutionProvider"]
    )
    for clips in map(make_clips, CLIPS):
        found, emb = session.run(None, padded(clips))
        np.testing.assert_allclose(found, tagger.score_batch(clips), atol=1e-4)
        np.testing.assert_allclose(emb, tagger.embed_batch(clips), atol=1e-3)
        for row, clip in zip(found, clips):
            (alone, _) = session.run(None, padded([clip]))
            np.testing.assert_allclose(alone[0], row, atol=1e-5)


@pytest.mark.parametrize("exported", ["fo_bi"], indirect=True)
def test_a_file_says_what_it_takes_and_gives(exported):
    onnx = pytest.importorskip("onnx")
    model = onnx.load(exported[1])
    onnx.checker.check_model(model, full_check=True)
    # Standard operators only
    assert {i.domain for i in model.opset_import} == {""}
    shapes = {
        value.name: [d.dim_param or d.dim_value for d in shape.dim]
        for value in (*model.graph.input, *model.graph.output)
        for shape in [value.type.tensor_type.shape]
    }
    assert shapes == {
        "wavs": ["batch", "samples"],
        "n_samples": ["batch"],
        "probabilities": ["batch", 3],
        "embedding": ["batch", 16],
    }
    found = {p.key: json.loads(p.value) for p in model.metadata_props}
    assert len(found.pop("sha256")) == 64
    assert found == {
        "labels": LABELS,
        "activation": "softmax",
        "sample_rate": RATE,
        "max_duration": 1.2,
        "keep": "start",
        "heard": 1.025,
    }


@pytest.mark.parametrize(
    "features, words",
    [
        (torch.nn.Identity(), "features of Identity"),
        (KaldiFbank(**KALDI), "set n_frames"),
    ],
)
def test_models_that_depend_on_the_batch_are_refused(features, words, tmp_path):
    tagger = make_tagger(features=features, mask_padding=False)
    with pytest.raises(ExportError, match=words):
        export_onnx(tagger, tmp_path / "model.onnx")


def test_missing_packages_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "audiomamba.inference.programs.onnx.find_spec", lambda name: None
    )
    with pytest.raises(ModuleNotFoundError, match=r"audiomamba\[onnx\]"):
        export_onnx(make_tagger(), tmp_path / "model.onnx")
