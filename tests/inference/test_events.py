"""Events: from scores to onsets and offsets, in any blocks."""

import numpy as np
import pytest
import torch
from scipy.ndimage import median_filter

from audiomamba.inference.events import (
    EventFinder,
    EventRules,
    find_events,
    score_grid,
    smooth,
)
from audiomamba.inference.model import Window
from audiomamba.nnet.frame_classifier import FrameClassifier

from .test_tagger import make_tagger, noise


def found(scores, rules, step=0.1, blocks=1):
    """Return (onset, offset) of one class' events, given its scores."""
    finder = EventFinder(["a"], rules, step)
    for block in np.array_split(np.array(scores, float)[:, None], blocks):
        finder.add(block)
    events = finder.events(duration=step * len(scores))
    return [(round(e.onset, 6), round(e.offset, 6)) for e in events]


SCORES = [0, 0.3, 0.9, 0.3, 0, 0.3, 0.3, 0, 0.6, 0, 0, 0.7, 0.4]


@pytest.mark.parametrize("blocks", [1, 4, 13])
@pytest.mark.parametrize(
    "rules, wanted",
    [
        (EventRules(0.5, low=1), [(0.2, 0.3), (0.8, 0.9), (1.1, 1.2)]),
        (EventRules(0.5, low=0.5), [(0.1, 0.4), (0.8, 0.9), (1.1, 1.3)]),
        (EventRules(0.5, min_duration=0.2), [(0.1, 0.4), (1.1, 1.3)]),
        # a gap of exactly min_gap is none that is closer
        (EventRules(0.5, min_gap=0.2), [(0.1, 0.4), (0.8, 0.9), (1.1, 1.3)]),
        (EventRules(0.5, min_gap=0.3), [(0.1, 0.4), (0.8, 1.3)]),
        (EventRules(0.5, min_gap=0.41), [(0.1, 1.3)]),
        (EventRules(0.95), []),
    ],
)
def test_events_follow_the_rules_in_any_blocks(rules, wanted, blocks):
    assert found(SCORES, rules, blocks=blocks) == wanted


def test_every_class_has_its_threshold_and_peak():
    finder = EventFinder(["a", "b"], EventRules([0.5, 0.2]), step=1.0)
    finder.add(np.array([[0.3, 0.3], [0.4, 0.1]]))
    (event,) = finder.events(duration=1.5)
    assert event == (0.0, 1.5, "b", 0.3)


def test_an_event_lasts_no_longer_than_its_recording():
    finder = EventFinder(["a"], EventRules(min_duration=1.0), step=5.0)
    finder.add(np.array([[0.9]]))
    assert finder.events(duration=0.3) == []
    assert finder.events(duration=1.0) == [(0.0, 1.0, "a", 0.9)]


@pytest.mark.parametrize("size", [1, 3, 7, 2501])
def test_the_median_filter_is_that_of_the_whole(size):
    scores = np.random.default_rng(0).random((6000, 2))
    blocks = np.split(scores, [1, 2, 40, 3000, 3001, 5990])
    smoothed = np.concatenate(list(smooth(blocks, size)))
    wanted = median_filter(scores, (size, 1), mode="nearest")
    np.testing.assert_array_equal(smoothed, wanted)


def test_windows_are_averaged_where_they_overlap():
    # The last one is shifted back to end with the stream
    starts, scores = [0, 1, 2, 2.5], [0.0, 0.2, 0.4, 1.0]
    windows = [
        Window(s, s + 2, torch.tensor([p])) for s, p in zip(starts, scores)
    ]
    grid = np.concatenate(list(score_grid(windows, 0.5)))[:, 0]
    wanted = [0, 0, 0.1, 0.1, 0.3, 1.6 / 3, 0.7, 0.7, 1]
    np.testing.assert_allclose(grid, wanted, atol=1e-6)


def test_frames_are_placed_at_their_times():
    frames = torch.arange(4.0)[:, None]
    windows = [Window(0.0, 0.5, frames), Window(0.4, 0.9, frames + 10)]
    grid = np.concatenate(list(score_grid(windows, 0.1)))[:, 0]
    # The last frame goes on at the end, but nowhere else
    wanted = [0, 1, 2, 3, 10, 11, 12, 13, 13]
    np.testing.assert_allclose(grid, wanted, atol=1e-6)


@pytest.mark.parametrize(
    "values, message",
    [
        ({"threshold": 0.0}, "threshold"),
        ({"threshold": float("nan")}, "threshold"),
        ({"low": 1.5}, "low is 1.5"),
        ({"min_gap": -1.0}, "min_gap"),
        ({"median": float("inf")}, "median"),
    ],
)
def test_rules_without_meaning_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        EventRules(**values)


def frame_tagger(**options):
    tagger = make_tagger(activation="sigmoid", **options)
    classifier = FrameClassifier(16, 3)
    torch.nn.init.normal_(classifier.weight, std=0.1)
    tagger.mods["classifier"] = classifier
    return tagger


@pytest.mark.parametrize("mask_padding", [True, False])
def test_frames_do_not_depend_on_the_batch(mask_padding):
    tagger = frame_tagger(n_frames=60, mask_padding=mask_padding)
    clips = noise(1000, 9000, 7777)
    together = tagger.embed_frames(clips)
    for clip, frames in zip(clips, together):
        (alone,) = tagger.embed_frames([clip])
        torch.testing.assert_close(frames, alone, atol=1e-5, rtol=0)
        # Of 100 ms each, without those that are padding
        assert 1 <= len(frames) <= -(-len(clip) // 1600)


@pytest.mark.parametrize("rate", [16000, 11025])
@pytest.mark.parametrize("window", [None, 0.33])
@pytest.mark.parametrize("n_samples", [5000, 16000, 31111])
def test_frames_over_time_adjoin(rate, window, n_samples):
    tagger = frame_tagger(n_frames=60)
    (wav,) = noise(n_samples)
    found = list(tagger.embed_timeline([wav], window, rate))
    times = [w.start + 0.1 * np.arange(len(w.values)) for w in found]
    times = np.concatenate(times)
    np.testing.assert_allclose(times, 0.1 * np.arange(len(times)), atol=1e-3)
    # to the last whole one
    assert abs(times[-1] + 0.1 - n_samples / rate) < 0.2


def test_frames_over_time_are_those_of_their_windows():
    tagger = frame_tagger(n_frames=60)
    (wav,) = noise(24000)
    # The first window has six frames, the second goes on with its next
    first, second, _ = tagger.embed_timeline([wav])
    wanted = tagger.embed_frames([wav[:9840], wav[9600 : 9600 + 9840]])
    torch.testing.assert_close(first.values, wanted[0])
    torch.testing.assert_close(second.values, wanted[1])


def test_windows_shorter_than_a_frame_are_refused():
    with pytest.raises(ValueError, match="0.05 s, shorter than a frame"):
        next(frame_tagger().embed_timeline(noise(9000), window=0.05))


def test_a_models_frames_are_classified_over_time():
    tagger = frame_tagger()
    (wav,) = noise(40000)
    windows = list(tagger.frame_stream([wav], window=1.0, hop=0.5))
    assert [w.values.shape for w in windows] == [(9, 3)] * 4
    (frames,) = tagger.embed_frames([wav[:16000]])
    classify = tagger.mods.classifier.frame_logits
    torch.testing.assert_close(windows[0].values, classify(frames).sigmoid())
    with pytest.raises(ValueError, match="classifies clips, not frames"):
        make_tagger().frame_stream([wav])


@pytest.mark.parametrize("make", [frame_tagger, make_tagger])
def test_events_of_a_model_cover_the_recording(make):
    rules = EventRules(threshold=1e-3, low=1.0)
    events = find_events(make(), noise(40000), rules, 1.0, 0.25)
    assert {event.label for event in events} == {"a", "b", "c"}
    assert {(e.onset, e.offset) for e in events} == {(0.0, 2.5)}
    assert all(0 < event.score <= 1 for event in events)
