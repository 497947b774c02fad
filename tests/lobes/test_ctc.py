"""The encoder, called as in SpeechBrain's CTC recipes."""

import pytest
import torch
from speechbrain.decoders import ctc_greedy_decode

from audiomamba.lobes import AudioMamba, CTCEncoder


def make(patch=4, stride=4, **options):
    torch.manual_seed(0)
    return CTCEncoder(
        AudioMamba(
            n_mels=8,
            n_frames=40,
            patch_size=(8, patch),
            stride=(8, stride),
            embed_dim=16,
            depth=2,
            cls_token=None,
            **options,
        )
    ).eval()


@torch.no_grad()
@pytest.mark.parametrize("patch, stride", [(4, 4), (8, 4), (3, 4)])
def test_a_batch_has_one_step_per_stride_rounded_up(patch, stride):
    transformer = make(patch, stride)
    for n_frames in range(1, 30):
        enc_out, pred = transformer(torch.randn(2, n_frames, 8), tgt=None)
        assert enc_out.shape == (2, -(-n_frames // stride), 16)
        assert pred is None and torch.isfinite(enc_out).all()


@torch.no_grad()
def test_step_n_is_patch_n():
    """Steps are uniform in time and have no class token among them."""
    transformer = make(scan="fo_fo")
    feats = torch.randn(1, 40, 8)
    other = feats.clone()
    other[:, 20:24] += 1.0
    first, second = transformer(feats)[0], transformer(other)[0]
    moved = (first != second).any(-1)[0].tolist()
    # A forward scan is causal.
    assert moved == [False] * 5 + [True] * 5


@torch.no_grad()
def test_decoding_does_not_depend_on_the_batch():
    """SpeechBrain rounds relative lengths, which must not matter."""
    transformer = make()
    project = torch.nn.Linear(16, 5)
    for longest in range(30, 46):
        feats = torch.randn(2, longest, 8)
        for n_frames in range(9, longest):
            alone = feats[1:, :n_frames]
            wav_lens = torch.tensor([1.0, n_frames / longest])
            together, _ = transformer(feats, wav_len=wav_lens)
            single, _ = transformer(alone, wav_len=torch.ones(1))
            n_own = n_frames // 4
            torch.testing.assert_close(
                together[1, :n_own], single[0, :n_own], atol=1e-5, rtol=0
            )
            assert (together[1, n_own:] == together[1, n_own - 1]).all()
            decoded = ctc_greedy_decode(project(together), wav_lens, 0)
            expected = ctc_greedy_decode(project(single), torch.ones(1), 0)
            assert decoded[1:] == expected


def test_gradients_reach_every_weight():
    transformer = make().train()
    enc_out, _ = transformer(torch.randn(2, 24, 8), wav_len=torch.ones(2))
    enc_out.square().sum().backward()
    assert all(p.grad is not None for p in transformer.parameters())


def test_patches_must_be_as_high_as_the_spectrogram():
    with pytest.raises(ValueError, match=r"patch_size \[80, 16\]"):
        CTCEncoder(AudioMamba(n_mels=80, patch_size=16, depth=1))


def test_an_encoder_that_hears_padding_is_refused():
    tall = dict(n_mels=8, patch_size=(8, 4), embed_dim=16, depth=1)
    with pytest.raises(ValueError, match="leave mask_padding out"):
        CTCEncoder(AudioMamba(**tall, mask_padding=False))


def test_a_decoder_target_is_refused():
    with pytest.raises(ValueError, match="CTC alone"):
        make()(torch.randn(1, 8, 8), tgt=torch.ones(1, 3))
