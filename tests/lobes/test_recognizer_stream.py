"""A recogniser on a stream equals one pass over the whole."""

import pytest
import torch
from speechbrain.processing.features import InputNormalization

from audiomamba.lobes import KaldiFbank, SpeechBrainFbank


def n_kept(stream):
    """Count the numbers that a stream keeps."""
    kept = [stream.framer.rest, stream.encoder.framer.rest]
    for state in stream.encoder.states:
        kept += [part for part in state if isinstance(part, torch.Tensor)]
    return sum(part.numel() for part in kept)


@torch.no_grad()
@pytest.mark.parametrize("size", [1, 160, 700, 9000])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"patch_size": (16, 8), "n_frames": 8},
        # Frames that leave samples out
        {"features": KaldiFbank(n_mels=16, frame_shift=40.0)},
    ],
)
def test_parts_have_the_scores_of_the_whole(make_recognizer, size, options):
    recognizer, wavs = make_recognizer(**options), torch.randn(2, 9001)
    stream = recognizer.stream()
    parts = [stream.step(part) for part in wavs.split(size, 1)]
    log_probs, lengths = recognizer(wavs, torch.ones(2))
    n_own = int((lengths[0] * log_probs.shape[1]).round())
    torch.testing.assert_close(
        torch.cat(parts, 1), log_probs[:, :n_own], atol=1e-4, rtol=0
    )


def test_what_it_keeps_does_not_grow(make_recognizer):
    stream, sizes = make_recognizer().stream(), []
    for _ in range(30):
        stream.step(torch.randn(1, 1600))
        sizes.append(n_kept(stream))
    # what waits for the rest of a frame or of a patch
    assert max(sizes) <= min(sizes) + 400 + 8 * 16
    assert min(sizes) > 0


@pytest.mark.parametrize(
    "parts, complaint",
    [
        ({"scan": "fo_bi"}, "scan is 'fo_bi'"),
        ({"n_frames": 400}, "train with n_frames: 4"),
        ({"norm": InputNormalization(norm_type="sentence")}, "InputNormal"),
        ({"features": SpeechBrainFbank(n_mels=16)}, "frames of KaldiFbank"),
        ({"features": KaldiFbank(n_mels=16, n_frames=99)}, "n_frames to None"),
    ],
)
def test_what_looks_ahead_is_refused(make_recognizer, parts, complaint):
    with pytest.raises(ValueError, match=complaint):
        make_recognizer(**parts).stream()
