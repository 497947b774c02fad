"""Noise from files, for augmentation."""

import os
from concurrent.futures import ThreadPoolExecutor

import torch
from speechbrain.augment.time_domain import AddNoise
from speechbrain.utils.logger import get_logger

from audiomamba.dataio.audio import read_window
from audiomamba.dataio.corpus import list_audio
from audiomamba.dataio.problems import PreparationError

logger = get_logger(__name__)


class FolderNoise:
    """Noise from the audio files of a folder, for SpeechBrain's ``AddNoise``.

    Every clip gets a file of its own and a place in it, drawn from torch's
    generator, so that a resumed run repeats the draws. Files of any rate and
    channel count; one that is shorter than the clip is repeated.

    Arguments
    ---------
    folder : str or Path
        With wav or flac files at any depth.
    sample_rate : int
        Of the clips, in Hz.

    Example
    -------
    >>> import soundfile
    >>> folder = getfixture("tmp_path")
    >>> soundfile.write(folder / "hum.wav", [0.5] * 300, 16000)
    >>> FolderNoise(folder, 16000)(torch.zeros(2, 800))[:, ::799]
    tensor([[0.5000, 0.5000],
            [0.5000, 0.5000]])
    """

    def __init__(self, folder, sample_rate):
        if not os.path.isdir(folder):
            raise PreparationError(
                f"noise_folder: there is no folder {folder}; name one with "
                "wav or flac files, or noise_folder: null for no noise"
            )
        self.paths = [
            os.path.join(folder, wav) for wav in list_audio(folder)["wav"]
        ]
        if not self.paths:
            raise PreparationError(
                f"noise_folder: {folder} has no wav or flac file"
            )
        self.sample_rate = sample_rate

    def __call__(self, wavs):
        """Draw noise.

        Arguments
        ---------
        wavs : torch.Tensor
            The clips [B, N].

        Returns
        -------
        torch.Tensor
            [B, N], on their device.
        """
        files = torch.randint(len(self.paths), (len(wavs),)).tolist()
        places = torch.rand(len(wavs), dtype=torch.float64).tolist()
        with ThreadPoolExecutor(8) as pool:
            noises = pool.map(
                lambda file, place: self._read(file, place, wavs.shape[1]),
                files,
                places,
            )
            return torch.stack(list(noises)).to(wavs)

    def _read(self, file, place, n_samples):
        """n_samples of a file from a place in [0, 1) of what it has."""

        def choose(n_frames, file_rate):
            wanted = -(-n_samples * file_rate // self.sample_rate)
            start = int(place * max(1, n_frames - wanted + 1))
            return start, min(n_frames, start + wanted)

        noise = read_window(self.paths[file], choose, self.sample_rate)
        return noise.repeat(-(-n_samples // len(noise)))[:n_samples]


def noise_augmentation(folder, sample_rate, snr_low=0, snr_high=15):
    """Make SpeechBrain's ``AddNoise`` over a folder; without one, say so.

    Arguments
    ---------
    folder : str or None
        See `FolderNoise`.
    sample_rate : int
        Of the clips, in Hz.
    snr_low, snr_high : float
        Range of the signal-to-noise ratio in dB.

    Returns
    -------
    AddNoise or None

    Example
    -------
    >>> noise_augmentation(None, 16000) is None
    True
    """
    if folder is None:
        logger.warning(
            "noise_folder: null, so no noise is added in training; "
            "SpeechBrain's recipe adds some. Name a folder of noise files, "
            "for example of MUSAN or of the noises that SpeechBrain offers."
        )
        return None
    noise = FolderNoise(folder, sample_rate)
    logger.info(f"noise: {len(noise.paths)} files in {folder}")
    return AddNoise(
        snr_low=snr_low,
        snr_high=snr_high,
        noise_funct=noise,
        noise_sample_rate=sample_rate,
        clean_sample_rate=sample_rate,
    )
