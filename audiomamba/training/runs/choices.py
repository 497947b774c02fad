"""Settings of a training, chosen from the clips, and the YAML with them."""

import json
import math
import re
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from audiomamba.dataio.files import replaced_file
from audiomamba.dataio.lists import LABEL_SEPARATOR
from audiomamba.dataio.problems import PreparationError

# Up to this many seconds clips are heard whole
_WHOLE = 10.24
# The most that is heard of longer ones
_LONGEST = 30.72
# Median duration in s, up to which a patch has so many bins and frames: as in
# the recipes for clips of these durations
_PATCHES = ((0.3, [128, 2]), (4.0, [128, 4]), (12.0, [32, 16]))
_PATCH_OF_LONG = [32, 32]
_FRAMES_PER_SECOND = 100
# Training takes about so many steps of a batch, within limits for the epochs
_STEPS, _EPOCHS = 700, (10, 50)


class Choice(NamedTuple):
    """The value of a key as YAML, None for no such key, and the reason."""

    value: str | None
    reason: str = ""


def choose_settings(lists: dict[str, pd.DataFrame]) -> dict[str, Choice]:
    """Choose the settings of a training from its clips.

    Arguments
    ---------
    lists : dict
        Split -> its clips, with ``duration`` in seconds and ``label``.

    Returns
    -------
    dict
        Key of the YAML -> its choice.

    Example
    -------
    >>> clips = pd.DataFrame({"duration": [1.0, 2.0] * 40, "label": "a"})
    >>> chosen = choose_settings({"train": clips, "test": clips[:9]})
    >>> chosen["max_duration"].value, chosen["patch_size"].value
    ('2.0', '[128, 4]')
    """
    train, rows = lists["train"], pd.concat(lists.values())
    median = train["duration"].median()
    several = rows["label"].str.contains(LABEL_SEPARATOR)
    chosen = {
        "multi_label": Choice(
            str(bool(several.any())),
            f"{several.sum()} of {len(rows)} clips have several labels",
        )
    }
    chosen |= _choose_durations(rows["duration"], train["duration"])
    patch = next(
        (p for limit, p in _PATCHES if median <= limit), _PATCH_OF_LONG
    )
    why = f"bins, frames; half of the clips are longer than {median:.3g} s"
    chosen["patch_size"] = Choice(str(patch), why)
    chosen["stride"] = Choice(str(patch))
    n_frames = float(chosen["max_duration"].value) * _FRAMES_PER_SECOND
    columns = max(1, round(n_frames / patch[1]))
    chosen["n_frames"] = Choice(
        str(columns * patch[1]), "of the positional embedding; not a limit"
    )
    chosen["time_mask"] = Choice(
        str(max(1, min(48, round(median * _FRAMES_PER_SECOND / 8)))),
        "frames, an eighth of a clip",
    )
    return chosen | _choose_epochs(len(train))


def _choose_durations(all_durations, durations):
    """How much of a clip is heard, and which part."""
    longest = all_durations.max()
    if longest <= _WHOLE:
        kept, why = longest, "s; the longest clip"
    else:
        most = max(_WHOLE, durations.quantile(0.95))
        kept = min(_LONGEST, most, longest)
        whole = (all_durations <= kept).mean()
        why = f"s; {whole:.0%} of the clips are heard whole"
    crop = Choice("null")
    if kept < longest:
        crop = Choice(
            "!new:audiomamba.dataio.pipeline.RandomCrop {seed: !ref <seed>}",
            "of a longer clip another part in each epoch",
        )
    # rounded up, so that no sample is lost
    kept = math.ceil(100 * kept) / 100
    return {"max_duration": Choice(str(kept), why), "crop": crop}


def _choose_epochs(n_clips):
    """Batch size and number of epochs."""
    batch = 16 if n_clips >= 160 else 8 if n_clips >= 40 else 4
    n_epochs = round(_STEPS * 16 / n_clips)
    n_epochs = min(max(n_epochs, _EPOCHS[0]), _EPOCHS[1])
    return {
        "number_of_epochs": Choice(str(n_epochs), f"for {n_clips} clips"),
        "batch_size": Choice(str(batch)),
    }


def write_yaml(
    template: str | Path,
    choices: dict[str, Choice],
    path: str | Path,
    head: str,
) -> None:
    """Write a recipe's YAML with other values.

    Arguments
    ---------
    template : str or Path
        The YAML to change.
    choices : dict
        Key -> its choice, which replaces the old value, of any number of lines.
    path : str or Path
        The file to write.
    head : str
        A line that replaces the first comment.

    Raises
    ------
    PreparationError
        If the template lacks a key.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> _ = (folder / "a.yaml").write_text("# Old\\nlr: 0.1  # low\\nb: 2\\n")
    >>> choices = {"lr": Choice("0.2", "high")}
    >>> write_yaml(folder / "a.yaml", choices, folder / "b.yaml", "New")
    >>> print((folder / "b.yaml").read_text(), end="")
    # New
    lr: 0.2  # high
    b: 2
    """
    text = Path(template).read_text(encoding="utf-8")
    for key, choice in choices.items():
        # up to the next line that is not indented
        block = re.compile(rf"^{key}:.*\n(?: +.*\n)*", re.MULTILINE)
        line = _line(key, choice).replace("\\", r"\\")
        text, n_changed = block.subn(line, text)
        if n_changed != 1:
            raise PreparationError(
                f"{template} has no key {key}, which is to be set"
            )
    text = re.sub(r"\A(?:#.*\n)+", lambda _: f"# {head}\n", text)
    with replaced_file(path) as draft:
        draft.write_text(text, encoding="utf-8")


def _line(key, choice):
    """A key with its value, the reason at the end of the first line."""
    if choice.value is None:
        return ""
    first, *others = f"{key}: {choice.value}".splitlines()
    first += f"  # {choice.reason}" if choice.reason else ""
    return "\n".join([first, *others]) + "\n"


def quoted(text: str | Path) -> str:
    """Return a name as YAML text, whatever is in it.

    Arguments
    ---------
    text : str or Path
        For example a folder.

    Returns
    -------
    str

    Example
    -------
    >>> quoted("take #2")
    '"take #2"'
    """
    return json.dumps(str(text), ensure_ascii=False)
