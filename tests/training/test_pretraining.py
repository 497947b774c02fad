"""Pre-training: a clip's loss, its masks, and runs that resume."""

import pytest
import torch
from speechbrain.core import Stage
from speechbrain.dataio.batch import PaddedBatch

from audiomamba.lobes import DASS, AudioMamba, KaldiFbank, SpectrogramNorm
from audiomamba.nnet.patch_mask import PatchMask
from audiomamba.nnet.pretext import PretextHeads
from audiomamba.training.tasks.pretraining import (
    PretextMetrics,
    PretrainingBrain,
)

MELS, RATE = 32, 8000


def aum(**arguments):
    settings = dict(n_mels=MELS, n_frames=64, patch_size=8, stride=8)
    settings |= dict(embed_dim=16, depth=1, cls_token=None)
    return AudioMamba(**{**settings, **arguments})


def dass():
    return DASS(n_mels=MELS, widths=[8, 16], depths=[1, 1])


ENCODERS = {
    **{scan: lambda scan=scan: aum(scan=scan) for scan in ("fo_fo", "bi_bi")},
    "class token": lambda: aum(cls_token="middle", token_order="time"),
    "padding is content": lambda: aum(mask_padding=False),
    "DASS": dass,
}


@pytest.fixture
def pretrain(make_run):
    """Make a Brain over an encoder, with real features."""

    def pretrain(name="run", encoder=None, contrastive=0.1, **options):
        torch.manual_seed(0)
        encoder = encoder or aum()
        is_dass = isinstance(encoder, DASS)
        heads = PretextHeads(
            encoder.embed_dim,
            encoder.patch_size,
            contrastive=contrastive,
            mask_dim=encoder.widths[0] if is_dass else None,
        )
        run = make_run(
            name,
            brain_class=PretrainingBrain,
            modules={
                "compute_features": KaldiFbank(sample_rate=RATE, n_mels=MELS),
                "mean_var_norm": SpectrogramNorm(mean=-6.0, std=4.0),
                "embedding_model": encoder,
                "pretext": heads,
            },
            patch_mask=PatchMask(0.5, [2, 3]),
            metrics=PretextMetrics(),
            protocols=["last"],
            **options,
        )
        return run

    return pretrain


def batch_of(*n_samples):
    """Return waveforms of given lengths, each always the same."""
    items = []
    for n in n_samples:
        generator = torch.Generator().manual_seed(n)
        wav = 0.1 * torch.randn(n, generator=generator)
        items.append({"id": f"clip{n}", "sig": wav})
    return PaddedBatch(items)


@pytest.mark.parametrize("name", ENCODERS)
def test_a_clip_has_the_same_loss_alone_and_in_any_batch(name, pretrain):
    brain = pretrain(encoder=ENCODERS[name]()).brain
    brain.modules.eval()

    def figures(*n_samples):
        with torch.no_grad():
            return brain.compute_forward(batch_of(*n_samples), Stage.VALID)

    if name == "padding is content":
        together = figures(4000, 4000)
        others = [figures(4000)]
    else:
        # The third has fewer frames than a patch
        together = figures(4000, 2500, 300, 7000)
        others = [figures(4000), figures(2500), figures(300)]
    for i, alone in enumerate(others):
        for found, wanted in zip(together, alone):
            torch.testing.assert_close(found[i], wanted[0])


def test_masks_are_fixed_in_validation_and_drawn_in_training(pretrain):
    brain = pretrain().brain
    ids = ["a", "b"]
    fixed = brain._seeds(ids, Stage.VALID)
    assert fixed == brain._seeds(ids, Stage.TEST) and len(set(fixed)) == 2
    brain._seed(3)
    first = brain._seeds(ids, Stage.TRAIN)
    assert first != brain._seeds(ids, Stage.TRAIN) and first != fixed
    brain._seed(3)
    assert first == brain._seeds(ids, Stage.TRAIN)


def test_padding_is_neither_hidden_nor_a_target(pretrain):
    brain, seen = pretrain().brain, {}
    heads = brain.modules["pretext"]
    heads.register_forward_pre_hook(
        lambda _, inputs: seen.update(targets=inputs[1], mask=inputs[2])
    )
    brain.compute_forward(batch_of(4000, 2500), Stage.TRAIN)
    own = 1 + (2500 - 200) // 80  # frames of 25 ms every 10 ms
    columns = own // 8
    assert seen["mask"][1, :, columns:].sum() == 0
    assert seen["mask"][1].sum() == round(0.5 * 4 * columns)


def test_loss_falls_and_a_broken_run_resumes_bit_for_bit(pretrain):
    whole = pretrain("whole", epochs=2)
    whole.fit()
    curve = whole.hparams["epoch_log"].history()
    assert curve[1]["valid_relative_mse"] < curve[0]["valid_relative_mse"] < 1.3
    assert 0 < curve[0]["valid_chance"] < 1
    pretrain("broken", epochs=1).fit()
    resumed = pretrain("broken", epochs=2)
    resumed.fit()
    weights = whole.weights()
    assert len(weights) > 20
    for name, value in resumed.weights().items():
        assert torch.equal(value, weights[name]), name
    tested = resumed.test()
    assert set(tested["last"]["test"]) >= {"loss", "accuracy", "relative_mse"}


def test_encoders_that_cannot_hide_patches_are_refused(pretrain):
    with pytest.raises(ValueError, match="smaller than patch_size"):
        pretrain(encoder=aum(stride=4))
    with pytest.raises(ValueError, match="Identity cannot hide patches"):
        other = torch.nn.Identity()
        other.embed_dim, other.patch_size = 8, 8
        pretrain(encoder=other)


def test_a_loss_that_is_not_finite_is_named(pretrain):
    brain = pretrain().brain
    brain.modules["pretext"].mask_token.data[:] = torch.nan
    brain.modules.eval()
    with torch.no_grad():
        brain.evaluate_batch(batch_of(4000), Stage.VALID)
    with pytest.raises(ValueError, match="'clip4000'"):
        brain.hparams.metrics.summarise()


def test_the_heads_have_their_own_learning_rate(pretrain):
    """Once ``head_lr_scale`` had no effect here: there is no classifier."""
    run = pretrain(epochs=1, head_lr_scale=10.0)
    run.fit()
    scales = {
        id(parameter): group["lr_scale"]
        for group in run.brain.optimizer.param_groups
        for parameter in group["params"]
    }
    for name, scale in (("pretext", 10.0), ("embedding_model", 1.0)):
        parameters = run.brain.modules[name].parameters()
        assert {scales[id(parameter)] for parameter in parameters} == {scale}
