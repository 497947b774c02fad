"""The pictures of the small tables, and what padding does, for the page."""

import json

from result_tables.rows import ROOT

FOLDER = ROOT / "docs" / "small"
# Drawn by tools/draw_results.py
PICTURES = {
    "scores": "A bar per row",
    "curves": "Learning curves, with bands of a standard deviation",
    "confusion_esc10": "Where AuM, Fo-Bi, put the clips of ESC-10: all folds",
    "confusion_digits_dass": "Where DASS put the words of a new speaker",
    "confusion_digits_ecapa": "Where ECAPA-TDNN put them",
}


def pictures() -> str:
    """Return those that have been drawn."""
    found = [
        f"![{title}](docs/small/{name}.png)"
        for name, title in PICTURES.items()
        if (FOLDER / f"{name}.png").is_file()
    ]
    return "\n\n".join(found)


def padding(markdown) -> str:
    """Return a line per record of ``tools/padding.py`` and way of its batches.

    ``markdown`` turns lines and headings into a table.
    """
    lines = []
    for path in sorted((FOLDER / "padding").glob("*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        for row in record["rows"]:
            scores = {
                name: f"{row[name]:.2f}" if name in row else "-"
                for name in ("accuracy", "mAP")
            }
            lines.append(
                {
                    "model": record["model"],
                    "clips": record["clips"],
                    "seconds": f"{record['shortest']:.1f} to "
                    f"{record['longest']:.1f}",
                    "batches": row["way"],
                    **scores,
                    "mean difference": f"{row['mean_difference']:.1e}",
                    "largest difference": f"{row['largest_difference']:.1e}",
                }
            )
    return markdown(lines, {key: key for key in lines[0]}) if lines else ""
