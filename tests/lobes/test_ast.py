"""The AST baseline: lengths, parameters, attention mask."""

import pytest
import torch
import torch.nn.functional as F

from audiomamba.lobes import AudioMamba, AudioSpectrogramTransformer

pytest.importorskip("transformers")


def small(**arguments):
    """Return a tiny encoder with weights that are not symmetric."""
    torch.manual_seed(0)
    settings = dict(n_mels=64, n_frames=100, stride=(16, 10), embed_dim=64)
    settings |= dict(depth=2, n_heads=2)
    return AudioSpectrogramTransformer(**{**settings, **arguments}).eval()


@pytest.mark.parametrize("distilled", [True, False])
@pytest.mark.parametrize("output", ["embedding", "frames", "tokens"])
def test_the_output_for_a_clip_does_not_depend_on_its_batch(
    distilled, output, check_batch_invariance
):
    check_batch_invariance(small(distilled=distilled, output=output))


def test_padding_gets_no_gradient(check_gradient_of_padding):
    check_gradient_of_padding(small())


def test_without_lengths_no_mask_reaches_the_attention(monkeypatch):
    masks, original = [], F.scaled_dot_product_attention

    def spy(*arguments, attn_mask=None, **keywords):
        masks.append(attn_mask)
        return original(*arguments, attn_mask=attn_mask, **keywords)

    monkeypatch.setattr(F, "scaled_dot_product_attention", spy)
    half, feats = torch.tensor([0.5]), torch.randn(1, 80, 64)
    small()(feats)
    small(mask_padding=False)(feats, half)
    assert masks == [None] * 4
    small()(feats, half)
    assert len(masks) == 6 and masks[-1].sum() == masks[-1].numel() // 2 - 1


def test_ast_takes_the_arguments_of_audio_mamba():
    shared = dict(n_mels=64, n_frames=80, embed_dim=64, depth=2)
    feats, lengths = torch.randn(2, 90, 64), torch.tensor([1.0, 0.4])
    for output in ("embedding", "frames"):
        shapes = {
            build(**shared, output=output)(feats, lengths).shape
            for build in (AudioMamba, AudioSpectrogramTransformer)
        }
        assert len(shapes) == 1
    resized = [
        build(**shared)(feats, patch_size=8, stride=8, output="frames").shape
        for build in (AudioMamba, AudioSpectrogramTransformer)
    ]
    assert resized == [(2, 11, 64)] * 2


def test_speechbrain_does_not_mistake_ast_for_a_hugging_face_model():
    assert not hasattr(small(), "config")


@pytest.mark.parametrize(
    "arguments, millions",
    [
        # Published for AST with a stride of 10 x 10.
        (dict(stride=10), 86.594063),
        (dict(distilled=False), 86.054927),
        (dict(distilled=False, embed_dim=384), 21.794063),
    ],
)
def test_parameter_counts_with_the_classifier_of_audioset(arguments, millions):
    with torch.device("meta"):
        encoder = AudioSpectrogramTransformer(**arguments)
    head = 527 * (encoder.embed_dim + 1)
    counted = sum(p.numel() for p in encoder.parameters()) + head
    assert counted == round(millions * 1e6)


def test_drop_path_drops_branches_of_whole_samples():
    encoder = small(drop_path=0.9, depth=3)
    assert [layer.dropout.rate for layer in encoder.layers] == [0, 0.45, 0.9]
    layer = encoder.layers[2].train()
    x = torch.randn(64, 5, 64)
    unchanged = (layer(x) == x).flatten(1).all(1)
    assert 0.5 < unchanged.float().mean() < 1
    assert not (layer.eval()(x) == x).flatten(1).all(1).any()


@pytest.mark.parametrize(
    "arguments, words",
    [
        (dict(output="clip"), "'embedding', 'frames', .*'tokens'"),
        (dict(n_heads=3), "64 cannot be split into 3 heads"),
        (dict(patch_size=0), "positive"),
    ],
)
def test_invalid_arguments_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        small(**arguments)


@pytest.mark.parametrize("shape", [(2, 80), (2, 80, 63), (2, 0, 64)])
def test_input_of_another_shape_is_refused(shape):
    with pytest.raises(ValueError, match=r"\[batch, frames, 64\]"):
        small()(torch.randn(shape))


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"drop_path": 1.0}, "drop_path is 1.0"),
        ({"patch_size": 200}, "1 to 64 bins"),
        ({"depth": 0}, "depth is 0"),
        ({"n_heads": 0}, "n_heads is 0"),
        ({"n_heads": 3}, "3 heads"),
    ],
)
def test_arguments_without_meaning_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        small(**arguments)
