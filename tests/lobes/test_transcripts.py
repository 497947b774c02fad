"""Decoding of token scores."""

import io

import pytest
import sentencepiece
import torch

from audiomamba.dataio.problems import PreparationError
from audiomamba.lobes import transcripts
from audiomamba.lobes.transcripts import GreedyDecoder, make_decoder

ARPA = """\\data\\
ngram 1=5
ngram 2=3

\\1-grams:
-1.0\t<unk>
-9.0\t<s>\t-0.3
-1.0\t</s>
-1.0\tBE\t-0.3
-1.0\tBEE\t-0.3

\\2-grams:
-0.1\t<s> BEE
-3.0\t<s> BE
-0.1\tBEE </s>

\\end\\
"""


@pytest.fixture(scope="module")
def tokenizer():
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["BE BEE"] * 9),
        model_writer=model,
        vocab_size=5,
        unk_id=0,
        unk_piece="<blank>",
        bos_id=-1,
        eos_id=-1,
        pad_id=-1,
        minloglevel=2,
    )
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())


def scores(tokenizer, path, spread=8.0):
    """Scores whose best path is given, with "_" for the blank."""
    index = {tokenizer.id_to_piece(i): i for i in range(5)} | {"_": 0}
    steps = torch.tensor([index[piece] for piece in path])
    hot = torch.nn.functional.one_hot(steps, tokenizer.vocab_size())
    return (spread * hot).float().log_softmax(-1)


def test_best_path_and_beam_agree_where_scores_are_clear(tokenizer):
    # Two words; the second has a repeated letter, which needs a blank
    path = ["▁BE", "▁BE", "_", "▁BE", "E", "_", "_"]
    log_probs = scores(tokenizer, path)[None]
    for beam_size in (None, 5):
        decode = make_decoder(tokenizer, beam_size)
        assert decode(log_probs, torch.ones(1)) == ["BE BEE"]


def test_steps_past_the_end_do_not_count(tokenizer):
    path = ["▁BE", "_", "E", "▁BE", "▁BE", "▁BE", "▁BE"]
    log_probs = torch.stack([scores(tokenizer, path)] * 2)
    lengths = torch.tensor([3 / 7, 1.0])
    for beam_size in (None, 5):
        found = make_decoder(tokenizer, beam_size)(log_probs, lengths)
        assert found == ["BEE", "BEE BE"]


def test_a_language_model_decides_where_scores_do_not(tokenizer, tmp_path):
    for package in transcripts.LM_PACKAGES:
        pytest.importorskip(package)
    arpa = tmp_path / "words.arpa"
    arpa.write_text(ARPA)
    log_probs = scores(tokenizer, ["▁BE", "_", "_"])
    # almost as likely: a second E
    log_probs[2] = scores(tokenizer, ["E"], spread=0.0)[0]
    log_probs[2, 0] += 0.2
    assert GreedyDecoder(tokenizer)(log_probs[None], torch.ones(1)) == ["BE"]
    decode = make_decoder(tokenizer, 9, arpa, lm_weight=1.0)
    assert decode(log_probs[None], torch.ones(1)) == ["BEE"]


def test_a_beam_says_what_it_lacks(tokenizer, tmp_path, monkeypatch):
    with pytest.raises(PreparationError, match="give a beam_size as well"):
        make_decoder(tokenizer, None, "lm.arpa")
    with pytest.raises(PreparationError, match="no file .*gone.arpa"):
        make_decoder(tokenizer, 5, tmp_path / "gone.arpa")
    (tmp_path / "lm.arpa").write_text("no language model")
    monkeypatch.setattr(transcripts, "find_spec", lambda name: None)
    with pytest.raises(PreparationError, match="kenlm and pygtrie: pip"):
        make_decoder(tokenizer, 5, tmp_path / "lm.arpa")


@pytest.mark.parametrize("size", [1, 2, 5, 40])
def test_scores_in_parts_give_the_text_of_the_whole(tokenizer, size):
    generator = torch.Generator().manual_seed(size)
    decoder = GreedyDecoder(tokenizer)
    for _ in range(50):
        log_probs = torch.randn(40, 5, generator=generator).log_softmax(-1)
        parts = list(decoder.write(log_probs.split(size)))
        assert len(parts) == -(-40 // size)
        (whole,) = decoder(log_probs[None], torch.ones(1))
        assert "".join(parts) == whole


def test_a_beam_waits_for_the_end(tokenizer):
    log_probs = scores(tokenizer, ["▁BE", "_", "▁BE", "E", "_"])
    beam = make_decoder(tokenizer, 5)
    assert list(beam.write(log_probs.split(2))) == ["BE BEE"]
