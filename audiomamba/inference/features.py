"""Features without padding, for encoders that do not hear it."""

import torch


class OwnFrames(torch.nn.Module):
    """Features cut to the frames that the clips of a batch really have.

    Recipes pad clips to a fixed number of frames.  For an encoder that leaves
    padding out (``mask_padding=True``) this changes nothing but the time it
    takes, and SpeechBrain's ``EncoderClassifier``, which does not tell the
    encoder how many frames are padding, then computes what training did.

    Arguments
    ---------
    features : torch.nn.Module
        With ``frame_lengths`` and ``n_frames``, as
        `audiomamba.lobes.features.KaldiFbank`.

    Example
    -------
    >>> from audiomamba.lobes import KaldiFbank
    >>> features = OwnFrames(KaldiFbank(n_frames=1024))
    >>> wavs, lengths = torch.randn(2, 16000), torch.tensor([0.25, 0.5])
    >>> features(wavs, lengths).shape
    torch.Size([2, 48, 128])
    >>> (features.frame_lengths(lengths, 16000) * 48).round()
    tensor([23., 48.])
    """

    def __init__(self, features):
        super().__init__()
        self.features = features
        # Of a batch's own; what is cut, is cut by the features inside
        self.n_frames, self.max_samples = None, features.max_samples

    def _own(self, lengths, n_samples):
        """Return every clip's frames, [B]."""
        n_frames = self.features.n_frames
        relative = self.features.frame_lengths(lengths, n_samples)
        return (relative * n_frames).round().long()

    def forward(self, wavs, lengths=None):
        """Compute the features.

        Arguments
        ---------
        wavs : torch.Tensor
            [B, N].
        lengths : torch.Tensor, optional
            Relative lengths [B]; None: every clip has N samples.

        Returns
        -------
        torch.Tensor
            [B, T, n_mels], T being the frames of the longest clip.
        """
        feats = self.features(wavs, lengths)
        if lengths is None:
            lengths = torch.ones(1, device=wavs.device)
        return feats[:, : self._own(lengths, wavs.shape[1]).max()]

    def frame_lengths(self, lengths, n_samples):
        """Lengths of the features of clips of the given lengths.

        Arguments
        ---------
        lengths : torch.Tensor
            Relative lengths of the waveforms, [B].
        n_samples : int
            Samples N of the batch.

        Returns
        -------
        torch.Tensor
            Relative lengths of the feats, [B].
        """
        n_own = self._own(lengths, n_samples)
        return n_own / n_own.max()
