"""Prepare LibriSpeech for speech recognition.

Reads the corpus as distributed: one flac file per utterance, and the
transcripts of a chapter in a text file beside them.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from audiomamba.dataio.corpora.preparation import Corpus, Inputs, by_split
from audiomamba.dataio.lists import read_lines
from audiomamba.dataio.problems import PreparationError

SUFFIX = ".trans.txt"
_LINE = re.compile(r"(\w+-\w+-\w+)\s+(\S.*)")


def prepare_librispeech(
    data_folder: str | Path,
    save_folder: str | Path,
    splits: Mapping[str, Sequence[str]],
    allow_missing: bool = False,
    skip_prep: bool = False,
    check_audio: str = "headers",
) -> None:
    """Write train.csv, valid.csv and test.csv, whose labels are transcripts.

    The manifests are reused until the transcripts, the files or the options
    change.

    Arguments
    ---------
    data_folder : str or Path
        Holds the folders of the subsets, or the folder ``LibriSpeech`` with
        them, as the archives have it.
    save_folder, allow_missing, skip_prep, check_audio
        See `audiomamba.dataio.corpora.preparation.Corpus`.
    splits : dict
        ``train``, ``valid`` and ``test`` -> names of subsets; without any for
        ``valid``, there is no valid.csv.

    Raises
    ------
    PreparationError
        If a subset is not found or in two splits, or with everything that is
        wrong with the corpus.
    """
    splits = {split: list(names) for split, names in splits.items()}
    counts = Counter(name for names in splits.values() for name in names)
    repeated = [name for name, count in counts.items() if count > 1]
    if repeated or not (splits["train"] and splits["test"]):
        raise PreparationError(
            f"train_splits, valid_splits and test_splits are {splits}: the "
            "first and the last need a subset, such as train-clean-100, and no "
            "subset may be named twice"
        )
    splits = {split: names for split, names in splits.items() if names}
    corpus = LibriSpeech(data_folder, save_folder, splits)
    corpus.prepare(skip_prep, allow_missing, check_audio=check_audio)


@dataclass
class LibriSpeech(Corpus):
    """The corpus; see `prepare_librispeech`."""

    splits: dict

    name = "LibriSpeech"
    recipe = __file__
    source = (
        "Get its archives from https://www.openslr.org/12 (train-clean-100 and "
        "dev-clean: 7 GB) or, for a first run, https://www.openslr.org/31"
    )
    tree = """
<subset>/<speaker>/<chapter>/<speaker>-<chapter>-<utterance>.flac
<subset>/<speaker>/<chapter>/<speaker>-<chapter>.trans.txt
    (subsets such as train-clean-100; or all of it in a folder LibriSpeech)
"""
    suffixes = (".flac",)
    sample_rate = 16000
    channels = 1

    def find(self):
        """The transcripts and the recordings of the subsets."""
        inner = self.data_folder / "LibriSpeech"
        self.root = inner if inner.is_dir() else self.data_folder
        subsets = [name for names in self.splits.values() for name in names]
        lost = [name for name in subsets if not (self.root / name).is_dir()]
        if lost:
            raise self.missing(f"{self.root} has no folder {', '.join(lost)}")
        prefix = self.root.relative_to(self.data_folder)
        audio = self.list_audio((prefix / name).as_posix() for name in subsets)
        lists = [
            path
            for name in subsets
            for path in sorted((self.root / name).rglob(f"*{SUFFIX}"))
        ]
        return Inputs(lists, audio, {"splits": self.splits})

    def parse(self, inputs):
        """The utterances that have both a transcript and a recording."""
        split_of = {
            subset: split
            for split, subsets in self.splits.items()
            for subset in subsets
        }
        rows = []
        for path in inputs.lists:
            subset = path.relative_to(self.root).parts[0]
            for name, text in self._read_transcripts(path):
                wav = path.parent / f"{name}.flac"
                wav = wav.relative_to(self.data_folder).as_posix()
                rows.append((name, wav, text, subset, split_of[subset]))
        columns = ["ID", "wav", "label", "subset", "split"]
        rows = pd.DataFrame(rows, columns=columns)
        totals = Counter(rows["split"])
        self._report_unpaired(rows, set(inputs.audio["wav"]))
        rows = rows[rows["wav"].isin(inputs.audio["wav"])]
        repeated = rows["ID"].duplicated()
        for row in rows[repeated].itertuples():
            self.problems.add(
                f"{row.wav}: {row.ID} has two transcripts; delete one of them",
                {row.split: 1},
            )
        return rows[~repeated], totals

    def _read_transcripts(self, path):
        """Yield name and text of each line of a chapter that can be used."""
        chapter = path.name.removesuffix(SUFFIX)
        try:
            lines = list(read_lines(path))
        except PreparationError as error:
            self.problems.add(str(error))
            return
        for number, line in lines:
            match = _LINE.fullmatch(line)
            if match and match[1].rpartition("-")[0] == chapter:
                yield match[1], " ".join(match[2].split())
            else:
                self.problems.add(
                    f"{path}, line {number}: {line[:80]!r} is not an utterance "
                    f"of this chapter with its words, such as '{chapter}-0000 "
                    "SOME WORDS'; correct or delete the line"
                )

    def _report_unpaired(self, rows, wavs):
        """Report transcripts without a recording, and the other way round."""
        for row in rows[~rows["wav"].isin(wavs)].itertuples():
            self.problems.add(
                f"{self.data_folder / row.wav}: has a transcript, but is not "
                "there; extract the archive again, or delete its line",
                {row.split: 1},
            )
        for wav in sorted(wavs - set(rows["wav"])):
            self.problems.add(
                f"{self.data_folder / wav}: has no usable line in the "
                f"{SUFFIX} beside it; add the line, or delete the file"
            )

    def finish(self, rows):
        """The classes are those of the tokenizer, which is trained later."""
        return by_split(rows, [*self.splits], further=["subset"]), None
