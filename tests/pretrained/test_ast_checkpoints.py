"""Checkpoints of AST and DeiT: every layout, ImageNet weights, refusals."""

import json
import re

import pytest
import torch
import torch.nn.functional as F

from audiomamba.lobes import AudioSpectrogramTransformer
from audiomamba.pretrained import CheckpointError, initialise, load_official
from audiomamba.pretrained.ast import fit_table

transformers = pytest.importorskip("transformers")


def official():
    """Return a small AST of transformers with random weights, and its head."""
    torch.manual_seed(1)
    config = transformers.ASTConfig(
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=1,
        intermediate_size=256,
        max_length=160,
        num_labels=7,
        layer_norm_eps=1e-6,
    )
    model = transformers.ASTForAudioClassification(config).eval()
    # transformers has one epsilon for all norms, the AST repository two.
    model.classifier.layernorm.eps = 1e-5
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.2)
    return model


# Current names in transformers -> names in the AST repository.
TO_REPOSITORY = [
    (r"^audio_spectrogram_transformer\.", "v."),
    (r"embeddings\.patch_embeddings\.projection", "patch_embed.proj"),
    (r"embeddings\.position_embeddings", "pos_embed"),
    (r"embeddings\.distillation_token", "dist_token"),
    (r"embeddings\.cls_token", "cls_token"),
    (r"layers\.(\d+)\.attention\.o_proj", r"blocks.\1.attn.proj"),
    (r"layers\.(\d+)\.layernorm_before", r"blocks.\1.norm1"),
    (r"layers\.(\d+)\.layernorm_after", r"blocks.\1.norm2"),
    (r"layers\.(\d+)\.mlp", r"blocks.\1.mlp"),
    (r"v\.layernorm", "v.norm"),
    (r"classifier\.layernorm", "mlp_head.0"),
    (r"classifier\.dense", "mlp_head.1"),
]
# Earlier names in transformers.
TO_EARLIER = [
    (r"transformer\.layers\.(\d+)", r"transformer.encoder.layer.\1"),
    (r"attention\.q_proj", "attention.attention.query"),
    (r"attention\.k_proj", "attention.attention.key"),
    (r"attention\.v_proj", "attention.attention.value"),
    (r"attention\.o_proj", "attention.output.dense"),
    (r"mlp\.fc1", "intermediate.dense"),
    (r"mlp\.fc2", "output.dense"),
]


def renamed(state, patterns):
    """Return a state dict with other names."""
    found = {}
    for key, value in state.items():
        for pattern, replacement in patterns:
            key = re.sub(pattern, replacement, key)
        found[key] = value
    return found


def in_repository_form(model):
    """Return the state of a model as the AST repository saves it."""
    state = renamed(model.state_dict(), TO_REPOSITORY)
    for i in range(2):
        for part in ("weight", "bias"):
            state[f"v.blocks.{i}.attn.qkv.{part}"] = torch.cat(
                [
                    state.pop(f"v.layers.{i}.attention.{n}_proj.{part}")
                    for n in "qkv"
                ]
            )
    leftovers = {
        "v.head.weight": torch.ones(9, 64),
        "v.head.bias": torch.ones(9),
    }
    leftovers |= {
        k.replace("head", "head_dist"): v for k, v in leftovers.items()
    }
    return {f"module.{k}": v for k, v in (state | leftovers).items()}


@pytest.mark.parametrize("form", ["present", "earlier", "repository", "file"])
def test_published_checkpoints_give_the_published_outputs(form, tmp_path):
    model = official()
    source = model.state_dict()
    if form == "earlier":
        source = renamed(source, TO_EARLIER)
        assert "layer.1.attention.attention.key" in " ".join(source)
    elif form == "repository":
        source = in_repository_form(model)
    elif form == "file":
        model.save_pretrained(tmp_path)
        source = tmp_path
    encoder, head = load_official(source, n_frames=160, stride=10)
    feats = torch.randn(2, 160, 128)
    with torch.no_grad():
        wanted = model(feats).logits
        found = head(encoder(feats))[:, 0]
    assert (found - wanted).abs().max() <= 1e-5 * wanted.abs().max()


def deit(distilled):
    """Return an ImageNet checkpoint of 14 x 14 patches with timm's names."""
    generator = torch.Generator().manual_seed(2)

    def new(*shape):
        return torch.randn(shape, generator=generator)

    n_tokens = 2 if distilled else 1
    state = {
        "cls_token": new(1, 1, 64),
        "pos_embed": new(1, 196 + n_tokens, 64),
    }
    if distilled:
        state |= {"dist_token": new(1, 1, 64), "head_dist.weight": new(10, 64)}
        state["head_dist.bias"] = new(10)
    state |= {"patch_embed.proj.weight": new(64, 3, 16, 16) / 30}
    state |= {"patch_embed.proj.bias": new(64), "head.weight": new(10, 64)}
    layers = {"attn.qkv": (192, 64), "attn.proj": (64, 64)}
    layers |= {"mlp.fc1": (256, 64), "mlp.fc2": (64, 256)}
    for name, shape in layers.items():
        state[f"blocks.0.{name}.weight"] = new(*shape) / 8
        state[f"blocks.0.{name}.bias"] = new(shape[0])
    for name in ("blocks.0.norm1", "blocks.0.norm2", "norm"):
        state |= {f"{name}.weight": new(64), f"{name}.bias": new(64)}
    return state | {"head.bias": new(10)}


def ast_of_deit(state, feats, grid):
    """Compute the AST of a DeiT from the papers, in plain PyTorch."""

    def linear(x, name):
        return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])

    def norm(x, name):
        return F.layer_norm(
            x, (64,), state[f"{name}.weight"], state[f"{name}.bias"], 1e-6
        )

    kernel = state["patch_embed.proj.weight"].sum(1, keepdim=True)
    bias = state["patch_embed.proj.bias"]
    x = F.conv2d(feats.mT[:, None], kernel, bias, stride=16)
    names = [k for k in ("cls_token", "dist_token") if k in state]
    table = state["pos_embed"][:, len(names) :].mT.unflatten(2, (14, 14))
    table = F.interpolate(table, size=(14, grid[1]), mode="bilinear")
    first = 7 - grid[0] // 2
    x = (x + table[:, :, first : first + grid[0]]).flatten(2).mT
    tokens = torch.cat([state[k] for k in names], 1)
    tokens = tokens + state["pos_embed"][:, : len(names)]
    x = torch.cat([tokens.expand(len(x), -1, -1), x], 1)
    q, k, v = linear(norm(x, "blocks.0.norm1"), "blocks.0.attn.qkv").chunk(3, 2)
    x = x + linear((q @ k.mT / 8).softmax(-1) @ v, "blocks.0.attn.proj")
    hidden = F.gelu(linear(norm(x, "blocks.0.norm2"), "blocks.0.mlp.fc1"))
    x = norm(x + linear(hidden, "blocks.0.mlp.fc2"), "norm")
    return F.layer_norm(x[:, : len(names)].mean(1, keepdim=True), (64,))


@pytest.mark.parametrize("distilled", [True, False])
def test_imagenet_weights_become_an_ast_as_in_the_authors_code(distilled):
    state = deit(distilled)
    feats = torch.randn(2, 320, 128)
    wanted = ast_of_deit(state, feats, (8, 20))
    encoder, head = load_official({"model": state}, n_frames=320)
    assert head is None
    with torch.no_grad():
        found = encoder(feats)
    assert (found - wanted).abs().max() <= 1e-5 * wanted.abs().max()

    target = AudioSpectrogramTransformer(
        n_frames=320, embed_dim=64, depth=1, distilled=distilled
    )
    classifier = torch.nn.Linear(64, 10)
    before = classifier.weight.clone()
    assert not initialise(target, classifier, state)
    with torch.no_grad():
        assert torch.equal(target.eval()(feats), found)
    assert torch.equal(classifier.weight, before)


def test_position_tables_are_cut_in_the_middle_or_interpolated():
    table = torch.arange(12.0 * 101).reshape(12, 101, 1)
    assert torch.equal(fit_table(table, (12, 101)), table)
    assert torch.equal(fit_table(table, (12, 33)), table[:, 34:67])
    assert torch.equal(fit_table(table, (5, 33)), table[4:9, 34:67])
    doubled = fit_table(table, (12, 202))[0, :, 0]
    assert torch.allclose(doubled[1:5], torch.tensor([0.25, 0.75, 1.25, 1.75]))


def test_the_classifier_and_its_norm_are_loaded_only_if_they_fit():
    source = official().state_dict()
    size = dict(n_frames=320, embed_dim=64, depth=2)
    for n_classes, fits in ((7, True), (5, False)):
        encoder = AudioSpectrogramTransformer(**size)
        classifier = torch.nn.Linear(64, n_classes)
        assert initialise(encoder, classifier, source, 10) is fits
        fresh = torch.equal(encoder.head_norm.weight, torch.ones(64))
        assert fresh is not fits
        if fits:
            weight = source["classifier.dense.weight"]
            assert torch.equal(classifier.weight, weight)


@pytest.mark.parametrize(
    "damage, words",
    [
        (
            lambda s: s.update(deit(False)) or s.pop("dist_token"),
            "distilled=False",
        ),
        (
            lambda s: s.pop("blocks.0.norm1.bias"),
            "layernorm_before.bias is mis",
        ),
        (lambda s: s.update(strange=torch.ones(1)), "strange is unknown"),
        (
            lambda s: s.pop("patch_embed.proj.weight"),
            "not a checkpoint of an AST",
        ),
        (lambda s: s.update(pos_embed=torch.ones(1, 200, 64)), "not a square"),
    ],
)
def test_a_refused_checkpoint_changes_nothing(damage, words):
    state = deit(distilled=True)
    damage(state)
    encoder = AudioSpectrogramTransformer(n_frames=64, embed_dim=64, depth=1)
    before = {k: v.clone() for k, v in encoder.state_dict().items()}
    with pytest.raises(CheckpointError, match=words):
        initialise(encoder, None, state)
    after = encoder.state_dict()
    assert all(torch.equal(after[k], v) for k, v in before.items())


def test_the_stride_of_the_published_model_is_found():
    with torch.device("meta"):
        published = AudioSpectrogramTransformer(stride=10, depth=1)
    state = {k: torch.zeros(v.shape) for k, v in published.state_dict().items()}
    encoder, _ = load_official(state)
    assert encoder.pos_embed.grid == (12, 101)
    assert (encoder.stride, encoder.n_frames) == ((10, 10), 1024)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="nothing.pth"):
        load_official(tmp_path / "nothing.pth")


@pytest.mark.parametrize(
    "arguments",
    [dict(cls_token="both"), dict(cls_token=None), dict(token_order="time")],
)
def test_arguments_of_audio_mamba_alone_are_refused(arguments):
    with pytest.raises(CheckpointError, match=f"{[*arguments][0]}.*out"):
        load_official(deit(distilled=True), **arguments)
    encoder, _ = load_official(deit(distilled=True), cls_token="front")
    assert encoder.tokens == ("cls_token", "dist_token")


def transformers_ast(n_frames, **settings):
    """An untrained AST of ``transformers``."""
    config = transformers.ASTConfig(
        hidden_size=64,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=256,
        max_length=n_frames,
        num_labels=35,
        layer_norm_eps=1e-6,
        **settings,
    )
    torch.manual_seed(0)
    model = transformers.ASTForAudioClassification(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return model


@pytest.mark.parametrize(
    "n_frames, settings",
    [
        (128, {}),
        (512, {}),
        (998, {}),
        (128, {"time_stride": 8, "frequency_stride": 16}),
        (128, {"num_mel_bins": 64, "time_stride": 16}),
    ],
)
def test_the_settings_beside_the_weights_tell_the_patches(
    tmp_path, n_frames, settings
):
    model = transformers_ast(n_frames, **settings)
    model.save_pretrained(tmp_path)
    encoder, head = load_official(tmp_path)
    assert encoder.n_frames == n_frames
    assert encoder.n_mels == settings.get("num_mel_bins", 128)
    feats = torch.randn(2, n_frames, encoder.n_mels)
    with torch.no_grad():
        found = head(encoder(feats)).squeeze(1)
        wanted = model(feats).logits
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=0)
    same, _ = load_official(tmp_path / "model.safetensors")
    assert (same.stride, same.n_frames) == (encoder.stride, n_frames)


def test_patches_of_several_strides_are_not_guessed():
    """12 x 12 with AST's stride of 10 are as many as 8 x 18 without overlap."""
    state = transformers_ast(128).state_dict()
    complaint = r"stride=10 \(126 to 135 frames\) or stride=16 \(288 to 303"
    with pytest.raises(CheckpointError, match=complaint):
        load_official(state)
    for given in ({"stride": 10}, {"n_frames": 128}):
        encoder, _ = load_official(state, **given)
        assert (encoder.stride, encoder.n_frames) == ((10, 10), 128)
    encoder, _ = load_official(state, stride=16)
    assert encoder.n_frames == 288
    # where one usual stride alone fits, no unusual one is preferred
    encoder, _ = load_official(transformers_ast(998).state_dict())
    assert (encoder.stride, encoder.n_frames) == ((10, 10), 1000)


@pytest.mark.parametrize(
    "change, words",
    [({"max_length": 999}, "configuration beside it"),
     ({"max_length": -1}, "max_length is -1"),
     ({"time_stride": "ten"}, "time_stride is 'ten'")],
)  # fmt: skip
def test_settings_that_contradict_the_weights_are_refused(
    tmp_path, change, words
):
    transformers_ast(128).save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(CheckpointError, match=words):
        load_official(tmp_path)
