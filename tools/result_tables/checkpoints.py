"""``docs/models.md``: the published checkpoints, from ``checkpoints.csv``.

The figures are their authors', of the released files: those of the AuM paper's
repository, of DASS's, Vim's and VMamba's pages.
"""

import pandas as pd

from result_tables.page import markdown
from result_tables.rows import HERE

HEADINGS = {
    "model": "model",
    "task": "trained on",
    "parameters": "M parameters",
    "figure": "published",
    "address": "address",
    "command": "command",
}
HEAD = """\
# Published models

The checkpoints of AuM, DASS, Vim and VMamba that load here, with the figures
that their authors publish; none of them was measured here. `FILE` is the
downloaded file, `M` a new folder. Nothing in a checkpoint is executed. This
page is written by `tools/collect_results.py` from
`tools/result_tables/checkpoints.csv`.
"""
# Family -> what it is, and the command for one of its files
SECTIONS = {
    "AuM": """\
## AuM

Taggers and classifiers of the Audio Mamba paper; its repository links the
files. The converted folder is what every tool here takes as `--model` or
`--init_from`. Class names and features are those of the corpus, which the
number of classes tells.
""",
    "DASS": """\
## DASS

Taggers of AudioSet that take recordings of any length. Their names on the
Hugging Face hub are enough; the code beside the weights is not run.
""",
    "Vim": """\
## Vim

Classifiers of images, with the class token in the middle, from which AuM's
design Bi-Bi starts. The figure is the accuracy on ImageNet. The command
fine-tunes on your own sounds, a folder per class.
""",
    "VMamba": """\
## VMamba

Classifiers of images, from which DASS starts. VMamba's other releases are other
models: with twice the channels inside (s2), with a gate (version 0), or for
detection and segmentation.
""",
}
COMMANDS = {
    "AuM": "python tools/convert_checkpoint.py FILE M",
    "DASS": "audiomamba-tag dog.wav --model {file}",
    "Vim": "audiomamba-train sounds --init_from {file}",
    "VMamba": "audiomamba-train sounds --init_from {file}",
}


def models_page() -> str:
    """Return the text of ``docs/models.md``."""
    table = pd.read_csv(HERE / "checkpoints.csv", dtype=str).fillna("")
    parts = [HEAD]
    for family, text in SECTIONS.items():
        rows = table[table["family"] == family].to_dict("records")
        for row in rows:
            place = row["address"].split("://", 1)[1]
            row["address"] = f"[{place.split('/')[0]}]({row['address']})"
            row["command"] = f"`{COMMANDS[family].format(**row)}`"
        parts += [text, markdown(rows, HEADINGS) + "\n"]
    return "\n".join(parts)
