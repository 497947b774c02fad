"""A stream of an encoder equals one pass over the whole."""

import pytest
import torch

from audiomamba import AudioMamba
from audiomamba.lobes.stream import Framer


def make(cls_token=None, n_frames=64, **options):
    torch.manual_seed(0)
    settings = {
        "n_mels": 32,
        "patch_size": (16, 8),
        "stride": (16, 8),
        "embed_dim": 16,
        "depth": 3,
        "scan": "fo_fo",
        "token_order": "time",
    }
    encoder = AudioMamba(
        n_frames=n_frames, cls_token=cls_token, **{**settings, **options}
    )
    for block in encoder.layers:
        # Slow decay: the past counts
        torch.nn.init.normal_(block.mixer.dt_proj.bias, -3.0)
    return encoder.eval()


@pytest.mark.parametrize("cls_token", [None, "front", "end"])
@pytest.mark.parametrize("piece", [1, 7, 60])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"stride": (16, 5)},
        {"stride": (16, 11)},
        {"patch_size": (32, 4), "stride": (32, 4), "token_order": "frequency"},
        {"conv_size": 1, "expansion": 1},
    ],
)
def test_a_stream_equals_the_whole_pass(cls_token, piece, options):
    encoder, feats = make(cls_token, **options), torch.randn(2, 60, 32)
    stream = encoder.stream()
    with torch.no_grad():
        wanted = encoder(feats, output="frames")
        emb = encoder(feats)
    pieces = [stream.step(part) for part in feats.split(piece, 1)]
    frames = torch.cat(pieces, 1)
    torch.testing.assert_close(frames, wanted, atol=1e-5, rtol=0)
    torch.testing.assert_close(stream.embedding(), emb, atol=1e-5, rtol=0)


@pytest.mark.parametrize("cls_token", [None, "end"])
def test_the_embedding_is_that_of_the_sound_so_far(cls_token):
    encoder, feats = make(cls_token), torch.randn(1, 64, 32)
    stream = encoder.stream()
    for stop in (8, 24, 64):
        stream.step(feats[:, stream.done * 8 : stop])
        with torch.no_grad():
            wanted = encoder(feats[:, :stop])
        torch.testing.assert_close(
            stream.embedding(), wanted, atol=1e-5, rtol=0
        )


def test_one_column_of_positions_streams_without_end():
    encoder, feats = make(n_frames=8), torch.randn(1, 4000, 32)
    stream = encoder.stream()
    with torch.no_grad():
        wanted = encoder(feats, output="frames")
    frames = torch.cat([stream.step(part) for part in feats.split(400, 1)], 1)
    torch.testing.assert_close(frames, wanted, atol=1e-5, rtol=0)
    # What is kept does not grow
    sizes = [
        state.inputs.numel() + state.hidden.numel() for state in stream.states
    ]
    assert sizes == [32 * (3 + 16)] * 3 and stream.framer.rest.numel() == 0


def test_the_callers_buffer_may_be_used_again():
    buffer, framer = torch.arange(5.0)[None], Framer(size=4, hop=4)
    framer.add(buffer)
    buffer += 5
    assert framer.add(buffer)[1].tolist() == [[4.0, 5.0, 6.0, 7.0]]


def test_a_step_can_be_too_short_for_a_column():
    stream = make().stream()
    with pytest.raises(ValueError, match="no column of 8 frames"):
        stream.embedding()
    assert stream.step(torch.randn(1, 0, 32)).shape == (1, 0, 16)
    assert stream.step(torch.randn(1, 7, 32)).shape == (1, 0, 16)
    assert stream.step(torch.randn(1, 1, 32)).shape == (1, 1, 16)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"scan": "fo_bi"}, "scan is 'fo_bi'"),
        ({"token_order": "frequency"}, "token_order is 'frequency'"),
        ({"cls_token": "middle"}, "cls_token is 'middle'"),
        ({"cls_token": "both"}, "cls_token is 'both'"),
    ],
)
def test_encoders_that_look_ahead_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        make(**options).stream()


def test_limits_are_explained():
    encoder = make()
    stream = encoder.stream()
    stream.step(torch.randn(1, 64, 32))
    with pytest.raises(ValueError, match="covers 8 columns.*n_frames: 8"):
        stream.step(torch.randn(1, 8, 32))
    with pytest.raises(ValueError, match="call eval"):
        encoder.train().stream()
