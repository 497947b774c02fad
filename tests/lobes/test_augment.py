"""Augmentation of every clip, with random numbers from torch alone."""

import subprocess
import sys

import numpy as np
import pytest
import torch
import torchaudio
from speechbrain.nnet.containers import LengthsCapableSequential

from audiomamba.lobes.augment import (
    Mixup,
    SpectrogramMask,
    TimeRollNoise,
    TimeWarp,
)

EVERY = [SpectrogramMask, TimeWarp, TimeRollNoise]


@pytest.fixture(autouse=True)
def seeded():
    """Make statistics over many draws reproducible."""
    torch.manual_seed(0)


def noise(*shape):
    """Return values that are all different, and never 0."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(*shape, generator=generator) + 10.0


@pytest.mark.parametrize("make", EVERY)
class TestEverySpectrogramAugmentation:
    def test_is_inactive_in_evaluation_and_never_in_place(self, make):
        feats = noise(3, 300, 128)
        before = feats.clone()
        assert torch.equal(make().eval()(feats), before)
        assert not torch.equal(make()(feats), before)
        assert torch.equal(feats, before)

    def test_repeats_with_the_seed(self, make):
        feats, augment = noise(3, 300, 128), make()
        torch.manual_seed(1)
        first = augment(feats)
        second = augment(feats)
        torch.manual_seed(1)
        assert torch.equal(augment(feats), first)
        assert not torch.equal(second, first)

    def test_clips_are_augmented_differently(self, make):
        feats = noise(1, 300, 128).expand(2, -1, -1)
        torch.manual_seed(0)
        first, second = make()(feats)
        assert not torch.equal(first, second)

    def test_padding_is_unchanged_and_ignored(self, make):
        feats = noise(2, 300, 16)
        lengths = torch.tensor([1.0, 0.5])
        other = feats.clone()
        other[1, 150:] = -99.0
        outcomes = []
        for batch in (feats, other):
            torch.manual_seed(3)
            outcomes.append(make()(batch, lengths))
            assert torch.equal(outcomes[-1][1, 150:], batch[1, 150:])
        assert torch.equal(outcomes[0][1, :150], outcomes[1][1, :150])

    def test_use_lengths_false_ignores_them(self, make):
        feats, lengths = noise(2, 300, 16), torch.tensor([1.0, 0.2])
        torch.manual_seed(0)
        wanted = make()(feats)
        torch.manual_seed(0)
        assert torch.equal(make(use_lengths=False)(feats, lengths), wanted)

    @pytest.mark.parametrize("n_frames", [1, 2, 12])
    def test_short_clips_are_augmented(self, make, n_frames):
        feats = noise(4, n_frames, 128)
        for lengths in (None, torch.tensor([1.0, 0.5, 0.3, 0.01])):
            augmented = make()(feats, lengths)
            assert augmented.shape == feats.shape
            assert augmented.isfinite().all()


class TestSpectrogramMask:
    @pytest.mark.parametrize(("n_freq", "n_time"), [(1, 1), (2, 3)])
    def test_equals_torchaudio(self, n_freq, n_time):
        """With the same draws, bit for bit."""
        feats = noise(6, 400, 128)
        mask = SpectrogramMask(48, 192, n_freq, n_time)
        for seed in range(20):
            torch.manual_seed(seed)
            got = mask(feats)
            torch.manual_seed(seed)
            wanted = feats
            for axis, size, count in ((2, 48, n_freq), (1, 192, n_time)):
                for _ in range(count):
                    wanted = torchaudio.functional.mask_along_axis_iid(
                        wanted, size, 0.0, axis
                    )
            assert torch.equal(got, wanted)

    def test_all_widths_and_positions_occur(self):
        """Over many clips: all widths below the limit, and all positions."""
        feats = torch.ones(4000, 40, 1)
        torch.manual_seed(0)
        masked = SpectrogramMask(0, 8)(feats)[..., 0] == 0
        widths = masked.sum(dim=1)
        counts = torch.bincount(widths, minlength=9)
        assert counts[8] == 0
        assert (counts[:8] > 400).all() and (counts[:8] < 600).all()
        first = masked.int().argmax(dim=1)[widths > 0]
        assert first.min() == 0 and first.max() >= 38
        # each mask is one piece: as many edges as masks
        edges = masked.int().diff(dim=1).abs().sum(dim=1)
        assert edges.max() == 2

    def test_redrawn_widths_are_half_as_wide(self):
        feats = torch.ones(4000, 400, 1)
        torch.manual_seed(0)
        once = SpectrogramMask(0, 192)(feats)
        twice = SpectrogramMask(0, 192, redraw_width=True)(feats)
        share = [(masked == 0).float().mean() * 400 for masked in (once, twice)]
        # means of floor(U * 192), and of a whole number below it
        assert share[0] == pytest.approx(95.5, abs=3)
        assert share[1] == pytest.approx(47.5, abs=3)

    def test_time_masks_are_within_the_clip(self):
        feats = torch.ones(500, 300, 4)
        lengths = torch.full((500,), 0.2)
        torch.manual_seed(0)
        masked = SpectrogramMask(0, 192)(feats, lengths) == 0
        assert not masked[:, 60:].any()
        # rounding down makes masks that reach the end rare
        assert masked[:, :58].any(dim=0).all()
        assert not masked[:, :60].all(dim=1).any()

    def test_fills_with_a_number(self):
        masked = SpectrogramMask(fill=-3.5)(noise(2, 300, 128))
        assert (masked == -3.5).any()
        assert not (masked == 0).any()

    def test_fills_with_the_mean_of_the_clip(self):
        feats = noise(2, 300, 128)
        feats[1] *= 2
        feats[1, 150:] = 1e6
        lengths = torch.tensor([1.0, 0.5])
        torch.manual_seed(0)
        got = SpectrogramMask(fill="mean")(feats, lengths)
        changed = got != feats
        for row, own in enumerate((300, 150)):
            assert changed[row].any()
            wanted = feats[row, :own].double().mean().float()
            assert torch.allclose(got[row][changed[row]], wanted, rtol=1e-5)

    @pytest.mark.parametrize(
        "settings", [{"fill": "zero"}, {"freq_mask": -1}, {"n_time_masks": -1}]
    )
    def test_invalid_settings_are_refused(self, settings):
        with pytest.raises(ValueError, match="fill|negative"):
            SpectrogramMask(**settings)


class TestTimeWarp:
    def test_is_piecewise_linear_with_fixed_ends(self):
        """On a ramp, a value tells which frame it came from."""
        feats = torch.arange(200.0)[None, :, None].expand(500, -1, 3)
        warped = TimeWarp(window=5)(feats)
        source = warped[..., 0].double()
        assert torch.equal(warped[..., 0], warped[..., 2])
        assert source[:, 0].abs().max() == 0
        assert (source[:, -1] - 199).abs().max() < 1e-3
        distance = (source - torch.arange(200)).abs().amax(dim=1)
        assert distance.max() <= 5 and distance.max() > 4.5
        # the shift is uniform, and largest at the drawn frame
        assert distance.mean() == pytest.approx(2.5, abs=0.3)
        # two slopes, and one frame over which the slope changes
        bends = source.diff(dim=1).diff(dim=1).abs() > 1e-4
        assert bends.sum(dim=1).max() <= 2

    def test_clips_too_short_to_warp_are_unchanged(self):
        feats = noise(2, 30, 4)
        warped = TimeWarp(window=5)(feats, torch.tensor([1.0, 12 / 30]))
        assert torch.equal(warped[1], feats[1])
        assert not torch.equal(warped[0], feats[0])

    def test_window_0_does_not_warp(self):
        feats = noise(2, 30, 4)
        assert torch.allclose(TimeWarp(window=0)(feats), feats, atol=1e-4)

    def test_a_negative_window_is_refused(self):
        with pytest.raises(ValueError, match="window is -1"):
            TimeWarp(window=-1)


class TestTimeRollNoise:
    def test_rolls_within_the_clip(self):
        feats = torch.arange(60.0)[None, :, None].expand(600, -1, 2)
        lengths = torch.full((600,), 0.5)
        rolled = TimeRollNoise(noise=0.0)(feats, lengths)[..., 0]
        shifts = (-rolled[:, 0].long()) % 30
        for row, shift in zip(rolled, shifts.tolist(), strict=True):
            assert torch.equal(row[:30], torch.arange(30.0).roll(shift))
            assert torch.equal(row[30:], torch.arange(30.0, 60.0))
        shifts = torch.where(shifts >= 15, shifts - 30, shifts)
        assert sorted(set(shifts.tolist())) == list(range(-10, 10))

    def test_noise_is_uniform_times_uniform(self):
        added = TimeRollNoise(max_shift=0)(torch.zeros(400, 50, 20))
        assert added.min() >= 0 and added.max() < 0.1
        means = added.mean(dim=(1, 2))
        assert means.max() > 0.045 and means.min() < 0.005
        assert means.mean() == pytest.approx(0.025, abs=0.003)
        # uniform within a clip, so the largest is twice the mean
        largest = added.amax(dim=(1, 2))
        assert torch.allclose(largest, 2 * means, rtol=0.1)


class TestMixup:
    def setup_method(self):
        generator = torch.Generator().manual_seed(0)
        self.own = [8000, 5000, 8000, 6001]
        self.wavs = torch.randn(4, 8000, generator=generator) + 0.5
        for wav, n in zip(self.wavs, self.own, strict=True):
            wav[n:] = 0.0
        self.lengths = torch.tensor(self.own) / 8000
        self.targets = torch.eye(4)

    def mix(self, *args, seed=0, **settings):
        torch.manual_seed(seed)
        args = args or (self.wavs, self.lengths, self.targets)
        return Mixup(**settings)(*args)

    def test_mixes_as_in_the_authors_code(self):
        """Recomputed clip by clip from the weights in the targets."""
        before = self.wavs.clone()
        wavs, lengths, targets = self.mix(probability=1.0)
        assert torch.equal(lengths, self.lengths)
        assert torch.equal(self.wavs, before)
        for row, n in enumerate(self.own):
            weight = targets[row, row].item()
            partner = targets[row].clone().index_fill(0, torch.tensor(row), 0)
            partner = partner.argmax().item()
            assert 0 < weight < 1
            assert targets[row, partner] == pytest.approx(1 - weight, abs=1e-6)
            first = self.wavs[row, :n].double().numpy()
            second = self.wavs[partner, : self.own[partner]].double().numpy()
            first, second = first - first.mean(), second - second.mean()
            fitted = np.zeros(n)
            shared = min(n, len(second))
            fitted[:shared] = second[:shared]
            wanted = weight * first + (1 - weight) * fitted
            wanted -= wanted.mean()
            assert np.abs(wavs[row, :n].numpy() - wanted).max() < 1e-5
            assert not wavs[row, n:].any()

    def test_probability_weights_and_partners_are_as_specified(self):
        wavs = torch.ones(2000, 1)
        targets = torch.eye(2000)
        _, _, targets = self.mix(
            wavs, torch.ones(2000), targets, probability=0.6
        )
        assert torch.allclose(targets.sum(dim=1), torch.ones(2000))
        weights = targets.diagonal()
        mixed = weights < 1
        assert mixed.float().mean() == pytest.approx(0.6, abs=0.04)
        # Beta(10, 10): mean 1/2, variance 1/84
        assert weights[mixed].mean() == pytest.approx(0.5, abs=0.01)
        assert weights[mixed].var() == pytest.approx(1 / 84, rel=0.15)
        partners = targets - torch.diag(weights)
        distance = partners[mixed].argmax(dim=1)
        assert distance.float().mean() == pytest.approx(999.5, abs=60)
        # never the clip itself
        assert ((targets > 0).sum(dim=1) == 1 + mixed.long()).all()

    def test_clips_that_are_not_mixed_are_unchanged(self):
        for settings in ({"probability": 0.0}, {"probability": 0.5}):
            wavs, _, targets = self.mix(seed=1, **settings)
            same = (targets == self.targets).all(dim=1)
            assert same.any()
            assert torch.equal(wavs[same], self.wavs[same])

    def test_evaluation_and_single_clips_are_unchanged(self):
        batch = (self.wavs, self.lengths, self.targets)
        for got in (
            Mixup(1.0).eval()(*batch),
            Mixup(1.0)(self.wavs[:1], self.lengths[:1], self.targets[:1]),
        ):
            for mine, wanted in zip(got, batch, strict=True):
                assert torch.equal(mine, wanted[: len(mine)])

    def test_labels_of_both_clips_keep_full_weight(self):
        targets = torch.tensor([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]])
        _, _, targets = self.mix(
            self.wavs[:2], self.lengths[:2], targets, probability=1.0
        )
        assert torch.allclose(targets[:, 1], torch.ones(2))
        assert ((targets[:, [0, 2]] > 0) & (targets[:, [0, 2]] < 1)).all()

    def test_class_indices_become_rows(self):
        indices = torch.tensor([2, 0, 1, 2])
        batch = (self.wavs, self.lengths, indices)
        _, _, targets = self.mix(*batch, probability=0.0, n_classes=3)
        assert torch.equal(targets.argmax(dim=1), indices)
        assert targets.dtype == torch.float32 and targets.shape == (4, 3)
        with pytest.raises(ValueError, match="n_classes"):
            self.mix(*batch)

    def test_repeats_with_the_seed(self):
        first = self.mix(seed=5)[0]
        assert torch.equal(self.mix(seed=5)[0], first)
        assert not torch.equal(self.mix(seed=6)[0], first)

    @pytest.mark.parametrize("settings", [{"probability": 1.5}, {"alpha": 0.0}])
    def test_invalid_settings_are_refused(self, settings):
        with pytest.raises(ValueError, match="probability|alpha"):
            Mixup(**settings)


def test_a_chain_passes_the_lengths_on():
    """Recipes combine warp and masks in SpeechBrain's container."""
    feats, lengths = noise(2, 300, 128), torch.tensor([1.0, 0.5])
    parts = TimeWarp(), SpectrogramMask(fill="mean")
    torch.manual_seed(0)
    got = LengthsCapableSequential(*parts)(feats, lengths=lengths)
    torch.manual_seed(0)
    wanted = parts[1](parts[0](feats, lengths), lengths)
    assert torch.equal(got, wanted)
    assert torch.equal(got[1, 150:], feats[1, 150:])


def test_importing_the_package_loads_used_modules_only():
    program = """
import sys
from audiomamba.lobes.augment import SpectrogramMask
print([name for name in sys.modules if "lobes.augment." in name])
"""
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True
    )
    assert run.stdout.strip() == "['audiomamba.lobes.augment.spectrogram']"
