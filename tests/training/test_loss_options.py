"""Smoothing, class weights and balanced sampling: what they claim."""

from functools import partial

import pytest
import torch
from speechbrain.core import Stage

from audiomamba.dataio.pipeline import ClipDataset, LabelEncoder
from audiomamba.dataio.problems import PreparationError
from audiomamba.dataio.reader import AudioReader
from audiomamba.lobes.augment import Mixup
from audiomamba.training.finetuning import class_weights
from audiomamba.training.losses import (
    SpeechBrainLoss,
    as_rows,
    binary_cross_entropy,
    cross_entropy,
)


def test_smoothing_and_weights_are_those_of_pytorch():
    logits, indices = torch.randn(5, 3), torch.tensor([0, 2, 1, 1, 0])
    weights = torch.tensor([0.5, 2.0, 1.0])
    for smoothing in (0.0, 0.2):
        for given in (None, weights):
            theirs = torch.nn.functional.cross_entropy(
                logits,
                indices,
                weight=given,
                label_smoothing=smoothing,
                reduction="none",
            )
            ours = cross_entropy(logits, indices, smoothing, given)
            torch.testing.assert_close(ours, theirs.mean())
    soft = as_rows(indices, 3).lerp(as_rows(indices.flip(0), 3), 0.3)
    target = 0.9 * soft + 0.1 / 3
    expected = torch.nn.functional.binary_cross_entropy_with_logits(
        logits, target, pos_weight=weights
    )
    ours = binary_cross_entropy(logits, soft, 0.1, weights)
    torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("loss", [cross_entropy, binary_cross_entropy])
def test_mixed_clips_have_mixed_smoothed_targets(loss):
    """The loss is linear in the target: that of a mixture is the mixture."""
    torch.manual_seed(0)
    mixup = Mixup(probability=1.0, n_classes=3)
    clips, lengths = torch.randn(2, 100), torch.ones(2)
    _, _, rows = mixup(clips, lengths, torch.tensor([0, 1]))
    assert 0 < rows[0, 1] < 1
    logits, weights = torch.randn(1, 3), torch.tensor([1.0, 3.0, 0.5])
    first, second = (
        loss(logits, torch.tensor([label]), 0.1, weights) for label in (0, 1)
    )
    mixture = loss(logits, rows[:1], 0.1, weights)
    expected = rows[0, 0] * first + rows[0, 1] * second
    torch.testing.assert_close(mixture, expected)


def test_options_of_the_loss_are_for_training_only(make_run):
    calls = []

    def loss(logits, targets, label_smoothing=0.0, class_weights=None):
        calls.append((torch.is_grad_enabled(), label_smoothing, class_weights))
        return cross_entropy(logits, targets, label_smoothing, class_weights)

    weights = torch.tensor([1.0, 2.0, 3.0])
    run = make_run(
        epochs=1, compute_loss=loss, label_smoothing=0.1, class_weights=weights
    )
    run.fit()
    assert {call for call in calls if not call[0]} == {(False, 0.0, None)}
    assert {call[1:] for call in calls if call[0]} == {(0.1, weights)}


def test_class_weights_are_where_the_model_is(make_run):
    """Once on the CPU, so that training with them failed on a GPU."""
    brain = make_run(class_weights=torch.ones(3), device="meta").brain
    assert brain.loss_options["class_weights"].is_meta


@pytest.mark.parametrize("key", ["label_smoothing", "class_weights"])
def test_a_loss_that_ignores_an_option_is_named(make_run, key):
    value = 0.1 if key == "label_smoothing" else torch.ones(3)
    with pytest.raises(PreparationError, match=f"{key}.*SpeechBrainLoss"):
        make_run(compute_loss=SpeechBrainLoss(cross_entropy), **{key: value})


@pytest.fixture
def make_train_set(tmp_path):
    """Labels -> the data set of a manifest."""

    def make(labels, names, multi_label=False, **options):
        lines = [f"{i:03},1.0,a.wav,{label}" for i, label in enumerate(labels)]
        path = tmp_path / "train.csv"
        path.write_text("\n".join(["ID,duration,wav,label", *lines]) + "\n")
        encoder = LabelEncoder(names, multi_label)
        return ClipDataset(path, AudioReader(tmp_path), encoder, **options)

    return make


def test_balanced_weights_are_one_on_average(make_train_set):
    train_set = make_train_set(["a", "a", "a", "b;c"], ["a", "b;c"])
    weights = class_weights("balanced", ["a", "b;c"], train_set)
    torch.testing.assert_close(weights, torch.tensor([4 / 6, 2.0]))
    several = make_train_set(["a", "a;b"], ["a", "b"], multi_label=True)
    weights = class_weights("balanced", ["a", "b"], several)
    torch.testing.assert_close(weights, torch.tensor([0.75, 1.5]))


def test_weights_are_read_by_name(make_train_set, tmp_path):
    train_set, names = make_train_set(["a", "b"], ["a", "b"]), ["a", "b"]
    path = tmp_path / "weights.csv"
    path.write_text("label,weight\nb,0.5\na,2\n")
    assert class_weights(str(path), names, train_set).tolist() == [2, 0.5]
    assert class_weights([3, 1], names, train_set).tolist() == [3, 1]
    for content, message in (
        ("label,weight\nb,0.5\n", "2 classes.*: a"),
        ("label,weight\nb,0.5\na,1\nc,1\n", "unknown or repeated: c"),
        ("label,weight\nb,0.5\na,-1\n", "line 3: weight is '-1'"),
    ):
        path.write_text(content)
        with pytest.raises(PreparationError, match=message):
            class_weights(str(path), names, train_set)
    with pytest.raises(PreparationError, match="3 values for the 2 classes"):
        class_weights([1, 2, 3], names, train_set)
    with pytest.raises(PreparationError, match="class_weights: 0 for b"):
        class_weights([1, 0], names, train_set)
    with pytest.raises(PreparationError, match="there are none of c"):
        class_weights("balanced", ["a", "b", "c"], train_set)


def test_balanced_sampling_draws_classes_equally(make_train_set, make_run):
    labels = ["a"] * 30 + ["b;c"] * 3
    names = ["a", "b;c"]
    train_set = make_train_set(labels, names, balanced=True)
    run = make_run()
    make = partial(run.brain.make_dataloader, train_set, Stage.TRAIN)
    sampler = make(batch_size=4).batch_sampler
    drawn = []
    for epoch in range(1, 31):
        sampler.set_epoch(epoch)
        drawn += [labels[i] for batch in sampler for i in batch]
    assert abs(drawn.count("a") / len(drawn) - 0.5) < 0.05
    with pytest.raises(PreparationError, match="balanced_sampling.*sampler"):
        make_run().brain.make_dataloader(train_set, Stage.TRAIN, sampler=[0, 1])
