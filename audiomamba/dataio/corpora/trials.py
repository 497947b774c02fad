"""Trial lists of speaker verification, in the format of VoxCeleb."""

import re
from pathlib import Path

import pandas as pd

from audiomamba.dataio.lists import normal_path, read_lines
from audiomamba.dataio.problems import PreparationError, Problems

_TRIAL = re.compile(r"([01])\s+(\S+)\s+(\S+)")
_FORM = "1 id10270/5r0dWxy17C8/00001.wav id10270/GWXujl-xAVM/00017.wav"
_OWN_FORM = "1 first.wav second.wav"
# <speaker>/<session>/<utterance>
_UTTERANCE = re.compile(r"(?!\.\./)[^/]+/[^/]+/.+")


def read_trials(
    path: str | Path, problems: Problems | None = None, own: bool = False
) -> pd.DataFrame:
    """Read a trial list.

    Arguments
    ---------
    path : str or Path
        Lines such as
        ``1 id10270/5r0dWxy17C8/00001.wav id10270/GWXujl-xAVM/00017.wav``: 1
        for the same speaker or 0 for different speakers, and the two files.
    problems : Problems, optional
        Collects the lines of another form; without it they are an error.
    own : bool
        Whether files may have any name, as in lists of one's own recordings.

    Returns
    -------
    pandas.DataFrame
        ``label``, ``first`` and ``second``, in the order of the list.

    Raises
    ------
    PreparationError
        If the list is missing, empty or no text, or has lines of another form
        and there is no ``problems``, or no other lines.

    Example
    -------
    >>> path = getfixture("tmp_path") / "trials.txt"
    >>> _ = path.write_text("1 a/x/1.wav a/y/1.wav\\n0 a/x/1.wav b/x/1.wav\\n")
    >>> read_trials(path).values.tolist()
    [[1, 'a/x/1.wav', 'a/y/1.wav'], [0, 'a/x/1.wav', 'b/x/1.wav']]
    """
    if not Path(path).is_file():
        raise PreparationError(
            f"there is no trial list {path}; get VoxCeleb's from "
            "https://www.robots.ox.ac.uk/~vgg/data/voxceleb/"
        )
    found, trials = problems or Problems(), []
    for number, line in read_lines(path):
        match = _TRIAL.fullmatch(line)
        label, *names = match.groups() if match else [""]
        names = list(map(normal_path, names))
        if match and (own or all(map(_UTTERANCE.fullmatch, names))):
            trials.append((int(label), *names))
        else:
            found.add(
                f"{path}, line {number}: {line[:80]!r} is not of the form "
                f"'{_OWN_FORM if own else _FORM}' that starts with 0 or 1; "
                "correct or delete the line"
            )
    if problems is None:
        found.settle()
    if not trials:
        raise PreparationError(
            f"{path}: has no trials; it is not a list in the form of VoxCeleb's"
        )
    return pd.DataFrame(trials, columns=["label", "first", "second"])


def speakers_of(trials: pd.DataFrame) -> set[str]:
    """The speakers of a trial list: the top folders of its files.

    Arguments
    ---------
    trials : pandas.DataFrame
        From `read_trials`.

    Returns
    -------
    set of str

    Example
    -------
    >>> trials = pd.DataFrame({"first": ["a/x/1.wav"], "second": ["b/y/1.wav"]})
    >>> sorted(speakers_of(trials))
    ['a', 'b']
    """
    files = pd.concat([trials["first"], trials["second"]]).unique()
    return {name.split("/", 1)[0] for name in files}
