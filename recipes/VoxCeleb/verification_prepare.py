"""Prepare VoxCeleb for speaker embeddings, and the trials that test them.

Training takes every speaker who is in none of the trial lists that are to be
reported on, from VoxCeleb1, VoxCeleb2 or both.
"""

import logging
import re
from pathlib import Path

import pandas as pd
from voxceleb_prepare import (
    CHANNELS,
    SAMPLE_RATE,
    VOXCELEB1,
    find_corpus,
    utterances,
)

from audiomamba.dataio.corpus import list_audio, measure
from audiomamba.dataio.manifest import (
    inputs_key,
    is_prepared,
    read_manifest,
    write_manifests,
)
from audiomamba.dataio.problems import PreparationError, Problems
from audiomamba.dataio.splits import SPLIT_SEED, hold_out
from audiomamba.dataio.trials import read_trials, speakers_of

logger = logging.getLogger(__name__)

PARTS = (*VOXCELEB1, "vox2_dev_wav", "vox2_test_wav")
_NAME = re.compile(r"([^/]+)/[^/]+/[^/]+\.wav", re.IGNORECASE)
_COLUMNS = ["ID", "wav", "duration", "label"]


def prepare_speakers(
    data_folder,
    save_folder,
    held_out=("veri_test2.txt",),
    valid_share=0.05,
    allow_missing=False,
    skip_prep=False,
):
    """Write train.csv, valid.csv, test.csv and labels.csv.

    All files under the corpus' folders count, there is no list of them. Of
    each speaker, whole sessions (videos) are held out for validation and test
    by a fixed rule (`audiomamba.dataio.splits.hold_out`): both tell how well
    known speakers are recognised, trial lists how well unknown ones are told
    apart.

    Arguments
    ---------
    data_folder : str or Path
        ``wav/<speaker>/<session>/<utterance>.wav``, or such trees in
        ``vox1_dev_wav``, ``vox1_test_wav``, ``vox2_dev_wav``,
        ``vox2_test_wav`` (VoxCeleb2 comes as m4a: convert it to wav).
    save_folder : str or Path
        Where the manifests go.
    held_out : list of str
        Trial lists in ``data_folder`` whose speakers are left out.
    valid_share : float
        Share of each speaker's sessions; as much again for the test.
    allow_missing : bool
        Go on without files that cannot be used, and say how many.
    skip_prep : bool
        Do nothing: the manifests are there.

    Raises
    ------
    PreparationError
        If the corpus is not there, or with all that is wrong with it.
    """
    if skip_prep:
        logger.info("skip_prep: taking the manifests in %s", save_folder)
        return
    data_folder = Path(data_folder)
    lists = [data_folder / name for name in held_out]
    roots = find_corpus(data_folder, lists, PARTS)
    audio = list_audio(data_folder, roots, (".wav",))
    options = {"allow_missing": allow_missing, "valid_share": valid_share}
    key = inputs_key(options, lists, audio)
    if is_prepared(save_folder, key):
        return
    problems = Problems()
    rows = _sort_out(utterances(audio, roots), data_folder, problems)
    for path in lists:
        reserved = rows["label"].isin(speakers_of(read_trials(path)))
        logger.info(
            "%s: its %d speakers are left out of training",
            path.name,
            rows["label"][reserved].nunique(),
        )
        rows = rows[~reserved]
    if rows.empty:
        raise PreparationError(
            f"not one speaker in {data_folder} is in none of "
            f"{', '.join(held_out)}: add VoxCeleb2, or hold fewer lists out"
        )
    rows = _split(rows, valid_share)
    totals = rows["split"].value_counts().to_dict()
    rows = measure(rows, data_folder, problems, SAMPLE_RATE, CHANNELS)
    left_out = problems.settle(
        Path(save_folder, "problems.txt"), allow_missing, totals
    )
    speakers = sorted(rows["label"][rows["split"] == "train"].unique())
    rows = rows[rows["label"].isin(speakers)]
    splits = {
        split: rows.loc[rows["split"] == split, _COLUMNS]
        for split in ("train", "valid", "test")
    }
    write_manifests(save_folder, splits, speakers, key, left_out)


def _sort_out(places, data_folder, problems):
    """The files as rows with ID, wav, speaker (label) and session."""
    found = []
    for name, wav in sorted(places.items()):
        match = _NAME.fullmatch(name)
        if match:
            found.append((name[:-4], wav, match[1], name.rsplit("/", 1)[0]))
        else:
            problems.add(
                f"{data_folder / wav}: is not at <speaker>/<session>/"
                "<utterance>.wav, so its speaker is unknown; move or delete it"
            )
    return pd.DataFrame(found, columns=["ID", "wav", "label", "session"])


def _split(rows, share):
    """Rows with ``split``: sessions of each speaker held out."""
    rows = rows.reset_index(drop=True).assign(split="train")
    for split in ("test", "valid"):
        rest = rows[rows["split"] == "train"]
        held = hold_out(rest, "session", share, within="label")
        rows.loc[rest.index[held], "split"] = split
    return rows


def prepare_trials(
    data_folder,
    save_folder,
    lists,
    cohort_manifest,
    cohort_size=20000,
    allow_missing=False,
    skip_prep=False,
):
    """Write files.csv and cohort.csv: what has to be embedded.

    Arguments
    ---------
    data_folder : str or Path
        As for `prepare_speakers`.
    save_folder : str or Path
        Where the manifests go.
    lists : list of str
        Trial lists in ``data_folder``.
    cohort_manifest : str, Path or None
        Training utterances, from which the cohort of the score normalisation
        is drawn by a private seed; relative to the same ``data_folder``. None:
        no cohort.
    cohort_size : int
        Utterances in the cohort.
    allow_missing : bool
        Go on without trials whose files cannot be used, and say how many
        files that are.
    skip_prep : bool
        Do nothing: the manifests are there.

    Raises
    ------
    PreparationError
        If lists or corpus are not there, or with all that is wrong.
    """
    if skip_prep:
        logger.info("skip_prep: taking the manifests in %s", save_folder)
        return
    if cohort_manifest and not Path(cohort_manifest).is_file():
        raise PreparationError(
            f"there is no cohort_manifest {cohort_manifest}: name one of "
            "training utterances, or go without by score_norm: False"
        )
    data_folder = Path(data_folder)
    lists = [data_folder / name for name in lists]
    roots = find_corpus(data_folder, lists, PARTS)
    audio = list_audio(data_folder, roots, (".wav",))
    inputs = [*lists, *([cohort_manifest] if cohort_manifest else [])]
    options = {"allow_missing": allow_missing, "cohort_size": cohort_size}
    key = inputs_key(options, inputs, audio)
    if is_prepared(save_folder, key):
        return
    problems = Problems()
    trials = pd.concat([read_trials(path) for path in lists])
    named = pd.concat([trials["first"], trials["second"]]).unique()
    rows = pd.DataFrame({"name": sorted(named), "split": "files"})
    rows["wav"] = rows["name"].map(utterances(audio, roots))
    for name in rows["name"][rows["wav"].isna()]:
        problems.add(
            f"{name}: in a trial list, but not in "
            f"{' or '.join(str(data_folder / root) for root in roots)}; "
            "extract it, or delete its trials",
            {"files": 1},
        )
    totals = {"files": len(rows)}
    rows = rows.dropna(subset="wav").assign(
        ID=lambda table: table["name"].str[: -len(".wav")]
    )
    if cohort_manifest:
        cohort = read_manifest(cohort_manifest)
        n_drawn = min(cohort_size, len(cohort))
        cohort = cohort.sample(n_drawn, random_state=SPLIT_SEED)
        totals["cohort"] = n_drawn
        rows = pd.concat([rows, cohort[["ID", "wav"]].assign(split="cohort")])
    rows["label"] = rows["ID"].str.split("/").str[0]
    rows = measure(rows, data_folder, problems, SAMPLE_RATE, CHANNELS)
    left_out = problems.settle(
        Path(save_folder, "problems.txt"), allow_missing, totals
    )
    splits = {name: rows[rows["split"] == name][_COLUMNS] for name in totals}
    write_manifests(save_folder, splits, None, key, left_out)
