"""The encoder: lengths, sizes, initialisation, parameter counts."""

import copy
import itertools
import math

import pytest
import torch

from audiomamba import AudioMamba, aum_base, aum_small, aum_tiny
from audiomamba.nnet.mixer import SCANS
from audiomamba.nnet.tokens import CLS_TOKENS, TOKEN_ORDERS
from audiomamba.ops import available_engines, use_engine

EVERY = list(itertools.product(SCANS, CLS_TOKENS, TOKEN_ORDERS))


def small(**arguments):
    """Return a tiny encoder with weights that are not symmetric."""
    torch.manual_seed(0)
    settings = dict(n_mels=64, n_frames=100, stride=(16, 10), embed_dim=32)
    return AudioMamba(**{**settings, "depth": 2, **arguments}).eval()


@pytest.mark.parametrize("scan, cls_token, token_order", EVERY)
@pytest.mark.parametrize("output", ["embedding", "frames"])
def test_the_output_for_a_clip_does_not_depend_on_its_batch(
    scan, cls_token, token_order, output, check_batch_invariance
):
    encoder = small(
        scan=scan, cls_token=cls_token, token_order=token_order, output=output
    )
    check_batch_invariance(encoder)


def test_frames_and_rows_are_means_of_the_patches(check_batch_invariance):
    encoder, feats = small(cls_token="both"), torch.randn(2, 80, 64)
    lengths = torch.tensor([1.0, 0.5])
    patches, frames, rows = (
        encoder(feats, lengths, output=output)
        for output in ("patches", "frames", "rows")
    )
    assert patches.shape == (2, 4, 7, 32)
    torch.testing.assert_close(frames, patches.mean(1))
    torch.testing.assert_close(rows[0], patches[0].mean(1))
    assert patches[1, :, 3:].abs().max() == 0
    torch.testing.assert_close(rows[1], patches[1, :, :3].mean(1))
    encoder.output = "rows"
    check_batch_invariance(encoder)


@pytest.mark.parametrize("scan", SCANS)
def test_a_hidden_patch_is_replaced_and_its_place_is_known(scan):
    encoder, feats = small(scan=scan), torch.randn(1, 80, 64)
    mask, token = torch.zeros(1, 4, 7, dtype=torch.bool), torch.ones(32)
    mask[0, 2, 3] = True

    def encode(feats, mask):
        return encoder(feats, output="patches", mask=mask, mask_token=token)

    other = feats.clone()
    other[0, 30:40, 32:48] += 1  # of patch (2, 3) alone, beside overlaps
    mask[0, 2, 2] = mask[0, 2, 4] = True
    assert torch.equal(encode(feats, mask), encode(other, mask))
    assert not torch.allclose(encode(feats, mask), encode(feats, ~mask))
    none = torch.zeros_like(mask)
    assert torch.equal(encode(feats, none), encoder(feats, output="patches"))
    everything = encode(feats, torch.ones_like(mask))
    assert not torch.allclose(everything[0, 0], everything[0, 1])


@pytest.mark.parametrize("engine", available_engines("cpu"))
def test_padding_gets_no_gradient(engine, check_gradient_of_padding):
    with use_engine(engine):
        check_gradient_of_padding(small())


def test_without_lengths_padding_is_content():
    encoder, feats = small(), torch.randn(1, 80, 64)
    feats[:, 40:] = 0
    half = torch.tensor([0.5])
    assert not torch.allclose(encoder(feats), encoder(feats, half))
    ignoring = small(mask_padding=False)
    assert torch.equal(ignoring(feats, half), encoder(feats))


@pytest.mark.parametrize("scan", SCANS)
def test_patch_size_and_stride_can_change_at_run_time(scan):
    encoder = small(scan=scan, n_frames=128, stride=16)
    feats = torch.randn(2, 128, 64)
    tokens = encoder(feats, patch_size=8, stride=8, output="tokens")
    assert tokens.shape == (2, 8 * 16 + 1, 32)
    wider = encoder(feats, stride=(16, 8), output="tokens")
    assert wider.shape == (2, 4 * 15 + 1, 32)


def test_weights_are_initialised_as_in_the_authors_code():
    torch.manual_seed(0)
    encoder = AudioMamba(embed_dim=96, depth=6, scan="bi_bi")
    mixer = encoder.layers[0].mixer
    bound = math.sqrt(1 / mixer.inner_dim) / math.sqrt(6)
    assert mixer.out_proj.weight.abs().max() <= bound
    assert mixer.out_proj.weight.abs().max() > 0.95 * bound
    assert torch.equal(mixer.A_log[5], torch.arange(1.0, 17).log())
    assert torch.equal(mixer.D_b, torch.ones(192))
    step = torch.nn.functional.softplus(mixer.dt_proj_b.bias)
    assert 0.001 <= step.min() * 1.001 and step.max() <= 0.1 * 1.001
    assert abs(encoder.pos_embed.pos_embed.std() - 0.02) < 0.001
    assert abs(encoder.patch_embed.proj.weight.std() - 1 / 16) < 0.005
    assert encoder.patch_embed.proj.bias.abs().max() == 0


def test_these_parameters_have_no_weight_decay():
    encoder = small(scan="bi_bi", cls_token="both")
    kept = {name.split(".")[-1] for name in encoder.no_weight_decay()}
    assert kept == {
        "A_log",
        "A_b_log",
        "D",
        "D_b",
        "pos_embed",
        "cls_token_head",
        "cls_token_tail",
    }
    copied = copy.deepcopy(encoder)
    assert copied.no_weight_decay() == encoder.no_weight_decay()
    names = encoder.no_weight_decay()
    copied.load_state_dict(encoder.state_dict(), assign=True)
    assert copied.no_weight_decay() == names
    empty = copy.deepcopy(encoder).to("meta").to_empty(device="cpu")
    assert empty.no_weight_decay() == names


def test_a_patch_size_of_a_meta_model_serves_a_real_one():
    for device in ("meta", "cpu"):
        with torch.device(device):
            out = small()(torch.ones(1, 40, 64), patch_size=7)
    assert out.isfinite().all()


@pytest.mark.parametrize(
    "build, scan, n_classes, millions",
    [
        (aum_base, "fo_bi", 527, 92.108),
        (aum_base, "fo_bi", 309, 91.940),
        (aum_base, "fo_bi", 1251, 92.664),
        (aum_base, "fo_bi", 44, 91.736),
        (aum_base, "fo_fo", 527, 91.518),
        (aum_base, "bi_bi", 527, 97.084),
        (aum_small, "bi_bi", 527, 25.539),
        (aum_small, "bi_bi", 309, 25.455),
        (aum_small, "bi_bi", 1251, 25.818),
        (aum_small, "bi_bi", 44, 25.353),
    ],
)
def test_parameter_counts_are_those_of_the_paper(
    build, scan, n_classes, millions
):
    with torch.device("meta"):
        encoder = build(scan=scan)
        head = torch.nn.Linear(encoder.embed_dim, n_classes)
    modules = torch.nn.ModuleList([encoder, head])
    count = sum(p.numel() for p in modules.parameters())
    assert round(count / 1e6, 3) == millions


@pytest.mark.parametrize(
    "build, scan, millions",
    [(aum_base, "fo_bi", 91.385), (aum_small, "bi_bi", 25.178)],
)
def test_the_speech_commands_models_cover_fewer_frames(build, scan, millions):
    with torch.device("meta"):
        encoder = build(scan=scan, n_frames=128)
        head = torch.nn.Linear(encoder.embed_dim, 35)
    modules = torch.nn.ModuleList([encoder, head])
    count = sum(p.numel() for p in modules.parameters())
    assert round(count / 1e6, 3) == millions


def test_the_factories_differ_in_width():
    with torch.device("meta"):
        widths = [f(depth=1).embed_dim for f in (aum_tiny, aum_small, aum_base)]
    assert widths == [192, 384, 768]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(scan="fo"), "'fo_fo', 'fo_bi', 'bi_bi'"),
        (dict(cls_token="head"), "'front', 'middle'"),
        (dict(token_order="t"), "'frequency', 'time'"),
        (dict(output="all"), "'embedding', 'frames'"),
    ],
)
def test_invalid_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        small(**arguments)


def test_another_number_of_mel_bins_is_refused():
    with pytest.raises(ValueError, match="n_mels"):
        small()(torch.randn(1, 50, 80))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_compiles_without_a_graph_break(dtype):
    encoder, feats = small().to(dtype), torch.randn(2, 60, 64, dtype=dtype)
    lengths = torch.tensor([1.0, 0.5])
    compiled = torch.compile(encoder, fullgraph=True, backend="aot_eager")
    found, wanted = compiled(feats, lengths), encoder(feats, lengths)
    torch.testing.assert_close(found, wanted)
    parameters = list(encoder.parameters())
    # Not the sum of squares: the norm fixes it, so its gradient is zero.
    found, wanted = (
        torch.autograd.grad(output.sin().sum(), parameters)
        for output in (found, wanted)
    )
    if dtype == torch.float64:
        torch.testing.assert_close(found, wanted)
    for gradient, usual in zip(found, wanted):
        # A small entry is the difference of large ones and rounds like them:
        # only float64 meets the usual tolerance in every entry.
        error = (gradient - usual).abs().max() / usual.abs().max()
        assert error < 5e-6


@pytest.mark.parametrize("name", ["AudioMamba", "aum_tiny", "load_official"])
def test_public_names_are_listed(name):
    import audiomamba

    assert name in dir(audiomamba)


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"drop_path": 1.0}, r"drop_path is 1.0.*\[0, 1\)"),
        ({"drop_path": -0.5}, "drop_path is -0.5"),
        ({"n_mels": 13}, "1 to 13 bins"),
        ({"patch_size": 200}, "1 to 64 bins"),
        ({"stride": 0}, "stride is 0"),
        ({"n_mels": 0}, "n_mels is 0"),
        ({"n_frames": 0}, "n_frames is 0"),
        ({"embed_dim": -1}, "embed_dim is -1"),
        ({"depth": 0}, "depth is 0"),
        ({"state_size": 0}, "state_size is 0"),
        ({"conv_size": 2.0}, "conv_size is 2.0"),
        ({"expansion": 0}, "expansion is 0"),
    ],
)
def test_arguments_without_meaning_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        small(**arguments)


@pytest.mark.parametrize(
    "lengths", [[80.0, 40.0], [1.0, math.nan], [1.0, 0.0], [1.0]]
)
def test_lengths_that_are_not_relative_are_refused(lengths):
    with pytest.raises(ValueError, match="length"):
        small()(torch.randn(2, 80, 64), torch.tensor(lengths))


def test_a_patch_higher_than_the_spectrogram_is_refused_at_run_time():
    with pytest.raises(ValueError, match="1 to 64 bins"):
        small()(torch.randn(1, 80, 64), patch_size=65)
