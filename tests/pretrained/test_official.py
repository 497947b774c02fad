"""Checkpoints of Audio Mamba and Vim: files, other grids, refusals."""

import argparse
import json
import logging

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from audiomamba import AudioMamba, load_official, pretrained
from audiomamba.nnet.mixer import SCANS
from audiomamba.pretrained import CheckpointError, initialise

WIDTH, DEPTH = 32, 2


def official(n_classes=7, **arguments):
    """Return an encoder and its state as the authors' code saves it."""
    torch.manual_seed(0)
    settings = dict(n_frames=192, embed_dim=WIDTH, depth=DEPTH)
    encoder = AudioMamba(**{**settings, **arguments}).eval()
    state = {k: v.clone() for k, v in encoder.state_dict().items()}
    state["head.weight"] = torch.randn(n_classes, WIDTH)
    state["head.bias"] = torch.randn(n_classes)
    return encoder, state


def vim(cls_token="middle", side=14, place=None):
    """Return the state of an ImageNet model in Vim's layout."""
    encoder, state = official(
        1000,
        n_mels=16 * side,
        n_frames=16 * side,
        scan="bi_bi",
        cls_token=cls_token,
    )
    table = state.pop("pos_embed.pos_embed")
    place = side * side // 2 if place is None else place
    state["pos_embed"] = torch.cat(
        [table[:, 1 : place + 1], table[:, :1], table[:, place + 1 :]], 1
    )
    state["patch_embed.proj.weight"] = torch.randn(WIDTH, 3, 16, 16)
    return table, state


@pytest.mark.parametrize("prefix", ["", "module.", "backbone.model."])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors", None])
@pytest.mark.parametrize("scan", SCANS)
def test_every_form_of_a_checkpoint_gives_the_same_output(
    prefix, suffix, scan, tmp_path
):
    encoder, state = official(scan=scan)
    source = {prefix + key: value for key, value in state.items()}
    if suffix is not None:
        path = tmp_path / f"best_audio_model{suffix}"
        (torch.save if suffix == ".pth" else save_file)(source, path)
        source = path
    loaded, head = load_official(source)
    feats = torch.randn(2, 192, 128)
    assert torch.equal(loaded(feats), encoder(feats))
    assert torch.equal(head.weight, state["head.weight"])
    assert (loaded.scan, loaded.n_frames) == (scan, 192)
    assert not loaded.training


def test_the_package_and_its_room_offer_the_same_function():
    assert pretrained.load_official is load_official


@pytest.mark.parametrize("cls_token", ["front", "end", "both", None])
@pytest.mark.parametrize("token_order", ["frequency", "time"])
def test_class_token_and_token_order_are_arguments(cls_token, token_order):
    encoder, state = official(cls_token=cls_token, token_order=token_order)
    loaded, _ = load_official(
        state, cls_token=cls_token, token_order=token_order
    )
    feats = torch.randn(2, 192, 128)
    assert torch.equal(loaded(feats), encoder(feats))


@pytest.mark.parametrize(
    "n_frames, stride", [(192, 10), (1024, 10), (200, (16, 10)), (1024, 8)]
)
def test_the_stride_gives_the_grid_of_overlapping_patches(n_frames, stride):
    encoder, state = official(n_frames=n_frames, stride=stride)
    loaded, _ = load_official(state, stride=stride)
    assert loaded.n_frames == n_frames
    assert torch.equal(loaded.pos_embed.pos_embed, encoder.pos_embed.pos_embed)


@pytest.mark.parametrize("n_frames", [128, 1024])
def test_another_number_of_frames_resamples_the_positions(n_frames, caplog):
    encoder, state = official()
    with caplog.at_level(logging.INFO):
        loaded, _ = load_official(state, n_frames=n_frames)
    table = encoder.pos_embed.pos_embed[0, 1:].unflatten(0, (8, 12))
    wanted = F.interpolate(
        table.permute(2, 0, 1)[None],
        (8, n_frames // 16),
        mode="bilinear",
        antialias=True,
    )[0].flatten(1)
    assert torch.equal(loaded.pos_embed.pos_embed[0, 1:], wanted.T)
    assert "resampled: pos_embed.pos_embed" in caplog.text


def test_another_patch_size_resizes_kernel_and_positions():
    _, state = official()
    loaded, _ = load_official(state, patch_size=8)
    assert loaded.patch_size == loaded.stride == (8, 8)
    assert loaded.pos_embed.grid == (16, 24)
    assert loaded(torch.randn(1, 192, 128)).shape == (1, 1, WIDTH)


def test_another_stride_keeps_kernel_and_resamples_positions():
    encoder, state = official(n_frames=1024)
    loaded, _ = load_official(state, stride=10)
    weight = loaded.patch_embed.proj.weight
    assert torch.equal(weight, encoder.patch_embed.proj.weight)
    assert loaded.pos_embed.grid == (12, 101)


def test_imagenet_weights_of_vim(tmp_path, caplog):
    table, state = vim()
    state["rope.freqs_cos"] = torch.ones(196, 16)
    path = tmp_path / "vim_s_midclstok.pth"
    torch.save({"model": state, "args": argparse.Namespace(lr=1)}, path)
    with caplog.at_level(logging.INFO):
        loaded, head = load_official(path, n_frames=1024)
    assert head is None
    assert "dropped: head.bias; head.weight; rope.freqs_cos" in caplog.text
    kernel = state["patch_embed.proj.weight"].mean(1, keepdim=True)
    assert torch.equal(loaded.patch_embed.proj.weight, kernel)
    assert torch.equal(loaded.pos_embed.pos_embed[:, 0], table[:, 0])
    wanted = F.interpolate(
        table[0, 1:].T.unflatten(1, (14, 14))[None],
        (8, 64),
        mode="bilinear",
        antialias=True,
    )[0].flatten(1)
    assert torch.equal(loaded.pos_embed.pos_embed[0, 1:], wanted.T)


@pytest.mark.parametrize("n_classes, fits", [(7, True), (9, False)])
def test_the_classifier_is_loaded_if_its_shape_fits(n_classes, fits, caplog):
    _, state = official()
    target = AudioMamba(n_frames=128, embed_dim=WIDTH, depth=DEPTH)
    classifier = torch.nn.Linear(WIDTH, n_classes)
    before = classifier.weight.clone()
    with caplog.at_level(logging.INFO):
        assert initialise(target, classifier, state) is fits
    same = torch.equal(classifier.weight, before)
    assert same is not fits
    assert ("classifier not loaded: its shapes are" in caplog.text) is not fits
    assert torch.equal(target.norm_f.weight, state["norm_f.weight"])


def test_an_exported_folder_is_read(tmp_path):
    encoder, state = official()
    head = {k[5:]: state[k] for k in ("head.weight", "head.bias")}
    torch.save(encoder.state_dict(), tmp_path / "embedding_model.ckpt")
    torch.save(head, tmp_path / "classifier.ckpt")
    loaded, loaded_head = load_official(tmp_path)
    feats = torch.randn(1, 192, 128)
    assert torch.equal(loaded(feats), encoder(feats))
    assert torch.equal(loaded_head.bias, head["bias"])


class Payload:
    """Run a function when unpickled."""

    def __reduce__(self):
        return (print, ("code was run",))


def test_code_in_a_pickle_is_refused(tmp_path, capsys):
    path = tmp_path / "evil.pth"
    torch.save({"model": Payload()}, path)
    with pytest.raises(CheckpointError, match="could run code") as caught:
        load_official(path)
    # The message does not suggest how to run the code.
    assert "weights_only" not in str(caught.value)
    assert "print" in str(caught.value)
    assert "code was run" not in capsys.readouterr().out


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_truncated_file_is_refused(suffix, tmp_path):
    path = tmp_path / f"cut{suffix}"
    _, state = official()
    (torch.save if suffix == ".pth" else save_file)(state, path)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(CheckpointError, match="cut"):
        load_official(path)


def test_an_empty_file_and_no_file_are_refused(tmp_path):
    path = tmp_path / "empty.pth"
    path.touch()
    with pytest.raises(CheckpointError, match="empty.pth"):
        load_official(path)
    with pytest.raises(CheckpointError, match="no checkpoint"):
        load_official(tmp_path / "missing.pth")


def test_a_checkpoint_of_another_model_is_refused():
    with pytest.raises(CheckpointError, match="another model"):
        load_official(torch.nn.Linear(2, 2).state_dict())
    attention = {
        "patch_embed.proj.weight": torch.ones(8, 1, 16, 16),
        "pos_embed.pos_embed": torch.ones(1, 97, 8),
        "blocks.0.attn.qkv.weight": torch.ones(24, 8),
    }
    with pytest.raises(CheckpointError, match="no cls_token"):
        load_official(attention)
    encoder, state = official()
    del state["layers.0.mixer.A_log"]
    with pytest.raises(CheckpointError, match="layers.0.mixer.A_log"):
        load_official(state)
    wanted = "of AST or DeiT, but .* AudioMamba: give .* Audio Mamba or Vim"
    with pytest.raises(CheckpointError, match=wanted):
        initialise(encoder, None, attention)


@pytest.mark.parametrize("cls_token", ["both", None, "centre"])
def test_a_class_token_that_contradicts_the_tensors_is_refused(cls_token):
    _, state = official()
    with pytest.raises(CheckpointError, match="'front' or 'middle' or 'end'"):
        load_official(state, cls_token=cls_token)


def test_differing_names_and_shapes_are_listed_and_nothing_is_changed():
    _, state = official()
    state["layers.1.norm.weight"] = torch.ones(5)
    state["layers.0.extra"] = torch.ones(1)
    del state["norm_f.weight"]
    target = AudioMamba(n_frames=192, embed_dim=WIDTH, depth=DEPTH)
    before = {k: v.clone() for k, v in target.state_dict().items()}
    with pytest.raises(CheckpointError) as error:
        initialise(target, None, state)
    for part in (
        "layers.1.norm.weight is [5] and should be [32]",
        "layers.0.extra is unknown",
        "norm_f.weight is missing",
    ):
        assert part in str(error.value)
    for key, value in target.state_dict().items():
        assert torch.equal(value, before[key]), key


@pytest.mark.parametrize("fault", ["no bias", "no weight", "another width"])
def test_an_incomplete_classifier_is_refused(fault):
    _, state = official()
    if fault == "another width":
        state["head.weight"] = torch.ones(7, WIDTH + 1)
    else:
        del state[f"head.{fault[3:]}"]
    with pytest.raises(CheckpointError, match="its head has"):
        load_official(state)


@pytest.mark.parametrize("cls_token, place", [("front", 0), ("end", 196)])
def test_the_position_of_vims_token_is_that_of_its_place(cls_token, place):
    table, state = vim(cls_token, place=place)
    n_frames = 224
    loaded, _ = load_official(
        state, cls_token=cls_token, n_mels=224, n_frames=n_frames
    )
    assert torch.equal(loaded.pos_embed.pos_embed, table)


@pytest.mark.parametrize(
    "patch, n_frames", [((8, 16), 1024), ((16, 8), 960), ((128, 2), 64)]
)
def test_patches_need_not_be_square(patch, n_frames):
    encoder, state = official(n_frames=n_frames, patch_size=patch, stride=patch)
    loaded, _ = load_official(state)
    assert (loaded.stride, loaded.n_frames) == (patch, n_frames)
    feats = torch.randn(1, n_frames, 128)
    assert torch.equal(loaded(feats), encoder(feats))


def test_nan_weights_are_refused():
    _, state = official()
    state["norm_f.weight"][3] = float("nan")
    with pytest.raises(CheckpointError, match="NaN .* in norm_f.weight"):
        load_official(state)


def test_an_encoder_without_published_weights_is_refused():
    _, state = official()
    with pytest.raises(CheckpointError, match="cannot start a Linear"):
        initialise(torch.nn.Linear(2, 2), None, state)


@pytest.mark.parametrize(
    "written, other",
    [
        (dict(cls_token="front"), dict(cls_token="end")),
        (dict(token_order="time"), dict(token_order="frequency")),
        (dict(mask_padding=False), {}),
        (dict(output="frames"), {}),
    ],
)
def test_the_yaml_beside_weights_says_how_they_are_used(
    written, other, tmp_path
):
    encoder, state = official(**written)
    torch.save(state, tmp_path / "model.pth")
    yaml = tmp_path / "hyperparams.yaml"
    arguments = {"n_frames": 192, "embed_dim": WIDTH, "depth": DEPTH, **written}
    text = json.dumps(arguments)
    yaml.write_text(f"embedding_model: !new:audiomamba.AudioMamba {text}")
    loaded, _ = load_official(tmp_path / "model.pth")
    feats, lengths = torch.randn(2, 192, 128), torch.tensor([1.0, 0.5])
    assert torch.equal(loaded(feats, lengths), encoder(feats, lengths))
    if other:
        (key, value), *_ = other.items()
        words = f"contradicts {key}='{value}"
        with pytest.raises(CheckpointError, match=words):
            load_official(tmp_path, **other)
        target = AudioMamba(**{**arguments, **other})
        with pytest.raises(CheckpointError, match=words):
            initialise(target, None, tmp_path)


@pytest.mark.parametrize("place", ["model", "run/save/CKPT+1"])
def test_the_yaml_beside_weights_says_what_the_positions_are(place, tmp_path):
    sizes = dict(n_mels=64, embed_dim=WIDTH, depth=1, cls_token=None)
    source = AudioMamba(n_frames=80, **sizes)
    folder = tmp_path / place
    folder.mkdir(parents=True)
    torch.save(source.state_dict(), folder / "embedding_model.ckpt")
    yaml = tmp_path / place.partition("/")[0] / "hyperparams.yaml"
    target = AudioMamba(n_frames=80, stride=10, **sizes)
    tables = []
    # 4 x 5 positions could be 5 x 4 at the new stride
    for text in (
        "embedding_model: !new:a.Other {n_frames: 1}\n",
        "embedding_model: !new:audiomamba.AudioMamba\n"
        "    {n_mels: 64, n_frames: 80, patch_size: 16}\n",
    ):
        yaml.write_text(text)
        initialise(target, None, folder)
        tables.append(target.pos_embed.pos_embed.clone())
    initialise(target, None, source.state_dict(), stride=16)
    guessed, known = tables
    assert torch.equal(known, target.pos_embed.pos_embed)
    assert not torch.equal(guessed, known)
    yaml.write_text(yaml.read_text().replace("80", "96"))
    with pytest.raises(CheckpointError, match="4 x 6"):
        initialise(target, None, folder)
