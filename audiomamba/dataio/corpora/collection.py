"""Labelled sounds as people keep them: in folders of classes, or in one CSV.

`read_collection` makes a table of the clips, `write_lists` the three lists of
`audiomamba.dataio.corpora.custom`, which a run is trained from.
"""

import re
from hashlib import blake2b
from pathlib import Path

import pandas as pd

from audiomamba.dataio.codecs.formats import SUFFIXES
from audiomamba.dataio.columns import read_table, to_numbers
from audiomamba.dataio.corpora.corpus import list_audio, measure, stat_audio
from audiomamba.dataio.corpora.splits import SPLITS, complete_splits
from audiomamba.dataio.lists import (
    LABEL_SEPARATOR,
    clean,
    normal_path,
    split_labels,
)
from audiomamba.dataio.problems import PreparationError, Problems
from audiomamba.dataio.tables import write_csv

# What people call the splits
_SPLIT_NAMES = {
    "train": "train", "training": "train",
    "valid": "valid", "validation": "valid", "val": "valid", "dev": "valid",
    "test": "test", "testing": "test", "eval": "test", "evaluation": "test",
}  # fmt: skip
_FORMS = """\
<class>/<any folders>/<any name>.wav
or, with the splits made already,
train/<class>/..., valid/<class>/..., test/<class>/...
or give a CSV with the columns path,label instead of a folder."""


def read_collection(
    source: str | Path,
    group: str | None = None,
    allow_missing: bool = False,
) -> tuple[Path, pd.DataFrame]:
    """Read the clips of a folder of classes, or of a CSV.

    Arguments
    ---------
    source : str or Path
        A folder whose sub-folders are the classes, or have the names of splits
        and the classes in them; or a CSV with the columns ``path`` (relative to
        its folder) and ``label`` (several joined by ``;``), and maybe
        ``split``, ``group``, and ``start`` and ``stop`` in samples.
    group : str, optional
        A regular expression that is searched in each path; what its first group
        matches names the clip's group, for example the speaker.
    allow_missing : bool
        Leave out files that are missing or unusable.

    Returns
    -------
    data_folder : Path
        What ``wav`` is relative to.
    rows : pandas.DataFrame
        The clips: ``ID``, ``wav``, ``duration`` in seconds, ``label``,
        ``split`` ("" where it is not given), ``group``, and ``start`` and
        ``stop`` if the source has them.

    Raises
    ------
    PreparationError
        With everything that is wrong.

    Example
    -------
    >>> import soundfile
    >>> folder = getfixture("tmp_path")
    >>> for name in ("dog/1_rex.wav", "cat/1_tom.wav"):
    ...     (folder / name).parent.mkdir()
    ...     soundfile.write(folder / name, [0.0, 0.1], 8000)
    >>> _, rows = read_collection(folder, group=r"_(\\w+)\\.")
    >>> rows[["wav", "label", "group"]].values.tolist()
    [['cat/1_tom.wav', 'cat', 'tom'], ['dog/1_rex.wav', 'dog', 'rex']]
    """
    source, problems = Path(source), Problems()
    if source.is_dir():
        folder, rows = source, _read_folder(source, problems)
    elif source.is_file():
        folder, rows = source.parent, _read_csv(source, problems)
    else:
        raise PreparationError(
            f"there is no folder and no file {source}; correct the path"
        )
    try:
        if group is not None:
            rows["group"] = _match_groups(rows["wav"], group)
        rows = measure(rows, folder, problems)
    except PreparationError as error:
        raise problems.explain(error) from error
    problems.settle(allow_missing=allow_missing)
    if "group" not in rows:
        rows["group"] = _recordings(rows["wav"], folder)
    return folder, rows


def _read_folder(folder, problems):
    """The clips of a folder of classes."""
    files = list_audio(folder, suffixes=SUFFIXES, problems=problems)
    parts = [wav.split("/") for wav in files["wav"]]
    tops = {names[0] for names in parts if len(names) > 1}
    has_splits = bool(tops) and all(n.lower() in _SPLIT_NAMES for n in tops)
    depth = 2 if has_splits else 1
    rows = []
    for wav, names in zip(files["wav"], parts):
        if len(names) <= depth:
            problems.add(
                f"{folder / wav}: is in no folder of a class; move it into "
                "one, or away"
            )
            continue
        split = _SPLIT_NAMES[names[0].lower()] if has_splits else ""
        rows.append((wav, wav, clean(names[depth - 1]), split))
    if not rows:
        raise problems.explain(
            PreparationError(
                f"{folder} has no sound in folders of classes; lay it out "
                f"like this:\n{_FORMS}"
            )
        )
    return pd.DataFrame(rows, columns=["ID", "wav", "label", "split"])


def _read_csv(path, problems):
    """The clips of a list."""
    table = read_table(path, ["path", "label"], "give path,label[,split,group]")
    rows = pd.DataFrame(
        {
            "wav": [normal_path(wav, path.parent) for wav in table["path"]],
            "label": table["label"].map(clean),
            "split": "",
        },
        index=table.index,
    )
    if "split" in table:
        rows["split"] = [
            _split_of(path, line, name) for line, name in table["split"].items()
        ]
    if "group" in table:
        rows["group"] = table["group"].where(table["group"] != "", rows["wav"])
    for name in ("start", "stop"):
        if name in table:
            rows[name] = to_numbers(
                path,
                table,
                name,
                lambda x: (x >= -1) & (x % 1 == 0),
                "a whole number of samples; -1 as stop is the end",
            ).astype("int64")
    if ("start" in rows) != ("stop" in rows):
        raise PreparationError(f"{path}: give start and stop, or neither")
    for line, label in rows["label"].items():
        if label == "":
            problems.add(f"{path}, line {line}: has no label; add it")
    parts = rows[["wav", *(n for n in ("start", "stop") if n in rows)]]
    for line in rows.index[parts.duplicated()]:
        problems.add(
            f"{path}, line {line}: {rows['wav'][line]} is in an earlier line, "
            f"too; delete one, or join several labels by {LABEL_SEPARATOR!r}"
        )
    rows = rows[~parts.duplicated()]
    rows.insert(0, "ID", rows["wav"])
    if "start" in rows:
        rows["ID"] += ":" + rows["start"].astype(str)
        rows["ID"] += "-" + rows["stop"].astype(str)
    return rows.reset_index(drop=True)


def _split_of(path, line, name):
    """The split that a line names."""
    if name and name.lower() not in _SPLIT_NAMES:
        raise PreparationError(
            f"{path}, line {line}: the split is {name!r}; it must be one of "
            f"{', '.join(_SPLIT_NAMES)}"
        )
    return _SPLIT_NAMES[name.lower()] if name else ""


def _match_groups(wavs, pattern):
    """The group that a pattern finds in each path."""
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise PreparationError(
            f"--group {pattern!r} is no regular expression: {error}"
        ) from error
    if compiled.groups < 1:
        raise PreparationError(
            f"--group {pattern!r} has no group in parentheses that names the "
            "group of a clip; for example '_([a-z]+)_'"
        )
    found = [compiled.search(wav) for wav in wavs]
    lost = [wav for wav, match in zip(wavs, found) if not match]
    if lost:
        raise PreparationError(
            f"--group {pattern!r} matches {len(wavs) - len(lost)} of "
            f"{len(wavs)} paths, and not {lost[0]}; correct the pattern"
        )
    return [match[1] for match in found]


def _recordings(wavs, folder):
    """The recording of each clip: its file; copies of a file are one."""
    sizes = stat_audio(folder, wavs).set_index("wav")["size"]
    owner, names = {}, {}
    for wav, size in sizes.items():
        alone = (sizes == size).sum() == 1
        key = wav if alone else _digest(folder / wav)
        names[wav] = owner.setdefault(key, wav)
    return wavs.map(names)


def _digest(path):
    """A hash of a file's content."""
    digest = blake2b(digest_size=16)
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.digest()


def write_lists(
    rows: pd.DataFrame, folder: str | Path
) -> dict[str, pd.DataFrame]:
    """Write train.csv, valid.csv and test.csv; make the splits not given.

    Arguments
    ---------
    rows : pandas.DataFrame
        From `read_collection`.
    folder : str or Path
        The folder to write to.

    Returns
    -------
    dict
        Split -> its rows.

    Raises
    ------
    PreparationError
        If there are too few clips or classes to train and to test.

    Example
    -------
    >>> rows = pd.DataFrame({"ID": list("abcdefghij"), "label": ["x", "y"] * 5})
    >>> rows = rows.assign(wav=rows["ID"], group=rows["ID"])
    >>> rows = rows.assign(split="", duration=1.0)
    >>> lists = write_lists(rows, getfixture("tmp_path"))
    >>> {split: len(part) for split, part in lists.items()}
    {'train': 6, 'valid': 2, 'test': 2}
    """
    names = {name for text in rows["label"] for name in split_labels(text)}
    if len(names) < 2:
        raise PreparationError(
            f"there is one class ({', '.join(names)}), and nothing to tell it "
            "from; add clips of others, for example of background noise"
        )
    rows = complete_splits(rows)
    columns = ["ID", "duration", "wav", "label", "start", "stop", "group"]
    columns = [name for name in columns if name in rows]
    lists = {split: rows[rows["split"] == split] for split in SPLITS}
    for split, part in lists.items():
        write_csv(Path(folder, f"{split}.csv"), part[columns])
    return lists
