"""Frames learn when a sound is heard, from labels of clips or from events."""

import numpy as np
import pytest
import torch

from audiomamba.inference.events import EventRules, find_events, score_grid
from audiomamba.lobes import AudioMamba, ClipEncoder, KaldiFbank
from audiomamba.lobes.normalization import SpectrogramNorm
from audiomamba.nnet.frame_classifier import FrameClassifier, own_frames
from audiomamba.training.losses import frame_cross_entropy

RATE, SECONDS, STEP = 16000, 2.0, 0.08
LABELS = ["a", "b", "c"]
PITCHES = {"a": 300, "b": 900, "c": 2500}


def scene(seed):
    """Return noise with a tone or two, and their events."""
    generator = np.random.default_rng(seed)
    wave = 0.01 * generator.standard_normal(int(SECONDS * RATE))
    events, start = [], generator.uniform(0, 0.4)
    for label in generator.permutation(LABELS)[: generator.integers(1, 3)]:
        stop = start + generator.uniform(0.3, 0.6)
        times = np.arange(int(start * RATE), int(stop * RATE))
        wave[times] += 0.3 * np.sin(2 * np.pi * PITCHES[label] * times / RATE)
        events.append((start, stop, str(label)))
        start = stop + generator.uniform(0.1, 0.3)
    return torch.tensor(wave, dtype=torch.float32), events


def targets_of(events):
    rows = torch.zeros(round(SECONDS / STEP), len(LABELS))
    for start, stop, label in events:
        rows[round(start / STEP) : round(stop / STEP), LABELS.index(label)] = 1
    return rows


@pytest.fixture(scope="module", params=["labels", "events"])
def tagger(request):
    """Train for a few seconds, as the recipe does."""
    from ..inference.test_tagger import make_tagger

    torch.manual_seed(0)
    tagger = make_tagger(activation="sigmoid")
    encoder = AudioMamba(32, 200, [32, 8], [32, 8], 16, 1, cls_token=None)
    tagger.mods["embedding_model"] = encoder
    tagger.mods["classifier"] = FrameClassifier(16, 3)
    tagger.mods["mean_var_norm"] = SpectrogramNorm(-9.0, 4.0)
    clip_encoder = ClipEncoder(
        KaldiFbank(n_mels=32), tagger.mods["mean_var_norm"], encoder
    )
    tagger.clip_encoder = clip_encoder
    tagger.mods.train()
    for parameter in tagger.mods.parameters():
        parameter.requires_grad_(True)
    scenes = [scene(seed) for seed in range(100, 196)]
    wavs = torch.stack([wav for wav, _ in scenes])
    rows = torch.stack([targets_of(events) for _, events in scenes])
    with torch.no_grad():
        feats, lengths = clip_encoder.features(wavs, torch.ones(len(wavs)))
    optimiser = torch.optim.Adam(tagger.mods.parameters(), lr=0.01)
    for step in range(80):
        batch = torch.arange(step * 16, step * 16 + 16) % len(wavs)
        frames = encoder(feats[batch], lengths[batch], output="frames")
        logits = tagger.mods.classifier(frames).squeeze(1)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(
            logits, rows[batch].amax(1)
        )
        if request.param == "events":
            of_frames = tagger.mods.classifier.frame_logits(frames)
            loss = loss + frame_cross_entropy(
                of_frames, rows[batch], own_frames(frames)
            )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    tagger.mods.eval()
    return tagger


@pytest.fixture
def measures(monkeypatch):
    """Return sed_scores_eval, whose 0.0.4 cannot take pandas 3's arrays."""
    package = pytest.importorskip("sed_scores_eval")
    statistics = package.base_modules.statistics
    curves = statistics.onset_offset_curves
    monkeypatch.setattr(
        statistics,
        "onset_offset_curves",
        lambda scores, *others: curves(scores.copy(), *others),
    )
    return package


def test_events_are_found_by_the_measures_of_the_field(tagger, measures):
    """PSDS, and the F score of events with collars of 200 ms."""
    frame = measures.io.create_score_dataframe

    scores, found, truth, durations = {}, {}, {}, {}
    rules = EventRules(0.5, median=0.24, min_duration=0.1, min_gap=0.1)
    for seed in range(12):
        wav, truth[str(seed)] = scene(seed)
        durations[str(seed)] = SECONDS
        windows = tagger.frame_stream([wav], SECONDS, SECONDS)
        grid = np.concatenate(list(score_grid(windows, STEP)))
        times = np.minimum(STEP * np.arange(len(grid) + 1), SECONDS)
        scores[str(seed)] = frame(grid, times, LABELS)
        events = find_events(tagger, [wav], rules, SECONDS, SECONDS)
        hits = np.zeros((len(grid), len(LABELS)))
        for event in events:
            first, last = round(event.onset / STEP), round(event.offset / STEP)
            hits[first:last, LABELS.index(event.label)] = event.score
        found[str(seed)] = frame(hits, times, LABELS)
    psds, *_ = measures.intersection_based.psds(
        scores, truth, durations, dtc_threshold=0.7, gtc_threshold=0.7
    )
    collars = {"onset_collar": 0.2, "offset_collar": 0.2}
    f_score, *_ = measures.collar_based.fscore(found, truth, 0.25, **collars)
    assert psds > 0.9 and f_score["macro_average"] > 0.9
    late = {
        name: [
            (start + 0.5, stop + 0.5, label) for start, stop, label in events
        ]
        for name, events in truth.items()
    }
    f_score, *_ = measures.collar_based.fscore(found, late, 0.25, **collars)
    assert f_score["macro_average"] < 0.3


def test_unknown_frames_and_padding_do_not_count():
    torch.manual_seed(0)
    logits = torch.randn(3, 5, 2, requires_grad=True)
    targets = torch.full((3, 4, 2), torch.nan)
    targets[0] = 1.0
    targets[1, :2] = 0.0
    own = torch.ones(3, 5, 1, dtype=torch.bool)
    own[0, 3:] = False
    loss = frame_cross_entropy(logits, targets, own)
    log = torch.nn.functional.logsigmoid
    wanted = torch.cat([-log(logits[0, :3]), -log(-logits[1, :2])])
    torch.testing.assert_close(loss, wanted.mean())
    loss.backward()
    assert (logits.grad[2] == 0).all() and torch.isfinite(logits.grad).all()
    nothing = frame_cross_entropy(logits, targets * torch.nan, own)
    assert nothing.item() == 0.0
