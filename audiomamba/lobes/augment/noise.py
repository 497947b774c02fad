"""Additive noise from audio files."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from speechbrain.augment.time_domain import AddNoise
from speechbrain.utils.logger import get_logger

from audiomamba.dataio.audio import read_window
from audiomamba.dataio.corpora.corpus import list_audio, read_headers
from audiomamba.dataio.problems import PreparationError, Problems

logger = get_logger(__name__)


class FolderNoise:
    """Noise from the files of a folder, for SpeechBrain's ``AddNoise``.

    A file and a position in it are drawn for every clip from torch's
    generator, so a resumed run repeats the draws. Files may have any rate and
    number of channels; a file shorter than the clip is repeated.

    Arguments
    ---------
    folder : str or Path
        A folder with wav or flac files, at any depth.
    sample_rate : int
        Sample rate of the clips in Hz.

    Raises
    ------
    PreparationError
        If there is no such folder, no audio file in it, or a file that cannot
        be read.

    Example
    -------
    >>> import soundfile
    >>> folder = getfixture("tmp_path")
    >>> soundfile.write(folder / "hum.wav", [0.5] * 300, 16000)
    >>> FolderNoise(folder, 16000)(torch.zeros(2, 800))[:, ::799]
    tensor([[0.5000, 0.5000],
            [0.5000, 0.5000]])
    """

    def __init__(self, folder: str | Path, sample_rate: int):
        if not os.path.isdir(folder):
            raise PreparationError(
                f"noise_folder: there is no folder {folder}; give one with "
                "wav or flac files, or noise_folder: null for no noise"
            )
        problems = Problems()
        wavs = list_audio(folder, problems=problems)["wav"].tolist()
        for fault in read_headers(folder, wavs)[1].values():
            problems.add(fault)
        if problems.messages:
            raise problems.explain(
                PreparationError(
                    f"noise_folder: {folder} has files that cannot be read"
                )
            )
        if not wavs:
            raise PreparationError(
                f"noise_folder: {folder} has no wav or flac file; give "
                "another folder, or noise_folder: null for no noise"
            )
        self.paths = [os.path.join(folder, wav) for wav in wavs]
        self.sample_rate = sample_rate

    def __call__(self, wavs: torch.Tensor) -> torch.Tensor:
        """Draw noise.

        Arguments
        ---------
        wavs : torch.Tensor
            The clips [B, N].

        Returns
        -------
        torch.Tensor
            Noise [B, N], on the device of the clips.
        """
        files = torch.randint(len(self.paths), (len(wavs),)).tolist()
        positions = torch.rand(len(wavs), dtype=torch.float64).tolist()
        with ThreadPoolExecutor(8) as pool:
            noises = pool.map(
                lambda file, position: self._read(
                    file, position, wavs.shape[1]
                ),
                files,
                positions,
            )
            return torch.stack(list(noises)).to(wavs)

    def _read(self, file, position, n_samples):
        """Read n_samples of a file from a relative position in [0, 1)."""

        def choose(n_frames, file_rate):
            wanted = -(-n_samples * file_rate // self.sample_rate)
            start = int(position * max(1, n_frames - wanted + 1))
            return start, min(n_frames, start + wanted)

        noise = read_window(self.paths[file], choose, self.sample_rate)
        return noise.repeat(-(-n_samples // len(noise)))[:n_samples]


def noise_augmentation(
    folder: str | Path | None,
    sample_rate: int,
    snr_low: float = 0,
    snr_high: float = 15,
) -> AddNoise | None:
    """SpeechBrain's ``AddNoise`` with noise from a folder.

    Arguments
    ---------
    folder : str, Path or None
        See `FolderNoise`; None adds no noise, with a warning.
    sample_rate : int
        Sample rate of the clips in Hz.
    snr_low, snr_high : float
        Range of the signal-to-noise ratio in dB.

    Returns
    -------
    AddNoise or None
        None without a folder.

    Example
    -------
    >>> noise_augmentation(None, 16000) is None
    True
    """
    if folder is None:
        logger.warning(
            "noise_folder: null, so no noise is added in training, unlike in "
            "SpeechBrain's recipe. Give a folder of noise files, for example "
            "MUSAN's or the ones that SpeechBrain offers."
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
