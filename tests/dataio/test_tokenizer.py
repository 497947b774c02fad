"""Tokenizers of transcripts."""

import os
import pickle

import pytest

from audiomamba.dataio.manifest import read_labels
from audiomamba.dataio.problems import PreparationError
from audiomamba.dataio.tokenizer import (
    TokenEncoder,
    read_tokenizer,
    train_tokenizer,
)

TEXTS = ["ONE TWO THREE", "TWO SEVEN", "SEVEN ONE ONE", "THREE TWO"] * 5


@pytest.fixture
def train(tmp_path):
    """Train from texts; return the tokenizer and its files."""

    def train(vocab_size, texts=TEXTS):
        rows = [f"{n:03},1.0,{n}.flac,{t}" for n, t in enumerate(texts)]
        manifest = tmp_path / "train.csv"
        manifest.write_text("\n".join(["ID,duration,wav,label", *rows]))
        files = tmp_path / "tokenizer.model", tmp_path / "labels.csv"
        train_tokenizer(manifest, *files, vocab_size)
        return read_tokenizer(files[0]), *files

    return train


def test_all_tokens_are_used_and_give_back_the_texts(train):
    tokenizer, _, labels = train(14)
    assert read_labels(labels)[0] == "<blank>"
    assert len(read_labels(labels)) == tokenizer.vocab_size() == 14
    encode = TokenEncoder(tokenizer)
    found = {token for text in TEXTS for token in encode(text).tolist()}
    assert 0 not in found and found <= set(range(1, 14))
    for text in TEXTS:
        assert tokenizer.decode(encode(text).tolist()) == text


def test_characters_that_training_lacks_are_no_targets(train):
    tokenizer, *_ = train(14)
    encode = TokenEncoder(tokenizer)
    # SentencePiece would cut it otherwise
    assert "?" not in tokenizer.decode(encode("ONE? TWO").tolist())
    assert 0 not in encode("ONE? QQ").tolist()
    assert pickle.loads(pickle.dumps(encode))("TWO").tolist() == (
        encode("TWO").tolist()
    )


def test_it_is_trained_again_when_texts_or_size_change(train):
    _, model, _ = train(14)
    inode, content = os.stat(model).st_ino, model.read_bytes()
    train(14)
    assert os.stat(model).st_ino == inode
    train(13)
    assert model.read_bytes() != content
    train(14)
    assert model.read_bytes() == content
    train(14, TEXTS + ["SEVEN SEVEN"] * 30)
    assert model.read_bytes() != content


@pytest.mark.parametrize("size, bound", [(5, "at least 11"), (90, "at most")])
def test_impossible_sizes_are_refused_with_the_possible_ones(
    train, size, bound
):
    with pytest.raises(PreparationError, match=f"{bound}.*--vocab_size"):
        train(size)
