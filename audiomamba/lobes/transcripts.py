"""From scores of tokens to text: by the best path, or a beam search."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path

import sentencepiece
import torch
from speechbrain.decoders.ctc import CTCBeamSearcher, ctc_greedy_decode

from audiomamba.dataio.problems import PreparationError
from audiomamba.dataio.tokenizer import BLANK, SPACE, pieces
from audiomamba.nnet.lengths import absolute_lengths, check_positive

LM_PACKAGES = ("kenlm", "pygtrie")


class Decoder(ABC):
    """From scores to text."""

    @abstractmethod
    def __call__(
        self, log_probs: torch.Tensor, lengths: torch.Tensor
    ) -> list[str]:
        """Return the text of each utterance.

        Arguments
        ---------
        log_probs : torch.Tensor
            [B, T', C].
        lengths : torch.Tensor
            Relative lengths [B].

        Returns
        -------
        list of str
        """

    def write(self, parts: Iterable[torch.Tensor]) -> Iterator[str]:
        """Write down one utterance whose scores come in parts.

        Arguments
        ---------
        parts : iterable of torch.Tensor
            Log-probabilities [T', C].

        Yields
        ------
        str
            The next part of the text, as soon as it is certain.
        """
        log_probs = torch.cat([*parts])
        yield self(log_probs[None], torch.ones(1))[0]


def best_path(
    log_probs: torch.Tensor, lengths: torch.Tensor, blank_index: int = BLANK
) -> list[list[int]]:
    """Return the tokens of the best path of each utterance.

    For SpeechBrain's ``EncoderASR``, which passes the lengths of waveforms.
    They cannot tell the number of steps and are not used: past the end of an
    utterance, `audiomamba.lobes.Recognizer` gives blanks.

    Arguments
    ---------
    log_probs : torch.Tensor
        [B, T', C].
    lengths : torch.Tensor
        [B].
    blank_index : int
        The token of CTC's blank.

    Returns
    -------
    list of list of int

    Example
    -------
    >>> steps = torch.tensor([[1, 1, 0, 1, 2, 0]])
    >>> scores = torch.nn.functional.one_hot(steps, 3).float().log()
    >>> best_path(scores, torch.ones(1))
    [[1, 1, 2]]
    """
    return ctc_greedy_decode(log_probs, torch.ones_like(lengths), blank_index)


class GreedyDecoder(Decoder):
    """The most likely token of each step; repetitions and blanks are dropped.

    Arguments
    ---------
    tokenizer : sentencepiece.SentencePieceProcessor
        Of `audiomamba.dataio.tokenizer.read_tokenizer`.
    """

    def __init__(self, tokenizer: sentencepiece.SentencePieceProcessor):
        self.tokenizer = tokenizer

    def __call__(
        self, log_probs: torch.Tensor, lengths: torch.Tensor
    ) -> list[str]:
        """Return the text of each utterance; see `Decoder`."""
        found = ctc_greedy_decode(log_probs, lengths, BLANK)
        return [self.tokenizer.decode(tokens) for tokens in found]

    def write(self, parts: Iterable[torch.Tensor]) -> Iterator[str]:
        """Write down one utterance in bounded memory; see `Decoder`."""
        last, first, has_begun = BLANK, [], False
        for part in parts:
            new = []
            for token in part.argmax(-1).tolist():
                if token not in (last, BLANK):
                    new.append(token)
                last = token
            if has_begun:
                names = map(self.tokenizer.id_to_piece, new)
                yield "".join(names).replace(SPACE, " ")
            else:
                # the tokenizer drops the space before the first word
                first += new
                text = self.tokenizer.decode(first)
                has_begun = bool(text)
                yield text


class BeamDecoder(Decoder):
    """SpeechBrain's beam search over words, with or without a language model.

    Arguments
    ---------
    tokenizer : sentencepiece.SentencePieceProcessor
        Of `audiomamba.dataio.tokenizer.read_tokenizer`.
    beam_size : int
        Hypotheses to keep.
    lm_file : str, Path or None
        A language model of words for KenLM, ``.arpa`` or ``.bin``, in the
        spelling of the transcripts.
    lm_weight : float
        Weight of its log-probability.
    word_score : float
        Added for each word, as a language model prefers few words.

    Raises
    ------
    PreparationError
        If there is no such file, or a package of the extra ``lm`` is missing.
    """

    def __init__(
        self,
        tokenizer: sentencepiece.SentencePieceProcessor,
        beam_size: int = 100,
        lm_file: str | Path | None = None,
        lm_weight: float = 0.5,
        word_score: float = 1.5,
    ):
        check_positive(beam_size=beam_size)
        if lm_file is not None:
            if not Path(lm_file).is_file():
                raise PreparationError(
                    f"lm_file: there is no file {lm_file}; give a language "
                    "model for KenLM, or null for a beam without one"
                )
            lost = [name for name in LM_PACKAGES if find_spec(name) is None]
            if lost:
                raise PreparationError(
                    f"lm_file: {lm_file} needs the package {' and '.join(lost)}"
                    ": pip install audiomamba[lm]"
                )
        try:
            self.searcher = CTCBeamSearcher(
                blank_index=BLANK,
                vocab_list=pieces(tokenizer),
                kenlm_model_path=None if lm_file is None else str(lm_file),
                alpha=lm_weight,
                beta=word_score,
                beam_size=beam_size,
            )
        except OSError as error:
            # KenLM's, with the name of the file and what it expected
            raise PreparationError(f"lm_file: {error}") from error

    def __call__(
        self, log_probs: torch.Tensor, lengths: torch.Tensor
    ) -> list[str]:
        """Return the text of each utterance; see `Decoder`."""
        n_own = absolute_lengths(lengths, log_probs.shape[1])
        # SpeechBrain's search would round lengths down
        return [
            self.searcher(scores[None, :n])[0][0].text
            for scores, n in zip(log_probs, n_own.tolist())
        ]


def make_decoder(
    tokenizer: sentencepiece.SentencePieceProcessor,
    beam_size: int | None = None,
    lm_file: str | Path | None = None,
    **options: float,
) -> Decoder:
    """Return the decoder that a YAML or a command line asks for.

    Arguments
    ---------
    tokenizer : sentencepiece.SentencePieceProcessor
        Of `audiomamba.dataio.tokenizer.read_tokenizer`.
    beam_size : int or None
        None for the best path.
    lm_file : str, Path or None
        See `BeamDecoder`; needs a beam.
    **options : float
        Further arguments of `BeamDecoder`.

    Returns
    -------
    Decoder

    Raises
    ------
    PreparationError
        If there is a language model without a beam, or see `BeamDecoder`.
    """
    if beam_size is not None:
        return BeamDecoder(tokenizer, beam_size, lm_file, **options)
    if lm_file is not None:
        raise PreparationError(
            f"lm_file: {lm_file} has no effect on the best path: give a "
            "beam_size as well, for example 100"
        )
    return GreedyDecoder(tokenizer)
