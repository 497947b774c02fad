#!/usr/bin/env python3
"""Arrange ESC-10 in the layout of ESC-50, for recipes/ESC50.

400 clips of ten classes in five folds, 33 MB instead of the 600 MB of ESC-50,
under CC BY 3.0. The last commit of the repository moved them to ESC-50:

    git clone https://github.com/karolpiczak/ESC-10
    git -C ESC-10 checkout 553c8f1743b9dba6b282e1323c3ca8fa76923448
    python tools/lay_out_esc10.py ESC-10 recipes/ESC50/data

The clips are the author's Ogg files, 3.6 to 7.2 s long as they decode, cut or
padded with zeros to the 5 s that ESC-50 has.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from layouts import LayoutError, add_folders, check_empty, parser_of, run, write
from tqdm import tqdm

from audiomamba.dataio.audio import read_audio
from audiomamba.dataio.manifest import read_labels

ROOT = Path(__file__).resolve().parents[1]
COMMIT = "553c8f1743b9dba6b282e1323c3ca8fa76923448"
# Folder of the clone, without its number -> category of ESC-50
CATEGORIES = {
    "Dog bark": "dog",
    "Rain": "rain",
    "Sea waves": "sea_waves",
    "Baby cry": "crying_baby",
    "Clock tick": "clock_tick",
    "Person sneeze": "sneezing",
    "Helicopter": "helicopter",
    "Chainsaw": "chainsaw",
    "Rooster": "rooster",
    "Fire crackling": "crackling_fire",
}
SAMPLE_RATE, SECONDS = 44100, 5


def list_clips(clone: Path) -> pd.DataFrame:
    """Return the columns of ESC-50's list, and each clip's ``path``."""
    targets = read_labels(ROOT / "recipes" / "ESC50" / "labels.csv")
    rows = []
    for path in clone.glob("*/*.ogg"):
        name = path.parent.name.partition(" - ")[2]
        if name not in CATEGORIES:
            raise LayoutError(f"{path.parent} is no class of ESC-10")
        category = CATEGORIES[name]
        target = targets.index(category)
        fold, source, take = path.stem.split("-")
        wav = f"{path.stem}-{target}.wav"
        rows.append((wav, fold, target, category, True, source, take, path))
    if not rows:
        raise LayoutError(
            f"{clone} has no <class>/<clip>.ogg: clone "
            "https://github.com/karolpiczak/ESC-10, and check out its commit "
            f"{COMMIT}; later ones have no audio"
        )
    columns = "filename fold target category esc10 src_file take path"
    return pd.DataFrame(sorted(rows), columns=columns.split())


def lay_out(clone: Path, target: Path) -> dict[str, int]:
    """Write ``audio`` and ``meta`` to a new folder; return the clips."""
    table = list_clips(clone)
    check_empty(target)
    length = SAMPLE_RATE * SECONDS
    for row in tqdm(table.itertuples(), total=len(table), unit="clip"):
        samples = np.asarray(read_audio(row.path, SAMPLE_RATE))[:length]
        samples = np.pad(samples, (0, length - len(samples)))
        write(target / "audio" / row.filename, samples, SAMPLE_RATE)
    (target / "meta").mkdir()
    table = table.drop(columns="path")
    table.to_csv(target / "meta" / "esc50.csv", index=False)
    return {"clips": len(table)}


def main(argv=None):
    """Write the layout, and print what is in it."""
    parser = parser_of(__doc__)
    add_folders(parser)
    run(__file__, lay_out, parser.parse_args(argv))


if __name__ == "__main__":
    main()
