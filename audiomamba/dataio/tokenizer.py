"""SentencePiece: from transcripts to tokens and back.

Token 0 is the blank of CTC. No text contains it: SentencePiece gives it for
characters that the training transcripts do not have, and these are left out of
targets, as no model could write them.
"""

import io
import json
import re
from pathlib import Path

import sentencepiece
import torch

from audiomamba.dataio.files import replaced_file, write_json
from audiomamba.dataio.manifest import inputs_key, read_manifest, write_labels
from audiomamba.dataio.problems import PreparationError

BLANK = 0
_BLANK_PIECE = "<blank>"
# SentencePiece's sign for a space
SPACE = "\u2581"


def train_tokenizer(
    manifest: str | Path,
    model_file: str | Path,
    label_file: str | Path,
    vocab_size: int,
) -> None:
    """Train a unigram tokenizer from transcripts (arXiv 1808.06226).

    It is reused until the transcripts or the size change.

    Arguments
    ---------
    manifest : str or Path
        CSV whose column ``label`` has the transcripts.
    model_file : str or Path
        The tokenizer to write.
    label_file : str or Path
        Gets the tokens by index; see `audiomamba.dataio.manifest`.
    vocab_size : int
        Number of tokens with the blank; at least as many as the transcripts
        have different characters, plus 2.

    Raises
    ------
    PreparationError
        If the transcripts allow no such size.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> rows = [f"{n},1.0,{n}.wav,NO YES NO" for n in range(9)]
    >>> text = "\\n".join(["ID,duration,wav,label", *rows])
    >>> _ = (folder / "train.csv").write_text(text)
    >>> train_tokenizer(
    ...     folder / "train.csv", folder / "m.model", folder / "m.csv", 8
    ... )
    >>> tokenizer = read_tokenizer(folder / "m.model")
    >>> tokenizer.decode(tokenizer.encode("YES NO"))
    'YES NO'
    """
    record_file = Path(model_file).with_suffix(".json")
    record = {"key": inputs_key({"vocab_size": vocab_size}, [manifest])}
    made = [Path(model_file), Path(label_file), record_file]
    if all(path.is_file() for path in made):
        if json.loads(record_file.read_text(encoding="utf-8")) == record:
            return
    record_file.unlink(missing_ok=True)
    tokenizer = _train(read_manifest(manifest)["label"], vocab_size)
    with replaced_file(model_file) as draft:
        draft.write_bytes(tokenizer.serialized_model_proto())
    write_labels(label_file, pieces(tokenizer))
    write_json(record_file, record)


def _train(texts, vocab_size):
    """Return a tokenizer of texts."""
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts),
            model_writer=model,
            vocab_size=vocab_size,
            model_type="unigram",
            character_coverage=1.0,
            # texts are compared as they are
            normalization_rule_name="identity",
            unk_id=BLANK,
            unk_piece=_BLANK_PIECE,
            bos_id=-1,
            eos_id=-1,
            pad_id=-1,
            minloglevel=2,
        )
    except RuntimeError as error:
        fewest = re.search(
            rf"required_chars\. {vocab_size} vs (\d+)", str(error)
        )
        most = re.search(r"set it to a value <= (\d+)", str(error))
        if not (fewest or most):
            raise
        bound = f"at least {fewest[1]}" if fewest else f"at most {most[1]}"
        raise PreparationError(
            f"vocab_size is {vocab_size}, but the training transcripts give "
            f"{bound} tokens: pass --vocab_size with such a number"
        ) from error
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())


def read_tokenizer(path: str | Path) -> sentencepiece.SentencePieceProcessor:
    """Read a tokenizer.

    Arguments
    ---------
    path : str or Path
        Written by `train_tokenizer`.

    Returns
    -------
    sentencepiece.SentencePieceProcessor
    """
    return sentencepiece.SentencePieceProcessor(model_file=str(path))


def pieces(tokenizer: sentencepiece.SentencePieceProcessor) -> list[str]:
    """Return the tokens by index."""
    return [tokenizer.id_to_piece(i) for i in range(tokenizer.vocab_size())]


class TokenEncoder:
    """Dynamic item that turns a transcript into tokens.

    Arguments
    ---------
    tokenizer : sentencepiece.SentencePieceProcessor
        Of `read_tokenizer`.
    """

    ITEM = ("label", "target")

    def __init__(self, tokenizer: sentencepiece.SentencePieceProcessor):
        self.tokenizer = tokenizer

    def __call__(self, label: str) -> torch.Tensor:
        """Return the tokens [n], int64."""
        tokens = self.tokenizer.encode(label)
        return torch.tensor([n for n in tokens if n != BLANK], dtype=torch.long)
