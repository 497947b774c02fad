"""The measurements of ``tools/benchmark.py`` in the repository, as tables."""

import json

import pandas as pd

from result_tables.rows import ROOT

FOLDER = ROOT / "docs" / "efficiency"
MIB = 2**20


def _words(record):
    """Return the machine, the date and the command of a measurement."""
    machine = record["machine"]
    return (
        f"{machine['name']}, {machine['instructions']}, "
        f"{machine['cpu_threads']} threads, "
        f"{machine['memory_gib']:.0f} GiB; torch "
        f"{record['versions']['torch']}; {record['date'][:10]}, commit "
        f"{record['commit'][:8]}:\n`{record['command']}`"
    )


def _line(tokens, aum, ast):
    """Return the line of a number of tokens, both models side by side."""
    seconds = aum["seconds_per_clip"], ast["seconds_per_clip"]
    return {
        "tokens": f"{tokens:,}",
        "AuM, ms": f"{1e3 * seconds[0]:.0f}",
        "AST, ms": f"{1e3 * seconds[1]:.0f}",
        "AuM / AST": f"{seconds[0] / seconds[1]:.2f}",
        "AuM, MiB": f"{aum['peak_memory_bytes'] / MIB:.0f}",
        "AST, MiB": f"{ast['peak_memory_bytes'] / MIB:.0f}",
    }


def efficiency(markdown) -> str:
    """Return a table and a picture of every measurement.

    ``markdown`` turns lines and headings into a table.
    """
    parts = []
    for path in sorted(FOLDER.glob("*.csv")):
        record = json.loads(path.with_suffix(".json").read_text("utf-8"))
        by_model = pd.read_csv(path).set_index(["subject", "tokens"])
        aum, ast = by_model.loc["aum"], by_model.loc["ast"]
        lines = [_line(n, aum.loc[n], ast.loc[n]) for n in sorted(aum.index)]
        first = aum.iloc[0]
        parts += [
            f"#### {first['mode'].capitalize()}, {first['size']} "
            f"({first['depth']} blocks, AST {ast.iloc[0]['depth']} layers), "
            f"{first['precision']}, batch {first['batch']}: "
            f"{record['machine']['name']}",
            _words(record),
            markdown(lines, {key: key for key in lines[0]}),
            f"![Time and memory over the number of tokens]"
            f"(docs/efficiency/{path.stem}.png)",
        ]
    return "\n\n".join(parts)
