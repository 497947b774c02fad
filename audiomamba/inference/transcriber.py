"""Write down what is said in recordings of any length."""

from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path

import torch
from speechbrain.inference.ASR import EncoderASR

from audiomamba.dataio.audio import audio_info, read_blocks, resample_blocks
from audiomamba.dataio.samples import Samples, mono_blocks
from audiomamba.inference.exported.loading import LoadedModel
from audiomamba.lobes.transcripts import make_decoder
from audiomamba.nnet.lengths import check_positive

# Seconds of a window, and of its overlap with the next one
WINDOW, OVERLAP = 30.0, 4.0


class Transcriber(LoadedModel, EncoderASR):
    """Transcribes recordings of any format, sample rate and length.

    Loads models that ``tools/export_pretrained.py`` writes from a run of
    ``recipes/LibriSpeech``.  An utterance gets the text of the recipe's
    evaluation.

    A model's ``hyperparams.yaml`` names Python objects to create, as everywhere
    in SpeechBrain: from an untrusted source it can run arbitrary code.

    Arguments
    ---------
    *args, **kwargs
        As for SpeechBrain's ``EncoderASR``; see `from_hparams`.
    """

    HPARAMS_NEEDED = [*EncoderASR.HPARAMS_NEEDED, "audio_normalizer"]
    MODULES_NEEDED = [*EncoderASR.MODULES_NEEDED, "recognizer"]

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.sample_rate = self.hparams.audio_normalizer.sample_rate
        clip_encoder = self.mods.recognizer.clip_encoder
        stride = clip_encoder.embedding_model.encoder.stride[1]
        # Seconds
        self.step = stride * clip_encoder.compute_features.hop
        self.step /= self.sample_rate
        self.use_beam(None)

    @cached_property
    def streams(self) -> bool:
        """Whether the model can write down sound as it arrives."""
        try:
            self.mods.recognizer.stream()
        except ValueError:
            return False
        return True

    def use_beam(
        self,
        beam_size: int | None,
        lm_file: str | Path | None = None,
        **options: float,
    ) -> None:
        """Choose how `transcribe_file` decodes.

        Arguments
        ---------
        beam_size, lm_file, **options
            See `audiomamba.lobes.transcripts.make_decoder`.
        """
        self.decode = make_decoder(
            self.tokenizer, beam_size, lm_file, **options
        )

    def scores(self, wav: torch.Tensor) -> torch.Tensor:
        """Compute the log-probabilities of tokens in a waveform.

        Arguments
        ---------
        wav : torch.Tensor
            [N], at the model's sample rate, normalised like the recipe's.

        Returns
        -------
        torch.Tensor
            [T', C], on the CPU; one row per ``step`` seconds.
        """
        with torch.no_grad(), self.inference_ctx:
            wavs = wav[None].to(self.device)
            ones = torch.ones(1, device=self.device)
            log_probs, lengths = self.mods.recognizer(wavs, ones)
        n_own = round(lengths.item() * log_probs.shape[1])
        return log_probs[0, :n_own].cpu()

    def transcribe_file(
        self, path: str | Path, window: float = WINDOW, **kwargs
    ) -> str:
        """Transcribe a file of any length, in bounded memory.

        A file of up to ``window`` seconds is heard as a whole.  A longer one is
        heard as a stream, as by one pass over the whole, if the model
        `streams`; otherwise in windows that overlap by 4 s, of which each gives
        the steps of its middle.  All steps are decoded together; a beam keeps
        the scores of all.

        Arguments
        ---------
        path : str or Path
            Any format that soundfile reads, any rate and number of channels.
        window : float
            Seconds; more than 4.
        **kwargs
            None; for SpeechBrain's signature.

        Returns
        -------
        str

        Raises
        ------
        AudioError
            If the file cannot be read.
        ValueError
            If the window is too short.
        """
        if kwargs:
            raise TypeError(f"transcribe_file has no option {[*kwargs]}")
        check_positive(window=window)
        n_overlap = round(OVERLAP / self.step)
        n_hop = round(window / self.step) - n_overlap
        if n_hop < 1:
            raise ValueError(
                f"window is {window} s; it must be longer than {OVERLAP} s, by "
                "which windows overlap."
            )
        info = audio_info(path)
        if self.streams and info.n_frames > window * info.sample_rate:
            blocks = read_blocks(path)
            parts = self._stream_scores(blocks, info.sample_rate, path)
        else:
            parts = self._window_scores(path, info, n_hop, n_overlap)
        return "".join(self.decode.write(parts))

    def transcribe_stream(
        self, blocks: Iterable[Samples], sample_rate: int | None = None
    ) -> Iterator[str]:
        """Transcribe sound as it arrives, in bounded memory.

        Arguments
        ---------
        blocks : iterable of torch.Tensor
            The sound in blocks [n], [n, channels] or [channels, n].
        sample_rate : int, optional
            Its sample rate in Hz; None: the model's.

        Yields
        ------
        str
            What was said since the last part, often nothing; together that is
            the text of one pass over the whole. With a beam, one part at the
            end.

        Raises
        ------
        ValueError
            If the model needs the end of an utterance to write down its start.
        """
        self.mods.recognizer.stream()  # says so before it listens
        rate = sample_rate or self.sample_rate
        mono = mono_blocks(blocks, "a stream")
        yield from self.decode.write(
            self._stream_scores(mono, rate, "a stream")
        )

    def _stream_scores(self, blocks, rate, name):
        """Yield the log-probabilities [T', C] of a stream."""
        stream = self.mods.recognizer.stream()
        for wav in resample_blocks(blocks, rate, self.sample_rate, name):
            with self.inference_ctx:
                yield stream.step(wav[None].to(self.device))[0].cpu()

    def _window_scores(self, path, info, n_hop, n_overlap):
        """Yield the log-probabilities [T', C] of the middles of windows."""
        rate, skipped = info.sample_rate, 0
        size, hop = (
            round(n * self.step * rate) for n in (n_hop + n_overlap, n_hop)
        )
        for wav, is_last in overlapping(read_blocks(path), size, hop):
            normal = self.hparams.audio_normalizer(wav, rate, path)
            stop = None if is_last else n_overlap // 2 + n_hop
            yield self.scores(normal)[skipped:stop]
            skipped = n_overlap // 2


def overlapping(
    blocks: Iterable[torch.Tensor], size: int, hop: int
) -> Iterator[tuple[torch.Tensor, bool]]:
    """Cut a stream into windows that start every ``hop`` samples.

    The last one ends with the stream; it is shorter than the others, but
    longer than their overlap.

    Arguments
    ---------
    blocks : iterable of torch.Tensor
        The stream in blocks [n] of any size.
    size : int
        Samples of a window.
    hop : int
        Samples from one start to the next, at most ``size``.

    Yields
    ------
    torch.Tensor
        The window's samples.
    bool
        Whether it is the last one.

    Example
    -------
    >>> stream = [torch.arange(4), torch.arange(4, 9)]
    >>> for window, is_last in overlapping(stream, size=4, hop=2):
    ...     print(window.tolist(), is_last)
    [0, 1, 2, 3] False
    [2, 3, 4, 5] False
    [4, 5, 6, 7] False
    [6, 7, 8] True
    """
    waiting = torch.empty(0)
    for block in blocks:
        waiting = torch.cat([waiting, block]) if len(waiting) else block
        while len(waiting) > size:
            yield waiting[:size], False
            waiting = waiting[hop:]
    yield waiting, True
