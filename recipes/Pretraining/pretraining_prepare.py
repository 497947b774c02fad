"""Find the audio in any folders, to pre-train on; nothing needs a label.

A list may choose some of them, such as a recipe's training clips. Long files
are cut into parts of equal length, so that an hour counts as more than a
second. A share of the files is held out, each with all its parts.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from audiomamba.dataio.columns import read_table
from audiomamba.dataio.corpora.corpus import read_headers
from audiomamba.dataio.corpora.preparation import Corpus, Inputs
from audiomamba.dataio.corpora.splits import held_out_as
from audiomamba.dataio.lists import normal_path
from audiomamba.dataio.problems import PreparationError, warn_of_silence


def prepare_pretraining(
    data_folder: str | Path,
    save_folder: str | Path,
    clips_csv: str | Path | None = None,
    shares: Mapping[str, float] | None = None,
    valid_share: float = 0.02,
    part_duration: float = 30.0,
    allow_missing: bool = False,
    skip_prep: bool = False,
    check_audio: str = "headers",
) -> None:
    """Write train.csv and valid.csv, without labels.

    Arguments
    ---------
    data_folder : str or Path
        Searched at any depth.
    save_folder, allow_missing, skip_prep, check_audio
        See `audiomamba.dataio.corpora.preparation.Corpus`.
    clips_csv : str or Path, optional
        A CSV file with a column ``wav``, relative to ``data_folder``, such as
        a recipe's manifest ``train.csv``: only these files are used, whole.
    shares : dict, optional
        Folder, relative to ``data_folder`` or absolute -> its share of the
        clips that an epoch draws. None for all of ``data_folder``.
    valid_share : float
        Share of each folder's files to hold out, at least one.
    part_duration : float
        Longest clip in seconds.

    Raises
    ------
    PreparationError
        If there is no audio, or with every file that cannot be read.
    """
    wrong = {k: v for k, v in (shares or {}).items() if not v > 0}
    if wrong or not 0 < valid_share < 1 or not part_duration > 0:
        raise PreparationError(
            f"shares {shares}, valid_share {valid_share}, part_duration "
            f"{part_duration}: shares and part_duration must be positive, "
            "valid_share between 0 and 1"
        )
    folders = tuple(shares or [""])
    corpus = Unlabelled(
        data_folder, save_folder, clips_csv, folders, valid_share, part_duration
    )
    corpus.prepare(skip_prep, allow_missing, check_audio=check_audio)


def share_weights(
    folders: list[str], shares: Mapping[str, float]
) -> np.ndarray:
    """Return sampling weights that give every folder its share.

    Arguments
    ---------
    folders : list of str
        Folder of each clip.
    shares : dict
        Folder -> its share, relative to the others.

    Returns
    -------
    np.ndarray
        [clips], float64.

    Example
    -------
    >>> share_weights(["a", "b", "b"], {"a": 1, "b": 3}).tolist()
    [1.0, 1.5, 1.5]
    """
    names = pd.Series(list(folders))
    return (names.map(shares) / names.map(names.value_counts())).to_numpy()


@dataclass
class Unlabelled(Corpus):
    """Folders of audio; see `prepare_pretraining`."""

    clips_csv: str | Path | None
    folders: tuple[str, ...]
    valid_share: float
    part_duration: float

    name = "Audio to pre-train on"
    source = "Any recordings will do; they need no labels."
    tree = """
<any folders>/<any name>.wav, .flac, .mp3, .ogg, ...
"""
    suffixes = (
        ".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".aiff", ".aif",
        ".au", ".caf", ".w64", ".rf64",
    )  # fmt: skip

    def find(self):
        """The audio below each folder."""
        audio = [
            self.list_audio([folder]).assign(folder=folder)
            for folder in self.folders
        ]
        options = {
            "folders": list(self.folders),
            "valid_share": self.valid_share,
            "part_duration": self.part_duration,
        }
        found = pd.concat(audio, ignore_index=True)
        if self.clips_csv is None:
            return Inputs([], found, options)
        return Inputs([self.clips_csv], self.chosen_from(found), options)

    def chosen_from(self, audio):
        """Those of the list; what it names and is not there is a problem."""
        listed = read_table(self.clips_csv, ["wav"])["wav"]
        names = {normal_path(name, self.data_folder) for name in listed}
        for name in sorted(names - {*audio["wav"]}):
            self.problems.add(
                f"{name}: is in {self.clips_csv} and not in the folders "
                "searched; correct data_folder, shares or the list"
            )
        return audio[audio["wav"].isin(names)].reset_index(drop=True)

    def parse(self, inputs):
        """Hold out files of every folder."""
        twice = inputs.audio["wav"][inputs.audio["wav"].duplicated()]
        if len(twice):
            raise PreparationError(
                f"{len(twice)} files, such as {twice.iloc[0]}, are in two of "
                f"the folders {', '.join(self.folders)}; name folders that do "
                "not contain each other"
            )
        rows = inputs.audio[["wav", "folder"]].assign(split="train")
        rows = held_out_as("valid", rows, "wav", self.valid_share, "folder")
        if not rows["split"].eq("valid").any():
            raise PreparationError(
                f"{self.data_folder} has one file of audio; one must be held "
                "out, so give two or more"
            )
        return rows, rows["split"].value_counts()

    def measure(self, rows):
        """Drop unusable files, and cut the others into parts."""
        headers, errors = read_headers(
            self.data_folder, rows["wav"].tolist(), self.decode
        )
        warn_of_silence(rows["wav"][headers["silent"] > 0].tolist())
        for row, fault in errors.items():
            self.problems.add(fault, {rows["split"][row]: 1})
        rows = rows.join(headers).drop(index=list(errors))
        seconds = rows["n_frames"] / rows["sample_rate"]
        rows["parts"] = np.ceil(seconds / self.part_duration).astype(int)
        rows = rows.loc[rows.index.repeat(rows["parts"])]
        number = rows.groupby(level=0).cumcount()
        start = number * rows["n_frames"] // rows["parts"]
        stop = (number + 1) * rows["n_frames"] // rows["parts"]
        return rows.assign(
            ID=rows["wav"] + "#" + number.astype(str),
            start=start,
            stop=stop,
            duration=((stop - start) / rows["sample_rate"]).round(6),
        )

    def finish(self, rows):
        """The manifests; there are no classes."""
        columns = ["ID", "duration", "wav", "start", "stop", "folder"]
        splits = {
            split: rows.loc[rows["split"] == split, columns]
            for split in ("train", "valid")
        }
        return splits, None
