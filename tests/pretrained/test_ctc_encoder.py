"""Speech recognisers that start from other models' encoders."""

import io
import logging

import pytest
import sentencepiece
import torch

from audiomamba import AudioMamba
from audiomamba.lobes import CTCEncoder
from audiomamba.pretrained import CheckpointError, initialise, read_class_names
from audiomamba.pretrained.sources import encoder_settings

WIDTH, BINS = 32, 128


def make(patch_size=(BINS, 2), **arguments):
    """Return an encoder with noise for its positions."""
    torch.manual_seed(1)
    encoder = AudioMamba(
        n_mels=BINS,
        n_frames=64,
        patch_size=patch_size,
        stride=patch_size,
        embed_dim=WIDTH,
        depth=2,
        **arguments,
    ).eval()
    torch.nn.init.normal_(encoder.pos_embed.pos_embed)
    return encoder


def recognizer(**arguments):
    torch.manual_seed(2)
    return CTCEncoder(make(cls_token=None, **arguments)).eval()


@pytest.mark.parametrize("cls_token", [None, "middle", "both"])
def test_all_but_the_class_tokens_is_loaded(cls_token, caplog):
    source, target = make(cls_token=cls_token), recognizer()
    state = source.state_dict()
    with caplog.at_level(logging.INFO):
        assert not initialise(target, torch.nn.Linear(WIDTH, 5), state)
    n_cls = source.pos_embed.n_cls
    loaded = target.encoder.state_dict()
    table = loaded.pop("pos_embed.pos_embed")
    assert torch.equal(table, state["pos_embed.pos_embed"][:, n_cls:])
    assert all(torch.equal(value, state[key]) for key, value in loaded.items())
    assert ("dropped: cls_token" in caplog.text) == bool(n_cls)


def test_vim_loads_without_its_class_token():
    target, source = recognizer(scan="bi_bi"), make(16, scan="bi_bi")
    state = {k: v.clone() for k, v in source.state_dict().items()}
    table = torch.randn(1, 10, WIDTH)
    state.pop("pos_embed.pos_embed")
    state["pos_embed"] = table
    state["patch_embed.proj.weight"] = torch.randn(WIDTH, 3, 16, 16)
    initialise(target, None, state)
    for layer, given in zip(target.encoder.layers, source.layers):
        weight = given.mixer.in_proj.weight
        assert torch.equal(layer.mixer.in_proj.weight, weight)
    # the table has no trace of the class token's position, in the middle
    before = target.encoder.pos_embed.pos_embed.clone()
    table[:, 4] = 9.0  # of the row's nine patches and one class token
    initialise(target, None, state)
    assert torch.equal(target.encoder.pos_embed.pos_embed, before)


def test_square_patches_are_resized(caplog):
    target, source = recognizer(), make(16, cls_token="middle")
    with caplog.at_level(logging.INFO):
        initialise(target, None, source.state_dict())
    assert "[32, 1, 16, 16] -> [32, 1, 128, 2]" in caplog.text
    assert target(torch.randn(1, 40, BINS))[0].isfinite().all()


@pytest.mark.parametrize("change", ["depth", "scan", "width"])
def test_another_architecture_is_refused_and_changes_nothing(change):
    source = {
        "depth": lambda: (
            make(scan="fo_bi").state_dict()
            | {"layers.2.mixer.D": torch.ones(1)}
        ),
        "scan": lambda: make(scan="fo_fo").state_dict(),
        "width": lambda: AudioMamba(embed_dim=16, depth=2).state_dict(),
    }[change]()
    target = recognizer()
    before = {k: v.clone() for k, v in target.state_dict().items()}
    with pytest.raises(CheckpointError, match="does not fit"):
        initialise(target, None, source)
    assert all(
        torch.equal(v, before[k]) for k, v in target.state_dict().items()
    )


def test_a_recogniser_with_class_tokens_starts_from_itself():
    source = CTCEncoder(make(cls_token="middle")).eval()
    target = CTCEncoder(make(cls_token="middle")).eval()
    torch.nn.init.zeros_(target.encoder.cls_token)
    initialise(target, None, source.state_dict())
    feats = torch.randn(1, 20, BINS)
    assert torch.equal(target(feats)[0], source(feats)[0])


def write_model(folder, encoder, yaml, size):
    """Write an exported recogniser's weights, YAML and tokenizer."""
    folder.mkdir()
    head, model = torch.nn.Linear(WIDTH, size), io.BytesIO()
    torch.save(encoder.state_dict(), folder / "embedding_model.ckpt")
    torch.save(head.state_dict(), folder / "classifier.ckpt")
    (folder / "hyperparams.yaml").write_text(yaml)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["ONE TWO SIX"] * 9),
        model_writer=model,
        vocab_size=size,
        unk_id=0,
        bos_id=-1,
        eos_id=-1,
        pad_id=-1,
        minloglevel=2,
    )
    (folder / "tokenizer.ckpt").write_bytes(model.getvalue())
    return head


def test_the_head_is_loaded_if_its_tokens_are_those_of_the_data(tmp_path):
    yaml = (
        "embedding_model: !new:audiomamba.lobes.ctc.CTCEncoder\n"
        "    encoder: !new:audiomamba.lobes.audio_mamba.AudioMamba\n"
        f"        {{n_mels: {BINS}, n_frames: 64, patch_size: [{BINS}, 2],"
        f" stride: [{BINS}, 2]}}\n"
    )
    source = recognizer()
    head = write_model(tmp_path / "model", source, yaml, size=11)
    names = read_class_names(tmp_path / "model")
    assert len(names) == 11 and {*"ONETWSIX"} < {*names}
    settings = encoder_settings(tmp_path / "model")
    assert (settings["class"], settings["n_frames"]) == ("AudioMamba", 64)
    target, classifier = recognizer(), torch.nn.Linear(WIDTH, 11)
    torch.nn.init.zeros_(target.encoder.pos_embed.pos_embed)
    model = str(tmp_path / "model")
    assert not initialise(target, classifier, model, labels=names[::-1])
    assert initialise(target, classifier, model, labels=names)
    assert torch.equal(classifier.weight, head.weight)
    feats = torch.randn(1, 20, BINS)
    assert torch.equal(target(feats)[0], source(feats)[0])
    # and a tagger can have the encoder
    encoder = make(cls_token=None)
    initialise(encoder, None, model)
    assert torch.equal(
        encoder(feats, output="frames"), source.encoder(feats, output="frames")
    )
