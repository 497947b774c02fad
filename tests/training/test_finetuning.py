"""Freezing, rates per layer, recomputed blocks: what they claim."""

import copy
from types import SimpleNamespace

import pytest
import torch

from audiomamba.dataio.problems import PreparationError
from audiomamba.lobes import DASS, AudioMamba, AudioSpectrogramTransformer
from audiomamba.training.finetuning import (
    check_finetuning,
    first_calls,
    layer_lr_scales,
    recompute_blocks,
)
from audiomamba.training.tasks.classification import ClassificationBrain

from ..lobes.foreign import ENCODERS as FOREIGN

ENCODERS = {
    "AudioMamba": lambda drop: AudioMamba(
        n_frames=32, embed_dim=16, depth=2, drop_path=drop
    ),
    "DASS": lambda drop: DASS(widths=[8, 16], depths=[1, 2], drop_path=drop),
    "AST": lambda drop: AudioSpectrogramTransformer(
        n_frames=32, embed_dim=16, depth=2, drop_path=drop
    ),
}


class NormedEncoder(torch.nn.Module):
    """Batch norm and dropout, which both change what training computes."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(16, 8)
        self.norm = torch.nn.BatchNorm1d(8)
        self.dropout = torch.nn.Dropout(0.5)

    def forward(self, feats, lengths=None):
        hidden = self.norm(self.layer(feats).transpose(1, 2))
        return self.dropout(hidden).mean(dim=2).unsqueeze(1)


def encoder_weights(run):
    return {
        name: value.clone()
        for name, value in run.brain.model["embedding_model"]
        .state_dict()
        .items()
    }


class Watching(ClassificationBrain):
    """Remembers, for every step, modes, gradients and the learning rate."""

    def optimizers_step(self):
        encoder = self.model["embedding_model"]
        super().optimizers_step()
        self.seen = [*getattr(self, "seen", ()), self._look(encoder)]

    def _look(self, encoder):
        return SimpleNamespace(
            epoch=self.epoch,
            training=any(module.training for module in encoder.modules()),
            requires_grad=any(p.requires_grad for p in encoder.parameters()),
            lr={round(g["lr"] / g["lr_scale"], 9) for g in self._groups()},
        )

    def _groups(self):
        return self.optimizer.param_groups


def test_a_frozen_encoder_ends_as_it_began(make_run):
    run = make_run(
        brain_class=Watching, encoder=NormedEncoder(), freeze="embedding_model"
    )
    before, all_before = encoder_weights(run), run.weights()
    run.fit()
    for name, value in encoder_weights(run).items():
        assert torch.equal(value, before[name]), name
    for name, value in run.weights().items():
        frozen = name.startswith("embedding_model")
        assert torch.equal(value, all_before[name]) == frozen, name
    assert not any(at.training or at.requires_grad for at in run.brain.seen)
    optimised = {
        parameter
        for group in run.brain.optimizer.param_groups
        for parameter in group["params"]
    }
    assert optimised == set(run.brain.model["classifier"].parameters())


def test_unfrozen_modules_train_from_their_epoch_on(make_run):
    options = {"freeze": ["embedding_model"], "unfreeze_epoch": 2}
    snapshots = {}

    class Snapshots(Watching):
        def _fit_train(self, train_set, epoch, enable):
            super()._fit_train(train_set, epoch, enable)
            encoder = self.model["embedding_model"]
            snapshots[epoch] = copy.deepcopy(encoder.state_dict())

    run = make_run(
        brain_class=Snapshots, encoder=NormedEncoder(), epochs=3, **options
    )
    first = encoder_weights(run)
    run.fit()
    for name, value in first.items():
        assert torch.equal(value, snapshots[1][name]), name
        assert not torch.equal(value, snapshots[2][name]), name
    for at in run.brain.seen:
        assert at.training == at.requires_grad == (at.epoch >= 2)
    # the schedule is that of a run that freezes nothing
    free = make_run("free", brain_class=Watching, encoder=NormedEncoder())
    free.fit()
    rates = [[at.lr for at in r.brain.seen] for r in (run, free)]
    assert rates[0] == rates[1]


SETTINGS = {
    "modules": {"embedding_model": 0, "classifier": 0},
    "number_of_epochs": 5,
    "label_smoothing": 0.0,
}


@pytest.mark.parametrize(
    "given, message",
    [
        ({"freeze": "encoder"}, "encoder: not one of the modules embedding"),
        ({"unfreeze_epoch": 2}, "no module is frozen"),
        (
            {"freeze": "embedding_model", "unfreeze_epoch": 6},
            "unfreeze_epoch is 6.*2 to number_of_epochs: 5",
        ),
        ({"freeze": "embedding_model", "unfreeze_epoch": 1}, "after the first"),
        (
            {"freeze": "embedding_model", "layer_lr_decay": 0.5},
            "layer_lr_decay has no effect on a frozen embedding_model",
        ),
        (
            {"freeze": "embedding_model", "gradient_checkpointing": True},
            "gradient_checkpointing has no effect",
        ),
    ],
)
def test_keys_without_effect_are_refused(given, message):
    check_finetuning(SETTINGS)
    with pytest.raises(PreparationError, match=message):
        check_finetuning({**SETTINGS, **given})


def test_what_cannot_be_frozen_is_refused(make_run):
    with pytest.raises(PreparationError, match="has no parameters that train"):
        make_run(freeze="compute_features")
    both = ["embedding_model", "classifier"]
    with pytest.raises(PreparationError, match="nothing is left to train"):
        make_run(freeze=both, unfreeze_epoch=2)


def scales_by_name(encoder, feats):
    """Factors of the learning rate at a decay of 0.5, by parameter."""
    encoder.eval()
    with torch.no_grad(), first_calls() as called:
        encoder(feats)
    scales = layer_lr_scales(encoder, 0.5, called)
    return {name: scales[p] for name, p in encoder.named_parameters()}


# Encoder -> the start of a name -> its factor; the first that fits counts
PATCHES = {
    "layers.0": 0.25, "layers.1": 0.5, "norm": 1.0, "head_norm": 1.0,
    "": 0.125,
}  # fmt: skip
WAVES = {"encoder.encoder.layers.0": 0.25, "encoder.encoder.layers.1": 0.5}
STACK = "encoder.transformer.encoder."
FACTORS = {
    "AudioMamba": PATCHES,
    "AST": PATCHES,
    # one block and the halving after it, then two blocks
    "DASS": {
        "layers.0": 0.125, "layers.1.blocks.0": 0.25, "layers.1.blocks.1": 0.5,
        "norm": 1.0, "": 0.0625,
    },
    # Both have the norm before the blocks in the list of their modules; it is
    # called after them, and before them
    "WavLM": {**WAVES, "encoder.encoder.layer_norm": 1.0, "": 0.125},
    "wav2vec2": {**WAVES, "": 0.125},
    "Conformer": {
        f"{STACK}layers.0": 0.25, f"{STACK}layers.1": 0.5, f"{STACK}norm": 1.0,
        "": 0.125,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", FACTORS)
def test_rates_fall_in_the_order_of_the_calls(name):
    if name in ENCODERS:
        encoder, shape = ENCODERS[name](0.0), (1, 32, 128)
    else:
        encoder = FOREIGN[name]()
        shape = (1, 160) if "w" in name.lower() else (1, 32, 16)
    for parameter, found in scales_by_name(encoder, torch.randn(shape)).items():
        expected = next(
            factor
            for start, factor in FACTORS[name].items()
            if parameter.startswith(start)
        )
        assert found == expected, parameter


def test_a_decayed_rate_moves_the_first_block_least(make_run):
    """With SGD and one step, the weights move by rate times gradient."""
    moved = {}
    for decay in (None, 0.1):
        torch.manual_seed(0)
        encoder = AudioMamba(
            n_mels=16, n_frames=4, patch_size=[16, 1], stride=[16, 1],
            embed_dim=8, depth=2,
        )  # fmt: skip
        run = make_run(
            str(decay), epochs=1, n_train=4, encoder=encoder,
            layer_lr_decay=decay, wav_augment=None,
        )  # fmt: skip
        run.brain.opt_class = lambda groups: torch.optim.SGD(groups, lr=1.0)
        run.brain.hparams.lr_schedule = lambda *_: 1.0
        run.brain.try_out(160)
        before = encoder_weights(run)
        run.fit()
        moved[decay] = {
            name: (value - before[name]).norm().item()
            for name, value in encoder_weights(run).items()
        }
    for name, factor in (
        ("patch_embed.proj.weight", 1e-3),
        ("layers.0.mixer.in_proj.weight", 1e-2),
        ("layers.1.mixer.in_proj.weight", 1e-1),
        ("norm_f.weight", 1.0),
    ):
        whole, part = moved[None][name], moved[0.1][name]
        assert part == pytest.approx(whole * factor, rel=0.02), name


def test_an_encoder_without_blocks_is_refused(make_run):
    run = make_run(layer_lr_decay=0.5)
    with pytest.raises(PreparationError, match="layer_lr_decay.*Encoder has"):
        run.brain.try_out(160)
    with pytest.raises(PreparationError, match="gradient_checkpointing.*Enc"):
        make_run(gradient_checkpointing=True)


@pytest.mark.parametrize("compiled", [False, True], ids=["", "compiled"])
@pytest.mark.parametrize("make", ENCODERS.values(), ids=ENCODERS.keys())
def test_recomputed_blocks_give_the_same_gradients(make, compiled):
    """With stochastic depth: the second pass has to draw the same."""
    torch.manual_seed(0)
    encoder = make(0.5).train()
    feats, lengths = torch.randn(4, 32, 128), torch.tensor([1.0, 0.5, 0.8, 1])

    def train():
        torch.compiler.reset()
        called = encoder
        if compiled:
            called = torch.compile(encoder, fullgraph=True, backend="aot_eager")
        torch.manual_seed(1)
        encoder.zero_grad()
        saved = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda tensor: saved.append(tensor.numel()) or tensor,
            lambda tensor: tensor,
        ):
            loss = called(feats, lengths).square().sum()
        loss.backward()
        gradients = [p.grad.clone() for p in encoder.parameters()]
        return gradients, torch.rand(1), sum(saved)

    gradients, next_draw, n_saved = train()
    recompute_blocks(encoder)
    recomputed, draw_after, n_saved_after = train()
    assert draw_after == next_draw
    # A compiled encoder saves its parameters as well
    n_weights = sum(p.numel() for p in encoder.parameters()) if compiled else 0
    assert n_saved_after - n_weights < 0.7 * (n_saved - n_weights)
    for one, other in zip(gradients, recomputed, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-6)
    twin = copy.deepcopy(encoder)
    for parameter in twin.parameters():
        torch.nn.init.zeros_(parameter)
    assert not torch.equal(twin(feats), encoder(feats))
