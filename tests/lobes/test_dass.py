"""DASS: lengths, sizes, initialisation, parameter counts, precision.

`tests/pretrained/test_dass_checkpoints.py` compares it with the formulas.
"""

import math

import pytest
import torch

import audiomamba
from audiomamba.lobes import DASS, AudioMamba, dass_medium, dass_small
from audiomamba.nnet.block import DropPath
from audiomamba.ops import available_engines, use_engine


def small(**arguments):
    """Return a tiny encoder with weights that are far from symmetric."""
    torch.manual_seed(0)
    settings = dict(n_mels=64, widths=[8, 16, 24, 32], depths=[1, 2, 1, 1])
    encoder = DASS(**{**settings, **arguments}).eval()
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    return encoder


@pytest.mark.parametrize("output", ["embedding", "frames", "rows", "tokens"])
def test_the_output_for_a_clip_does_not_depend_on_its_batch(
    output, check_batch_invariance
):
    check_batch_invariance(small(output=output))


@torch.no_grad()
def test_nothing_of_a_hidden_place_reaches_its_neighbours():
    encoder, feats = small(), torch.randn(1, 75, 64)
    mask, token = torch.zeros(1, 2, 2, dtype=torch.bool), torch.ones(8)
    mask[0, 1, 1] = True

    def encode(feats):
        return encoder(feats, output="patches", mask=mask, mask_token=token)

    other = feats.clone()
    other[:, 32:64, 32:] += 1.0
    assert encode(feats).shape == (1, 2, 3, 32)
    assert torch.equal(encode(feats), encode(other))
    other[:, 64, 40] += 1.0  # of a part that is no whole place
    assert not torch.equal(encode(feats), encode(other))
    with pytest.raises(ValueError, match="mask_token"):
        encoder(feats, mask=mask)


@torch.no_grad()
def test_rows_are_means_over_the_own_frames():
    encoder, feats = small(), torch.randn(2, 100, 64)
    lengths = torch.tensor([1.0, 0.4])
    rows = encoder(feats, lengths, output="rows")
    patches = encoder(feats, lengths, output="patches")
    torch.testing.assert_close(rows[1], patches[1, :, :2].mean(1))
    assert patches[1, :, 2:].abs().max() == 0
    torch.testing.assert_close(encoder(feats, output="rows")[0], rows[0])


@torch.no_grad()
@pytest.mark.parametrize("engine", available_engines("cpu"))
def test_no_length_lets_padding_in(engine):
    """Not even NaN, with the grid's edges at every place of a column."""
    encoder = small()
    edges = [1, 2, 3, 4, 5, 15, 16, 17, 31, 32, 33, 47, 63, 64, 65, 95, 97]
    n_frames = torch.tensor([*edges, 128, 129, 160, 161])
    feats = torch.randn(len(n_frames), 161, 64)
    for clip, n in zip(feats, n_frames):
        clip[n:] = torch.nan
    with use_engine(engine):
        together = encoder(feats, n_frames / 161, output="frames")
        embeddings = encoder(feats, n_frames / 161)
        for i, n in enumerate(n_frames):
            alone = encoder(feats[i : i + 1, :n], output="frames")
            assert alone.shape[1] == math.ceil(n / 32)
            bound = 1e-5 * alone.abs().max()
            own, rest = together[i].split([alone.shape[1], 6 - alone.shape[1]])
            assert (own - alone[0]).abs().max() <= bound, n
            assert torch.equal(rest, torch.zeros_like(rest))
            alone = encoder(feats[i : i + 1, :n])
            assert (embeddings[i] - alone[0]).abs().max() <= bound, n


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


@pytest.mark.parametrize("n_mels", [1, 5, 80, 128])
@pytest.mark.parametrize("n_frames", [1, 2, 33])
def test_input_of_any_size_is_encoded(n_mels, n_frames):
    encoder, feats = small(n_mels=n_mels), torch.randn(2, n_frames, n_mels)
    n_columns, n_rows = math.ceil(n_frames / 32), math.ceil(n_mels / 32)
    assert encoder(feats).shape == (2, 1, 32)
    frames = encoder(feats, output="frames")
    tokens = encoder(feats, output="tokens")
    assert frames.shape == (2, n_columns, 32)
    assert tokens.shape == (2, n_columns * n_rows, 32)
    by_frame = tokens.unflatten(1, (n_columns, n_rows)).mean(2)
    torch.testing.assert_close(by_frame, frames)
    torch.testing.assert_close(frames.mean(1, keepdim=True), encoder(feats))


@pytest.mark.parametrize(
    "build, millions", [(dass_small, 29.884463), (dass_medium, 48.648239)]
)
def test_parameter_counts_are_those_of_the_paper(build, millions):
    with torch.device("meta"):
        encoder = build()
        head = torch.nn.Linear(encoder.embed_dim, 527)
    modules = torch.nn.ModuleList([encoder, head])
    count = sum(p.numel() for p in modules.parameters())
    assert count == round(millions * 1e6)
    assert not list(encoder.buffers())


def test_weights_are_initialised_as_in_the_authors_code():
    torch.manual_seed(0)
    encoder = DASS(widths=[32, 64], depths=[1, 1], state_size=3)
    block = encoder.layers[1].blocks[0]
    op, mlp = block.op, block.mlp
    for linear in (op.in_proj, op.out_proj, mlp.fc1, mlp.fc2):
        assert abs(linear.weight.std() - 0.02) < 0.002
    assert not mlp.fc1.bias.any() and not mlp.fc2.bias.any()
    for weight, bound in (
        (op.x_proj_weight, 1 / 8),
        (op.dt_projs_weight, 1 / 2),
        (encoder.patch_embed.first.conv.weight, 1 / 3),
    ):
        assert 0.9 * bound < weight.abs().max() <= bound
    step = torch.nn.functional.softplus(op.dt_projs_bias)
    assert 0.001 <= step.min() * 1.001 and step.max() <= 0.1 * 1.001
    assert torch.equal(op.A_logs[7], torch.arange(1.0, 4).log())
    assert op.A_logs.shape == (256, 3)
    assert torch.equal(op.Ds, torch.ones(256))


def test_every_parameter_decays_as_in_the_authors_training():
    tagged = [hasattr(p, "_no_weight_decay") for p in small().parameters()]
    assert not any(tagged)


def test_drop_path_rises_over_all_blocks_and_drops_whole_clips():
    encoder = small(depths=[1, 2, 1, 1], drop_path=0.8)
    drops = [m for m in encoder.modules() if isinstance(m, DropPath)]
    rates = [drop.rate for drop in drops]
    assert rates == pytest.approx([0, 0.2, 0.4, 0.6, 0.8])
    block, x = encoder.layers[3].blocks[0].train(), torch.randn(64, 2, 2, 32)
    unchanged = (block(x) == x).flatten(1).all(1)
    assert 0.3 < unchanged.float().mean() < 1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_keeps_norms_and_states_wide(dtype):
    encoder, feats = small(), torch.randn(2, 70, 64)
    lengths = torch.tensor([1.0, 0.6])
    wanted, seen = encoder(feats, lengths), []
    for module in encoder.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.register_forward_hook(
                lambda _, inputs, output: seen.append(output.dtype)
            )
    with torch.autocast("cpu", dtype):
        found = encoder(feats, lengths)
        found.square().mean().backward()
    assert set(seen) == {torch.float32} and found.dtype == torch.float32
    assert (found - wanted).abs().max() < 0.05 * wanted.abs().max()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize(
    "arguments, words",
    [
        (dict(output="all"), "'embedding', 'frames', .*'tokens'"),
        (dict(drop_path=1.0), "drop_path is 1.0"),
        (dict(drop_path=-0.1), "drop_path is -0.1"),
        (dict(n_mels=0), "n_mels is 0"),
        (dict(state_size=1.5), "state_size is 1.5"),
        (dict(depths=[1, 0, 1, 1]), "depths is 0"),
        (dict(depths=[1, 1]), "one of each per stage"),
        (dict(widths=[], depths=[]), "one of each per stage"),
        (dict(widths=[7, 8], depths=[1, 1]), "even"),
    ],
)
def test_invalid_arguments_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        small(**arguments)


@pytest.mark.parametrize("name", ["patch_size", "n_frames", "depth", "scan"])
def test_arguments_without_meaning_are_refused(name):
    with pytest.raises(TypeError, match=name):
        DASS(**{name: 16})


@pytest.mark.parametrize("shape", [(2, 80), (2, 80, 63), (2, 0, 64)])
def test_input_of_another_shape_is_refused(shape):
    with pytest.raises(ValueError, match=r"\[batch, frames, 64\]"):
        small()(torch.randn(shape))


@pytest.mark.parametrize(
    "lengths", [torch.tensor([80, 40]), torch.tensor([0.5]), torch.ones(2) * 2]
)
def test_lengths_that_are_not_relative_are_refused(lengths):
    with pytest.raises(ValueError, match="relative"):
        small()(torch.randn(2, 80, 64), lengths)


def test_dass_replaces_audio_mamba():
    feats, lengths = torch.randn(2, 90, 64), torch.tensor([1.0, 0.4])
    dass, aum = small(), AudioMamba(64, 90, embed_dim=32, depth=1)
    assert dass.embed_dim == aum.embed_dim
    assert dass(feats, lengths).shape == aum(feats, lengths).shape
    assert {"DASS", "dass_small", "dass_medium"} <= {*dir(audiomamba)}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_compiles_without_a_graph_break(dtype):
    encoder, feats = small().to(dtype), torch.randn(2, 60, 64, dtype=dtype)
    lengths = torch.tensor([1.0, 0.5])
    compiled = torch.compile(encoder, fullgraph=True, backend="aot_eager")
    found, wanted = compiled(feats, lengths), encoder(feats, lengths)
    torch.testing.assert_close(found, wanted)
    parameters = list(encoder.parameters())
    found, wanted = (
        torch.autograd.grad(output.sin().sum(), parameters)
        for output in (found, wanted)
    )
    for gradient, usual in zip(found, wanted):
        error = (gradient - usual).abs().max() / usual.abs().max()
        assert error < 5e-6
