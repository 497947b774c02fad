"""Prepare VoxCeleb1 for speaker identification.

Reads the corpus as it is distributed, and ``iden_split.txt``, the owners'
split of every speaker's utterances into training, validation and test.
"""

import logging
import re
from pathlib import Path

import pandas as pd

from audiomamba.dataio.corpus import list_audio, measure
from audiomamba.dataio.manifest import (
    inputs_key,
    is_prepared,
    write_manifests,
)
from audiomamba.dataio.problems import Problems, missing_corpus

logger = logging.getLogger(__name__)

SPLIT_FILE = "iden_split.txt"
SPLITS = {"1": "train", "2": "valid", "3": "test"}
# As distributed; anything else is a damaged or converted copy
SAMPLE_RATE = 16000
CHANNELS = 1
VOXCELEB1 = ("vox1_dev_wav", "vox1_test_wav")

SOURCE = "https://www.robots.ox.ac.uk/~vgg/data/voxceleb/"
TREE = """
wav/<speaker>/<session>/<utterance>.wav
    (or vox1_dev_wav/wav/<speaker>/... beside vox1_test_wav/wav/<speaker>/...)
iden_split.txt
    (lines such as: 3 id10003/na8-QEFmj44/00003.wav)
"""
_LINE = re.compile(r"([123])\s+([^/\s]+)/([^/\s]+)/([^/\s]+\.wav)")


def prepare_voxceleb(
    data_folder,
    save_folder,
    split_file=None,
    allow_missing=False,
    skip_prep=False,
    n_workers=None,
):
    """Write train.csv, valid.csv, test.csv and labels.csv.

    The classes are the speakers of the list in sorted order, as in the
    released checkpoints, whatever part of the files is there. Manifests are
    reused as long as the list, the files and the options stay the same.

    Arguments
    ---------
    data_folder : str or Path
        VoxCeleb1: ``wav/<speaker>/<session>/<utterance>.wav``; also
        ``vox1_dev_wav`` and ``vox1_test_wav`` side by side, with or without
        ``wav`` in them.
    save_folder : str or Path
        Where the manifests go.
    split_file : str or Path, optional
        By default ``iden_split.txt`` in ``data_folder``.
    allow_missing : bool
        Go on without files that are missing or unusable, and say how many.
    skip_prep : bool
        Do nothing: the manifests are there.
    n_workers : int, optional
        Threads that read the headers.

    Raises
    ------
    PreparationError
        If the corpus is not there, or with all that is wrong with it.
    """
    if skip_prep:
        logger.info("skip_prep: taking the manifests in %s", save_folder)
        return
    data_folder = Path(data_folder)
    split_file = Path(split_file or data_folder / SPLIT_FILE)
    roots = find_corpus(data_folder, [split_file])
    audio = list_audio(data_folder, roots, (".wav",), n_workers)
    key = inputs_key({"allow_missing": allow_missing}, [split_file], audio)
    if is_prepared(save_folder, key):
        return
    problems = Problems()
    listed = _read_split_file(split_file, problems)
    rows = _locate(listed, audio, roots, data_folder, problems)
    rows = measure(
        rows, data_folder, problems, SAMPLE_RATE, CHANNELS, n_workers=n_workers
    )
    left_out = problems.settle(
        Path(save_folder, "problems.txt"),
        allow_missing,
        totals=listed["split"].value_counts().to_dict(),
    )
    columns = ["ID", "wav", "duration", "label"]
    splits = {
        split: rows.loc[rows["split"] == split, columns]
        for split in SPLITS.values()
    }
    speakers = sorted(listed["label"].unique())
    write_manifests(save_folder, splits, speakers, key, left_out)


def find_corpus(data_folder, lists, parts=VOXCELEB1):
    """Find the folders that hold the speakers' folders.

    Arguments
    ---------
    data_folder : Path
        The corpus.
    lists : iterable of Path
        Files that must be there too.
    parts : iterable of str
        Folders of the owners' archives.

    Returns
    -------
    list of str
        Relative to ``data_folder``.

    Raises
    ------
    PreparationError
        If a list or all of the folders are missing.
    """
    roots = []
    for part in ("", *parts):
        if (data_folder / part / "wav").is_dir():
            roots.append(f"{part}/wav".lstrip("/"))
        elif part and (data_folder / part).is_dir():
            roots.append(part)
    missing = None
    if not data_folder.is_dir():
        missing = f"there is no folder {data_folder}"
    elif not roots:
        missing = f"{data_folder} has no wav, {' or '.join(parts)}"
    else:
        absent = [str(path) for path in lists if not path.is_file()]
        if absent:
            missing = f"there is no list {', '.join(absent)}"
    if missing:
        raise missing_corpus(
            "VoxCeleb", data_folder, missing, SOURCE, TREE, __file__
        )
    return roots


def _read_split_file(path, problems):
    """The utterances of the list: name, ID, label (speaker), split."""
    found = []
    with open(path, encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, start=1):
            match = _LINE.fullmatch(line.strip())
            if match and ".." not in match.groups():
                name = "/".join(match.groups()[1:])
                speaker, split = match[2], SPLITS[match[1]]
                found.append((name, split, number, speaker))
            elif line.strip():
                problems.add(
                    f"{path}, line {number}: {line.strip()[:80]!r} is not of "
                    "the form '3 id10003/na8-QEFmj44/00003.wav' with 1, 2 or "
                    "3 in front; correct or delete the line"
                )
    # sorted before repetitions are dropped: the lines' order must not count
    rows = pd.DataFrame(
        sorted(found), columns=["name", "split", "line", "label"]
    )
    repeated = rows["name"].duplicated()
    for row in rows[repeated].itertuples():
        problems.add(
            f"{path}, line {row.line}: {row.name} stands in another line too; "
            "delete one of them",
        )
    return rows[~repeated].assign(ID=rows["name"].str[: -len(".wav")])


def utterances(audio, roots):
    """Name the files as the lists do.

    Arguments
    ---------
    audio : pandas.DataFrame
        The files under ``roots``, of `list_audio`.
    roots : list of str
        Of `find_corpus`.

    Returns
    -------
    dict
        ``<speaker>/<session>/<utterance>.wav`` -> path from ``data_folder``.
    """
    places = {}
    for wav in audio["wav"]:
        root = next(root for root in roots if wav.startswith(f"{root}/"))
        # of copies in several folders the first one is taken
        places.setdefault(wav[len(root) + 1 :], wav)
    return places


def _locate(listed, audio, roots, data_folder, problems):
    """Add the path of each listed utterance; report those without a file."""
    places = utterances(audio, roots)
    rows = listed.assign(wav=listed["name"].map(places))
    lost = rows["wav"].isna()
    folders = " or ".join(str(data_folder / root) for root in roots)
    for speaker, group in rows[lost].groupby("label"):
        splits = group["split"].value_counts().to_dict()
        if len(group) == (rows["label"] == speaker).sum():
            problems.add(
                f"{speaker}: not one of its {len(group)} listed files is in "
                f"{folders}; extract this speaker's files, or take it out of "
                "the list",
                splits,
            )
            continue
        for name, split in zip(group["name"], group["split"]):
            problems.add(
                f"{name}: listed, but not in {folders}; extract it, or "
                "delete its line",
                {split: 1},
            )
    n_unlisted = len(audio) - (len(rows) - lost.sum())
    if n_unlisted:
        logger.info("%d wav files are not in the list, unused", n_unlisted)
    return rows[~lost]
