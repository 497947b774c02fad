"""Reads the audio of a manifest's rows."""

import math
import os

from audiomamba.dataio.audio import read_window
from audiomamba.nnet.lengths import check_positive, check_sizes


class AudioReader:
    """Dynamic item that reads a row's audio: mono, resampled, mean removed.

    Only the part that is kept is decoded.

    Arguments
    ---------
    data_folder : str or Path
        What the manifest's ``wav`` is relative to.
    sample_rate : int
        Sample rate of the result, in Hz.
    max_duration : float, optional
        Seconds to keep: the first ones (10.24 in the paper), or those that
        ``crop`` chooses.  Shorter clips are kept whole.
    crop : RandomCrop, optional
        Chooses where the kept part starts.
    remove_mean : bool
        Subtract the mean of what is kept; the authors' code subtracts that of
        the whole clip.

    Example
    -------
    >>> import soundfile
    >>> folder = getfixture("tmp_path")
    >>> soundfile.write(folder / "a.wav", [0.25] * 32000, 16000)
    >>> reader = AudioReader(folder, max_duration=0.5)
    >>> sig = reader("a", "a.wav", 0, -1)
    >>> sig.shape, sig.abs().max().item()
    (torch.Size([8000]), 0.0)
    """

    ITEM = (["id", "wav", "start", "stop"], "sig")

    def __init__(
        self,
        data_folder,
        sample_rate=16000,
        max_duration=None,
        crop=None,
        remove_mean=True,
    ):
        if crop and not max_duration:
            raise ValueError("crop needs max_duration: how much to keep")
        check_sizes(sample_rate=sample_rate)
        if max_duration is not None:
            check_positive(max_duration=max_duration)
        self.data_folder = str(data_folder)
        self.sample_rate = sample_rate
        self.max_duration = max_duration
        self.crop = crop
        self.remove_mean = remove_mean

    def __call__(self, item_id, wav, start, stop):
        """Read one row.

        Arguments
        ---------
        item_id : str
            Its ID.
        wav : str
            Its path from ``data_folder``.
        start, stop : int
            Its part of the file, in frames; ``stop`` -1 is the end.

        Returns
        -------
        torch.Tensor
            [N], float32.
        """

        def choose(n_frames, file_rate):
            end = n_frames if stop < 0 else stop
            if not self.max_duration:
                return start, end
            kept = math.ceil(self.max_duration * file_rate)
            spare = max(0, end - start - kept)
            first = start
            if self.crop:
                first += self.crop.offset(item_id, spare)
            return first, min(end, first + kept)

        path = os.path.join(self.data_folder, wav)
        sig = read_window(path, choose, self.sample_rate)
        if self.max_duration:
            # rounded up to whole frames of the file, this may be a bit too long
            sig = sig[: round(self.max_duration * self.sample_rate)]
        return sig - sig.mean() if self.remove_mean else sig
