"""A clip's probabilities, pooled from those of its frames."""

import pytest
import torch

from audiomamba import AudioMamba
from audiomamba.nnet.frame_classifier import POOLINGS, FrameClassifier
from audiomamba.pretrained import initialise


def frames_of(*sizes):
    """Return frames as an encoder gives them: zero past a clip's end."""
    torch.manual_seed(0)
    frames = torch.zeros(len(sizes), max(sizes), 8)
    for clip, size in zip(frames, sizes):
        clip[:size] = torch.randn(size, 8)
    return frames


def classifier_of(pooling):
    classifier = FrameClassifier(8, 3, pooling)
    for parameter in classifier.parameters():
        torch.nn.init.normal_(parameter)
    return classifier


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_clip_does_not_depend_on_its_batch(pooling):
    classify, frames = classifier_of(pooling), frames_of(5, 9)
    alone = classify(frames[:1, :5])
    torch.testing.assert_close(classify(frames)[:1], alone)


def test_linear_softmax_weights_frames_by_their_probability():
    classify, frames = classifier_of("linear_softmax"), frames_of(7)
    p = classify.frame_logits(frames).sigmoid()
    wanted = (p * p).sum(1) / p.sum(1)
    torch.testing.assert_close(classify(frames).sigmoid()[:, 0], wanted)


def test_attention_is_a_weighted_mean():
    classify, frames = classifier_of("attention"), frames_of(7)
    weights = classify.attention(frames).softmax(1)
    wanted = (weights * classify.frame_logits(frames).sigmoid()).sum(1)
    torch.testing.assert_close(classify(frames).sigmoid()[:, 0], wanted)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_gradients_are_finite_at_certain_probabilities(pooling):
    classify, frames = classifier_of(pooling), frames_of(5, 2)
    with torch.no_grad():
        classify.weight *= 1000
    loss = torch.nn.functional.binary_cross_entropy_with_logits(
        classify(frames).squeeze(1), torch.ones(2, 3)
    )
    loss.backward()
    for parameter in classify.parameters():
        assert torch.isfinite(parameter.grad).all()


def test_an_unknown_pooling_is_refused():
    with pytest.raises(ValueError, match="linear_softmax"):
        FrameClassifier(8, 3, "maximum")


def test_a_trained_frame_model_starts_another():
    encoder, classifier = AudioMamba(32, 64, 8, 8, 8, 1), FrameClassifier(8, 3)
    state = dict(encoder.state_dict())
    state |= {f"head.{k}": v for k, v in classifier.state_dict().items()}
    other, target = AudioMamba(32, 64, 8, 8, 8, 1), FrameClassifier(8, 3)
    assert initialise(other, target, state)
    assert torch.equal(target.weight, classifier.weight)
