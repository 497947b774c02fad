"""Audio Mamba in place of the Transformer in SpeechBrain's CTC recipes."""

import torch
import torch.nn.functional as F

from audiomamba.lobes.audio_mamba import AudioMamba
from audiomamba.nnet.lengths import frame_counts, relative_lengths
from audiomamba.nnet.patch_embed import grid_length


class CTCEncoder(torch.nn.Module):
    """Encoder of spectrograms with the interface of ``TransformerASR``.

    A batch of T frames has ceil(T / stride) steps of equal duration.  Past the
    end of a clip, its last step is repeated: SpeechBrain rounds the relative
    length to a number of steps, which may be one too many, and CTC merges
    repeated outputs.  So greedy decoding of a clip gives the same result alone
    and in any batch, if the lengths are those of the frames; those of the
    waveforms, which SpeechBrain's script passes, leave one frame open
    (`audiomamba.nnet.lengths.frame_counts`), and with it sometimes a step.

    Arguments
    ---------
    encoder : AudioMamba
        An encoder with patches as high as the spectrogram, for example
        ``patch_size: [80, 4]`` and ``stride: [80, 4]`` for steps of 40 ms.

    Example
    -------
    >>> encoder = AudioMamba(
    ...     n_mels=80,
    ...     patch_size=(80, 4),
    ...     stride=(80, 4),
    ...     embed_dim=32,
    ...     depth=2,
    ...     cls_token=None,
    ... )
    >>> transformer = CTCEncoder(encoder).eval()
    >>> feats, wav_lens = torch.randn(2, 301, 80), torch.tensor([1.0, 0.5])
    >>> enc_out, pred = transformer(feats, tgt=None, wav_len=wav_lens)
    >>> enc_out.shape, pred
    (torch.Size([2, 76, 32]), None)
    """

    def __init__(self, encoder: AudioMamba):
        super().__init__()
        height, bins = encoder.patch_size[0], encoder.n_mels
        if height != bins:
            raise ValueError(
                f"patch_size is {list(encoder.patch_size)} and n_mels {bins}, "
                "but for CTC a patch must be as high as the spectrogram: set "
                f"patch_size [{bins}, {encoder.patch_size[1]}]."
            )
        self.encoder = encoder

    def forward(
        self,
        src: torch.Tensor,
        tgt: None = None,
        wav_len: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, None]:
        """Encode a batch of spectrograms.

        Arguments
        ---------
        src : torch.Tensor
            [B, T, n_mels].
        tgt : None
            Must be None: there is no decoder.
        wav_len : torch.Tensor or None
            Relative lengths in (0, 1], [B].

        Returns
        -------
        enc_out : torch.Tensor
            [B, T', D].
        pred : None
            In SpeechBrain's models, the output of the decoder.

        Raises
        ------
        ValueError
            If ``tgt`` is given.
        """
        if tgt is not None:
            raise ValueError(
                "tgt is given, but there is no decoder: use this encoder in "
                "recipes that train with CTC alone."
            )
        n_frames, patch = src.shape[1], self.encoder.patch_size[1]
        stride = self.encoder.stride[1]
        n_steps = -(-n_frames // stride)
        missing = (n_steps - 1) * stride + patch - n_frames
        padded = F.pad(src, (0, 0, 0, max(missing, 0)))
        if wav_len is None:
            wav_len = src.new_ones(len(src))
        n_own = frame_counts(wav_len.to(src.device), n_frames)
        lengths = relative_lengths(n_own, padded.shape[1])
        steps = self.encoder(padded, lengths, output="frames")
        last = grid_length(n_own, patch, stride) - 1
        places = torch.arange(n_steps, device=src.device)
        places = places.minimum(last[:, None])[..., None]
        return steps.gather(1, places.expand(-1, -1, steps.shape[2])), None
