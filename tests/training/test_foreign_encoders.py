"""Encoders of SpeechBrain and transformers train in a recipe's Brain."""

import pytest
import torch
from speechbrain.augment.augmenter import Augmenter
from speechbrain.augment.freq_domain import SpectrogramDrop
from speechbrain.augment.time_domain import DropFreq
from speechbrain.nnet.containers import LengthsCapableSequential

from audiomamba.dataio.problems import PreparationError
from audiomamba.lobes import Waveforms

from ..lobes.foreign import ENCODERS

RATE = 160


@pytest.mark.parametrize("name", ENCODERS)
def test_the_loss_falls(name, make_run):
    torch.manual_seed(0)
    features = Waveforms() if "w" in name.lower() else None
    run = make_run(
        epochs=6, encoder=ENCODERS[name](), features=features, width=16,
        wav_augment=None, head_lr_scale=1.0, lr_schedule=lambda *_: 1.0,
    )  # fmt: skip
    run.brain.try_out(RATE)
    run.fit()
    losses = [row["train_loss"] for row in run.hparams["epoch_log"].history()]
    assert losses[-1] < 0.9 * losses[0], losses


@pytest.mark.parametrize("key", ["gradient_checkpointing", "layer_lr_decay"])
def test_keys_of_blocks_work_where_the_blocks_are_named(key, make_run):
    options = {
        "encoder": ENCODERS["WavLM"](), "features": Waveforms(), "width": 16,
    }  # fmt: skip
    run = make_run(epochs=1, **options, **{key: 0.5})
    run.brain.try_out(RATE)
    run.fit()
    options["encoder"].path = None
    with pytest.raises(PreparationError, match=f"{key} needs.*MeanOverTime"):
        make_run("other", **options, **{key: 0.5}).brain.try_out(RATE)


def test_what_cannot_work_is_said_before_the_first_batch(make_run):
    def start(**options):
        make_run(**options).brain.try_out(RATE)

    start()
    with pytest.raises(PreparationError, match="do not fit together: mat1"):
        start(width=7)
    frames = torch.nn.Linear(16, 8)
    with pytest.raises(PreparationError, match="Linear gives frames, wrap"):
        start(encoder=frames)
    encoder = ENCODERS["wav2vec2"]()
    encoder.masks_padding = True
    with pytest.raises(PreparationError, match="depends on padding"):
        start(encoder=encoder, features=Waveforms(), width=16)
    encoder.masks_padding = False
    start(encoder=encoder, features=Waveforms(), width=16)


def test_speechbrains_augmenter_brings_the_targets_along(make_run):
    seen = []

    def loss(logits, targets):
        seen.append((len(logits), targets.tolist()))
        return torch.nn.functional.cross_entropy(logits, targets)

    augmenter = Augmenter(
        concat_original=True, augmentations=[DropFreq()], min_augmentations=1
    )
    run = make_run(epochs=1, wav_augment=augmenter, compute_loss=loss)
    run.fit()
    n_clips, targets = seen[0]
    assert n_clips == 8 and targets[:4] == targets[4:]


def test_augmentations_of_features_have_to_take_lengths(make_run):
    drop = SpectrogramDrop(2, 3, 1, 2)
    with pytest.raises(PreparationError, match="SpectrogramDrop does not take"):
        make_run(spec_augment=drop)
    with pytest.raises(PreparationError, match="Augmenter, which may add"):
        make_run(norm_augment=Augmenter(augmentations=[drop]))
    make_run(epochs=1, spec_augment=LengthsCapableSequential(drop)).fit()
