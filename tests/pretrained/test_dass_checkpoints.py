"""Checkpoints of DASS and VMamba: every form, and what is refused."""

import collections
import logging
import re
import sys
import types

import pytest
import torch
from safetensors.torch import save_file

from audiomamba.lobes import DASS, AudioMamba
from audiomamba.ops import available_engines, use_engine
from audiomamba.pretrained import CheckpointError, initialise, load_official

from .dass_reference import (
    CLASSES,
    DEPTHS,
    PREFIX,
    WIDTHS,
    Reference,
    official,
    shapes,
)


def to_hub(state):
    """Rename as in the hub's copies."""
    renamed = {}
    numbers = {"0": "0", "2": "1", "5": "3", "7": "4"}
    for key, value in state.items():
        key = key.removeprefix(PREFIX)
        if match := re.match(r"patch_embed\.(\d)", key):
            new = f"patch_embeddings.projection.{numbers[match[1]]}"
            key = key.replace(match[0], new)
        key = key.replace("downsample.1", "downsample.down")
        key = key.replace("downsample.3", "downsample.norm")
        if match := re.search(r"(x_proj|dt_projs)_weight", key):
            key = key.replace("_weight", ".weight")
            value = value.flatten(0, 1)
        key = key.replace("classifier.", "")
        if not key.startswith("head."):
            key = f"dass.{key}"
        renamed[key] = value
    return renamed


def to_kernels(state):
    """Give matrices the shape of 1 x 1 kernels."""
    names = ("in_proj.weight", "out_proj.weight", "fc1.weight", "fc2.weight")
    return {
        key: value[..., None, None] if key.endswith(names) else value
        for key, value in state.items()
    }


def to_older(state):
    """Rename as in VMamba's older files."""
    pairs = [
        (".norm.", ".ln_1."),
        (".norm2.", ".ln_2."),
        (".op.", ".self_attention."),
        ("classifier.ln_1.", "norm."),
        ("classifier.head.", "head."),
        ("patch_embed.0", "patch_embed.proj"),
        ("patch_embed.2", "patch_embed.norm"),
    ]
    renamed = {}
    for key, value in state.items():
        for new, old in pairs:
            key = key.replace(new, old)
        renamed[key] = value
    return renamed


def bare(state):
    """Leave out the prefix, as in VMamba's files."""
    return {key.removeprefix(PREFIX): value for key, value in state.items()}


FORMS = {
    "repository": lambda state: state,
    "hub": to_hub,
    "kernels": to_kernels,
    "hub, kernels": lambda state: to_kernels(to_hub(state)),
    "older": to_older,
    "bare": bare,
}


def relative(found, wanted):
    return ((found - wanted).abs().max() / wanted.abs().max()).item()


@pytest.mark.parametrize("engine", available_engines("cpu"))
@pytest.mark.parametrize("states", [1, 3])
def test_a_loaded_model_computes_the_authors_formulas(engine, states):
    state = official(states=states)
    encoder, head = load_official(state)
    assert not encoder.training and not head.training
    assert (encoder.depths, encoder.widths) == (DEPTHS, WIDTHS)
    reference = Reference(state)
    feats = torch.randn(2, 45, 128)
    with use_engine(engine):
        logits = head(encoder(feats))[:, 0]
        logits.square().mean().backward()
    wanted = reference.logits(feats)
    wanted.square().mean().backward()
    assert relative(logits, wanted) < 1e-6
    gradients = {
        key: torch.zeros_like(value) if value.grad is None else value.grad
        for key, value in reference.state.items()
    }
    wanted, wanted_head = load_official(gradients)
    for module, other in ((encoder, wanted), (head, wanted_head)):
        for parameter, gradient in zip(module.parameters(), other.parameters()):
            assert relative(parameter.grad, gradient) < 2e-5


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors", None])
def test_every_form_holds_the_same_model(form, suffix, tmp_path):
    state = official()
    wanted, wanted_head = load_official(state)
    source = FORMS[form](state)
    if suffix is not None:
        path = tmp_path / f"best_model{suffix}"
        (torch.save if suffix == ".pth" else save_file)(source, path)
        source = path
    encoder, head = load_official(source)
    assert len(encoder.state_dict()) == len(state) - 2
    for module, other in ((encoder, wanted), (head, wanted_head)):
        for key, value in other.state_dict().items():
            assert torch.equal(module.state_dict()[key], value), key


def test_the_encoders_own_names_are_read(tmp_path):
    encoder, head = load_official(official())
    torch.save(encoder.state_dict(), tmp_path / "embedding_model.ckpt")
    torch.save(head.state_dict(), tmp_path / "classifier.ckpt")
    loaded, loaded_head = load_official(tmp_path)
    feats = torch.randn(1, 33, 128)
    assert torch.equal(loaded_head(loaded(feats)), head(encoder(feats)))


def test_the_published_sizes_are_recognised():
    """Tensors without storage: only their shapes are read."""
    sizes = {(2, 2, 8, 2): 276, (2, 2, 20, 2): 492}
    for depths, n_tensors in sizes.items():
        found = shapes(depths, (96, 192, 384, 768), n_classes=527)
        assert len(found) == n_tensors
        state = {
            key: torch.zeros(1).expand(shape) for key, shape in found.items()
        }
        encoder, head = load_official(state)
        assert (encoder.depths, encoder.embed_dim) == (depths, 768)
        assert head.out_features == 527


def imagenet():
    """Return weights as VMamba's trainer saves them: three colours."""
    state = bare(official(n_classes=11))
    kernel = state["patch_embed.0.weight"]
    state["patch_embed.0.weight"] = torch.randn(len(kernel), 3, 3, 3)
    return state


@pytest.fixture
def without_yacs(monkeypatch):
    """Return how yacs' class is made and saved where yacs is not installed."""
    module = types.ModuleType("yacs.config")

    class CfgNode(dict):
        def __init__(self, content):
            super().__init__(content)
            self.__dict__["__immutable__"] = True

    CfgNode.__module__, CfgNode.__qualname__ = "yacs.config", "CfgNode"
    module.CfgNode = CfgNode

    def save(content, path):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, "yacs", types.ModuleType("yacs"))
            patch.setitem(sys.modules, "yacs.config", module)
            torch.save(content, path)
        assert "yacs.config" not in sys.modules

    return CfgNode, save


def test_imagenet_weights_of_vmamba(tmp_path, caplog, without_yacs):
    state, path = imagenet(), tmp_path / "vssm1_tiny_0230s_ckpt_epoch_264.pth"
    CfgNode, save = without_yacs
    config = CfgNode({"MODEL": CfgNode({"NAME": "vssm1", "DEPTHS": [2, 2]})})
    content = {
        "model": collections.OrderedDict(state),
        "model_ema": {"decay": 0.9999},
        "optimizer": {"state": {}, "param_groups": [{"lr": 1e-3}]},
        "max_accuracy": 82.6,
        "epoch": 264,
        "config": config,
    }
    save(content, path)
    with caplog.at_level(logging.INFO):
        encoder, head = load_official(path)
    assert head is None
    assert "dropped: head.bias; head.weight" in caplog.text
    kernel = state["patch_embed.0.weight"].sum(1, keepdim=True)
    conv = encoder.patch_embed.first.conv
    assert torch.equal(conv.weight, kernel)
    assert torch.equal(conv.bias, state["patch_embed.0.bias"])
    colours = {**state, "patch_embed.0.weight": kernel}
    feats = torch.randn(1, 40, 128)
    wanted = Reference(colours).features(feats)
    assert relative(encoder(feats)[:, 0], wanted) < 1e-6


class Payload:
    """Run a function when unpickled."""

    def __reduce__(self):
        return (print, ("code was run",))


def test_a_config_that_is_code_is_refused(tmp_path, capsys, without_yacs):
    path = tmp_path / "evil.pth"
    CfgNode, save = without_yacs
    save({"model": imagenet(), "config": CfgNode({"A": Payload()})}, path)
    with pytest.raises(CheckpointError, match="evil.pth is refused.*print"):
        load_official(path)
    assert "code was run" not in capsys.readouterr().out


def dropping(part):
    return lambda state: state.pop(next(key for key in state if part in key))


def setting(key, *shape):
    return lambda state: state.update({PREFIX + key: torch.ones(shape)})


@pytest.mark.parametrize(
    "damage, words",
    [
        (dropping("blocks.1.mlp.fc2.bias"), "1.mlp.fc2.bias is missing"),
        (dropping("layers.1.blocks.0.op.A_logs"), "no layers.1.*A_logs"),
        (dropping("layers.0.blocks.0.op.A_logs"), "no layers.0.*A_logs"),
        (dropping("patch_embed.0.weight"), "no patch_embed.first.conv.weight"),
        (dropping("downsample.1.weight"), "downsample.conv.weight is missing"),
        (dropping("classifier.norm.bias"), "norm.bias is missing"),
        (dropping("classifier.head.bias"), "its head has"),
        (setting("layers.0.gate", 1), "layers.0.gate is unknown"),
        (setting("layers.7.blocks.0.op.A_logs", 4, 1), "no layers.4"),
        (setting("layers.7.blocks.0.op.x_proj_weight", 8), "is unknown"),
        (setting("layers.0.blocks.0.op.A_logs", 7, 1), r"A_logs is \[7, 1\]"),
        (setting("layers.0.blocks.0.op.A_logs", 8), r"A_logs is \[8\]"),
        (setting("layers.0.blocks.0.op.in_proj.weight", 8, 9), r"is \[8, 9\]"),
        (setting("layers.0.blocks.0.op.x_proj_weight", 7), r"is \[7\]"),
        (setting("patch_embed.proj.weight", 1), "first.conv.weight twice"),
        (setting("other.layers.0.blocks.0.op.A_logs", 8, 1), "holds 2 models"),
    ],
)
def test_what_is_missing_or_does_not_fit_is_named(damage, words):
    state = official()
    damage(state)
    with pytest.raises(CheckpointError, match=words):
        load_official(state)


@pytest.mark.parametrize(
    "arguments, words",
    [
        (dict(patch_size=16), "no patch_size"),
        (dict(stride=10, cls_token="end"), "no stride and no cls_token"),
        (dict(token_order="time"), "no token_order"),
    ],
)
def test_arguments_of_patch_encoders_are_refused(arguments, words):
    with pytest.raises(CheckpointError, match=words):
        load_official(official(), **arguments)
    # It takes any number of frames, and has no place of a class token.
    load_official(official(), n_frames=99, cls_token=None)


def test_settings_beside_weights_say_how_many_mel_bins(tmp_path):
    torch.save(official(), tmp_path / "model.pth")
    (tmp_path / "config.json").write_text('{"num_mel_bins": 80}')
    assert load_official(tmp_path)[0].n_mels == 80
    (tmp_path / "hyperparams.yaml").write_text(
        "bins: 64\n"
        "embedding_model: !new:audiomamba.DASS\n"
        "    {n_mels: !ref <bins>, output: frames}\n"
    )
    encoder, _ = load_official(tmp_path / "model.pth")
    assert (encoder.n_mels, encoder.output) == (64, "frames")


def test_a_model_starts_from_a_checkpoint_of_its_size(caplog):
    state = official()
    wanted, wanted_head = load_official(state)
    encoder = DASS(widths=WIDTHS, depths=DEPTHS, drop_path=0.1)
    head = torch.nn.Linear(WIDTHS[-1], CLASSES)
    assert initialise(encoder, head, to_hub(state))
    assert torch.equal(head.weight, wanted_head.weight)
    feats = torch.randn(1, 20, 128)
    assert torch.equal(encoder.eval()(feats), wanted(feats))
    other = torch.nn.Linear(WIDTHS[-1], 9)
    with caplog.at_level(logging.INFO):
        assert not initialise(encoder, other, state)
    assert "classifier not loaded: its shapes are" in caplog.text
    deeper = DASS(widths=WIDTHS, depths=(1, 2, 3, 1))
    before = [value.clone() for value in deeper.state_dict().values()]
    with pytest.raises(CheckpointError, match="layers.2.blocks.1.norm"):
        initialise(deeper, None, state)
    for value, old in zip(deeper.state_dict().values(), before):
        assert torch.equal(value, old)


def test_another_family_is_refused_by_name():
    encoder, _ = load_official(official())
    aum = AudioMamba(n_frames=64, embed_dim=32, depth=1)
    wanted = "of Audio Mamba or Vim, but .* DASS: give .* DASS or VMamba"
    with pytest.raises(CheckpointError, match=wanted):
        initialise(encoder, None, aum.state_dict())
    with pytest.raises(CheckpointError, match="of DASS or VMamba, but .*Audio"):
        initialise(aum, None, official())
