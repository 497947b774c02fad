#!/usr/bin/env python3
"""Arrange spoken coffee orders for recipes/Custom: clips with several labels.

619 crowd-sourced orders of 5 to 15 s by more than 50 speakers, under
Apache-2.0:

    git clone https://github.com/Picovoice/speech-to-intent-benchmark
    git -C speech-to-intent-benchmark checkout \\
        47b1ca63afe4f08cb83e1f70fec16764879bd130
    python tools/lay_out_coffee.py speech-to-intent-benchmark \\
        recipes/Custom/data/coffee

250 of them, evenly spaced in the order of their names, become train.csv,
valid.csv and test.csv with 150, 50 and 50 clips. Labels are what was ordered,
without the quantity ("a bit of brown sugar" is brown_sugar), as far as eight of
the clips have them. The owners do not say who speaks: the same speaker can be
in two lists.
"""

import json
import re
import shutil
from collections import Counter
from pathlib import Path

import pandas as pd
import soundfile as sf
from layouts import LayoutError, add_folders, check_empty, parser_of, run

CLIPS, LEAST = 250, 8
QUANTITY = re.compile(r"\s*(?:(?:a (?:little )?bit|a lot|lots) of|some)?\s*")
# By the place in the list, modulo 5
SPLITS = ("train", "train", "train", "valid", "test")


def labels_of(order: dict) -> list[str]:
    """Return what was ordered, sorted.

    Example
    -------
    >>> labels_of({"slots": {"size": "large", "milkAmount": "lots of milk"}})
    ['large', 'milk']
    """
    values = (QUANTITY.sub("", v, count=1) for v in order["slots"].values())
    return sorted({value.replace(" ", "_") for value in values})


def choose(clone: Path) -> dict[Path, list[str]]:
    """Return the chosen recordings and their labels."""
    audio, lists = clone / "data/speech/clean", clone / "data/label/label.json"
    found = sorted(audio.glob("*.wav"))
    if len(found) < CLIPS or not lists.is_file():
        raise LayoutError(
            f"{clone} has no {lists.relative_to(clone)} with {CLIPS} "
            f"recordings in {audio.relative_to(clone)}: clone "
            "https://github.com/Picovoice/speech-to-intent-benchmark"
        )
    orders = json.loads(lists.read_text(encoding="utf-8"))
    chosen = [found[i * len(found) // CLIPS] for i in range(CLIPS)]
    labels = {path: labels_of(orders[path.name]) for path in chosen}
    counts = Counter(label for own in labels.values() for label in own)
    return {
        path: [label for label in own if counts[label] >= LEAST]
        for path, own in labels.items()
    }


def lay_out(clone: Path, target: Path) -> dict[str, int]:
    """Write ``audio`` and the lists; return split -> number of clips."""
    labels = choose(clone)
    check_empty(target)
    (target / "audio").mkdir(parents=True)
    rows = []
    for number, (path, own) in enumerate(labels.items()):
        wav = f"audio/{path.name}"
        shutil.copy(path, target / wav)
        duration = sf.info(path).duration
        split = SPLITS[number % len(SPLITS)]
        rows.append((split, path.stem, duration, wav, ";".join(own)))
    columns = ["split", "ID", "duration", "wav", "label"]
    table = pd.DataFrame(rows, columns=columns)
    for split, own in table.groupby("split"):
        own.drop(columns="split").to_csv(target / f"{split}.csv", index=False)
    return table["split"].value_counts().to_dict()


def main(argv=None):
    """Write the layout, and print what is in it."""
    parser = parser_of(__doc__)
    add_folders(parser)
    run(__file__, lay_out, parser.parse_args(argv))


if __name__ == "__main__":
    main()
