"""Prepare VoxCeleb for speaker embeddings, and the trials that test them.

Speakers of the trial lists to report on are never trained on; all others of
VoxCeleb1 and VoxCeleb2 are.
"""

import logging
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import indent

import pandas as pd
from voxceleb_prepare import VoxCeleb

from audiomamba.dataio.corpora.clips import near_names
from audiomamba.dataio.corpora.corpus import stat_audio
from audiomamba.dataio.corpora.preparation import Inputs, by_split
from audiomamba.dataio.corpora.splits import SPLIT_SEED, held_out_as
from audiomamba.dataio.corpora.trials import read_trials, speakers_of
from audiomamba.dataio.manifest import read_manifest
from audiomamba.dataio.problems import PreparationError

logger = logging.getLogger(__name__)

# Of each speaker's sessions, where none are for validation
TEST_SHARE = 0.05
# The owners' lists of VoxCeleb1, and what they are called
VOXCELEB1 = {
    "veri_test2.txt": "VoxCeleb1-O",
    "list_test_all2.txt": "VoxCeleb1-E",
    "list_test_hard2.txt": "VoxCeleb1-H",
}
_TREE = """
wav/<speaker>/<session>/<utterance>.wav
    (or such trees in vox1_dev_wav, vox1_test_wav, vox2_dev_wav, vox2_test_wav,
    dev, test)
{lists}
    (trial lists; lines such as: 1 id10270/5r0dWxy17C8/00001.wav id10270/...)
"""
_NAME = re.compile(r"([^/]+)/[^/]+/[^/]+\.wav", re.IGNORECASE)


def prepare_speakers(
    data_folder: str | Path,
    save_folder: str | Path,
    held_out: Sequence[str] = ("veri_test2.txt",),
    valid_share: float = 0.05,
    allow_missing: bool = False,
    skip_prep: bool = False,
    check_audio: str = "headers",
) -> None:
    """Write train.csv, valid.csv, test.csv and labels.csv.

    All files in the folders of the corpus are used; there is no list of them.
    Whole sessions (videos) of each speaker are held out for validation and
    test by a fixed rule (`audiomamba.dataio.corpora.splits.hold_out`). Both
    measure how well known speakers are identified; trial lists measure how
    well unknown speakers are told apart.

    Arguments
    ---------
    data_folder : str or Path
        ``wav/<speaker>/<session>/<utterance>.wav``, or such trees in
        ``vox1_dev_wav``, ``vox1_test_wav``, ``vox2_dev_wav``,
        ``vox2_test_wav``, ``dev`` and ``test`` (VoxCeleb2 comes as m4a:
        convert it to wav).
    save_folder, allow_missing, skip_prep, check_audio
        See `audiomamba.dataio.corpora.preparation.Corpus`.
    held_out : sequence of str
        Trial lists in ``data_folder`` whose speakers are not trained on.
    valid_share : float
        Share of each speaker's sessions, at least one; the same share again
        for test. 0: none for validation, and 5 % for test.

    Raises
    ------
    PreparationError
        If the corpus is not found, or with everything that is wrong with it.
    """
    corpus = Speakers(data_folder, save_folder, held_out, valid_share)
    corpus.prepare(skip_prep, allow_missing, check_audio=check_audio)


def prepare_trials(
    data_folder: str | Path,
    save_folder: str | Path,
    lists: Sequence[str],
    cohort_manifest: str | Path | None,
    cohort_size: int = 20000,
    allow_missing: bool = False,
    skip_prep: bool = False,
    check_audio: str = "headers",
) -> None:
    """Write files.csv and cohort.csv, the utterances to embed.

    Arguments
    ---------
    data_folder : str or Path
        As for `prepare_speakers`; or a folder of any recordings, which the
        lists name from there.
    save_folder, allow_missing, skip_prep, check_audio
        See `audiomamba.dataio.corpora.preparation.Corpus`.
    lists : sequence of str
        Trial lists in ``data_folder``, or absolute paths.
    cohort_manifest : str, Path or None
        Training utterances of the same ``data_folder``, from which the cohort
        for score normalisation is drawn with a fixed seed; None for no
        cohort.
    cohort_size : int
        Utterances in the cohort.

    Raises
    ------
    PreparationError
        If a list, the cohort or the corpus is not found, or with everything
        that is wrong with it.
    """
    kind = OwnTrials if has_own_files(data_folder, lists) else Trials
    corpus = kind(data_folder, save_folder, lists, cohort_manifest, cohort_size)
    corpus.prepare(skip_prep, allow_missing, check_audio=check_audio)


def has_own_files(data_folder: str | Path, lists: Sequence[str]) -> bool:
    """Whether trial lists name recordings from ``data_folder`` on.

    Those of VoxCeleb name them from the folders of the corpus on.

    Arguments
    ---------
    data_folder, lists
        See `prepare_trials`.

    Returns
    -------
    bool
    """
    if set(lists) & set(VOXCELEB1):
        return False
    corpus = OwnTrials(data_folder, data_folder, lists, None, 0)
    return not (corpus.found_roots() and corpus.find().audio.empty)


class VoxCeleb12(VoxCeleb):
    """VoxCeleb1, VoxCeleb2 or both."""

    parts = (*VoxCeleb.parts, "vox2_dev_wav", "vox2_test_wav")

    def find_trials(self, names):
        """The paths of trial lists, and all utterances."""
        self.tree = _TREE.format(lists=", ".join(map(str, names)))
        roots = self.roots()
        return self.find_lists(names), self.list_audio(roots)

    def find_lists(self, names):
        """The paths of trial lists."""
        paths = [self.data_folder / name for name in names]
        lost = [str(path) for path in paths if not path.is_file()]
        if lost and not set(names) <= set(VOXCELEB1):
            raise PreparationError(
                f"trial list not found: {', '.join(lost)}; give its path from "
                "data_folder on, or from the root"
            )
        if lost:
            tree = indent(self.tree.strip(), "    ")
            raise PreparationError(
                f"trial list not found: {', '.join(lost)}. {self.source}, "
                "and put it beside the audio:\n"
                f"  {self.data_folder}/\n{tree}"
            )
        return paths


@dataclass
class Speakers(VoxCeleb12):
    """Utterances to train embeddings on; see `prepare_speakers`."""

    held_out: Sequence[str]
    valid_share: float

    def find(self):
        """The trial lists and all utterances."""
        lists, audio = self.find_trials(self.held_out)
        return Inputs(lists, audio, {"valid_share": self.valid_share})

    def parse(self, inputs):
        """The utterances of speakers that are not held out, with splits."""
        rows = self._utterances(inputs.audio)
        for path in inputs.lists:
            trials = read_trials(path, self.problems)
            reserved = rows["label"].isin(speakers_of(trials))
            logger.info(
                "%s: its %d speakers are not trained on",
                path.name,
                rows["label"][reserved].nunique(),
            )
            rows = rows[~reserved]
        if rows.empty:
            raise PreparationError(
                f"all speakers in {self.data_folder} are held out by "
                f"{', '.join(self.held_out)}: add VoxCeleb2 as wav, or hold "
                f"out fewer lists. {self.others}".rstrip()
            )
        self.listed = rows = self._with_splits(rows)
        return rows, Counter(rows["split"])

    def finish(self, rows):
        """Speakers without a usable training file are not classes."""
        speakers = sorted(rows["label"][rows["split"] == "train"].unique())
        valid = ["valid"] if self.valid_share else []
        rows = rows[rows["label"].isin(speakers)]
        return by_split(rows, ["train", *valid, "test"]), speakers

    def _with_splits(self, rows):
        """Hold out sessions of each speaker for test and validation."""
        rows = rows.assign(split="train")
        shares = {"test": self.valid_share or TEST_SHARE}
        if self.valid_share:
            shares["valid"] = self.valid_share
        for split, share in shares.items():
            rows = held_out_as(split, rows, "session", share, within="label")
        if set(rows["split"]) < {"train", *shares}:
            most = rows.groupby("label")["session"].nunique().max()
            remedy = "add sessions"
            if most > 1:
                remedy += (
                    ", or pass --valid_share 0 --protocols '[last]' to "
                    "validate on none"
                )
            raise PreparationError(
                f"valid_share is {self.valid_share}, but no speaker has the "
                f"{1 + len(shares)} sessions (videos) that "
                f"{', '.join(shares)} and train need, one each; the most are "
                f"{most}: {remedy}"
            )
        return rows

    def _utterances(self, audio):
        """The files as rows with ID, wav, speaker (label) and session."""
        found = []
        for name, wav in sorted(self.utterances(audio).items()):
            match = _NAME.fullmatch(name)
            if match:
                session = name.rsplit("/", 1)[0]
                found.append((name[:-4], wav, match[1], session))
            else:
                self.problems.add(
                    f"{self.data_folder / wav}: is not at <speaker>/"
                    "<session>/<utterance>.wav, so its speaker is unknown; "
                    "move or delete it"
                )
        return pd.DataFrame(found, columns=["ID", "wav", "label", "session"])


@dataclass
class Trials(VoxCeleb12):
    """Files of trial lists, and a cohort; see `prepare_trials`."""

    lists: Sequence[str]
    cohort_manifest: str | Path | None
    cohort_size: int

    # Whether files may have any name
    own = False

    def find(self):
        """The trial lists, the cohort's manifest and all utterances."""
        lists, audio = self.find_trials(self.lists)
        options = {"cohort_size": self.cohort_size}
        return Inputs([*lists, *self.cohort()], audio, options)

    def named_files(self, paths):
        """The files of some trial lists, sorted."""
        tables = [read_trials(path, self.problems, self.own) for path in paths]
        trials = pd.concat(tables)
        return sorted(pd.concat([trials["first"], trials["second"]]).unique())

    def cohort(self):
        """The cohort's manifest, if there is one."""
        cohort = [Path(self.cohort_manifest)] if self.cohort_manifest else []
        if cohort and self.cohort_size < 2:
            raise PreparationError(
                f"cohort_size is {self.cohort_size}; it must be at least 2"
            )
        if not all(path.is_file() for path in cohort):
            raise PreparationError(
                f"there is no cohort_manifest {self.cohort_manifest}: name "
                "one of training utterances, or pass --score_norm False"
            )
        return cohort

    def parse(self, inputs):
        """The files of the trials, and the utterances of the cohort."""
        named = self.named_files(inputs.lists[: len(self.lists)])
        rows = pd.DataFrame({"name": named, "split": "files"})
        files = self.utterances(inputs.audio)
        rows["wav"] = rows["name"].map(files)
        places, hint = self.places(), near_names(set(files) - {*named}, True)
        for name in rows["name"][rows["wav"].isna()]:
            self.problems.add(
                f"{name}: in a trial list, but not in {places}{hint(name)}; "
                "extract it, or delete its trials",
                {"files": 1},
            )
        self.totals = {"files": len(rows)}
        rows = rows.dropna(subset="wav")
        rows = rows.assign(ID=rows["name"].str.removesuffix(".wav"))
        if self.cohort_manifest:
            cohort = read_manifest(self.cohort_manifest)
            n_drawn = min(self.cohort_size, len(cohort))
            cohort = cohort.sample(n_drawn, random_state=SPLIT_SEED)
            cohort = cohort[["ID", "wav"]].assign(split="cohort")
            rows = pd.concat([rows, cohort])
            self.totals["cohort"] = n_drawn
        rows["label"] = rows["ID"].str.split("/").str[0]
        return rows, self.totals

    def finish(self, rows):
        """Files and cohort are embedded separately; no labels are needed."""
        return by_split(rows, list(self.totals)), None


class OwnTrials(Trials):
    """Trials of any recordings, named from data_folder on."""

    own = True
    sample_rate = channels = None

    def find(self):
        """The trial lists, the cohort's manifest and the files they name."""
        lists, cohort = self.find_lists(self.lists), self.cohort()
        self.names = super().named_files(lists)
        of_cohort = [
            wav for path in cohort for wav in read_manifest(path)["wav"]
        ]
        audio = stat_audio(self.data_folder, [*self.names, *of_cohort])
        return Inputs(
            [*lists, *cohort], audio, {"cohort_size": self.cohort_size}
        )

    def named_files(self, paths):
        """As `find` found them, so that no line is reported twice."""
        return self.names

    def utterances(self, audio):
        """Names are paths."""
        return {wav: wav for wav in audio["wav"]}

    def places(self):
        """Where files are looked for, for a message."""
        return str(self.data_folder)
