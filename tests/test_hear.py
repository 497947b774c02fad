"""The interfaces of HEAR and XARES."""

import pytest
import torch

from audiomamba.hear import (
    HearModel,
    get_scene_embeddings,
    get_timestamp_embeddings,
    load_model,
)
from audiomamba.xares import XaresEncoder

from .inference.test_tagger import make_tagger, noise


@pytest.fixture(params=[None, 60], ids=["any length", "0.6 s at a time"])
def model(request):
    return HearModel(make_tagger(n_frames=request.param))


def test_embeddings_are_as_hear_defines_them(model):
    audio = torch.stack(noise(24000, 24000))
    scene = get_scene_embeddings(audio, model)
    frames, times = get_timestamp_embeddings(audio, model)
    assert model.sample_rate == 16000
    assert scene.shape == (2, model.scene_embedding_size)
    assert frames.shape[::2] == (2, model.timestamp_embedding_size)
    assert times.shape == frames.shape[:2]
    assert scene.dtype == frames.dtype == times.dtype == torch.float32
    # In milliseconds, centred, to the end of the sound
    assert times[0, 0] == pytest.approx(50) and 1300 < times[0, -1] <= 1500
    # and each time once
    torch.testing.assert_close(times.diff(), torch.full((2, 13), 100.0))


def test_embeddings_do_not_depend_on_the_batch(model):
    audio = torch.stack(noise(24000, 24000))
    for get in (
        get_scene_embeddings,
        lambda *x: get_timestamp_embeddings(*x)[0],
    ):
        together, alone = get(audio, model), get(audio[1:], model)
        torch.testing.assert_close(together[1:], alone, atol=1e-5, rtol=0)


def test_a_model_has_to_be_given():
    with pytest.raises(ValueError, match="no weights come with"):
        load_model()


def test_xares_gets_frames(monkeypatch):
    monkeypatch.setattr(
        "audiomamba.xares.load_model", lambda path: HearModel(make_tagger())
    )
    encoder = XaresEncoder("model")
    audio = torch.stack(noise(48000, 48000))
    frames = encoder(audio)
    assert encoder.output_dim == 16 and encoder.hop_size_in_ms == 100
    assert frames.shape == (2, 29, 16) and encoder.device.type == "cpu"
    torch.testing.assert_close(encoder(audio[1]), frames[1:])
    slower = encoder(audio, sampling_rate=32000)
    assert slower.shape == (2, 14, 16)
