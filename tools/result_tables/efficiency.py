"""The efficiency figure: what ``tools/benchmark.py`` has written, as tables."""

import json

import pandas as pd

from result_tables.rows import HERE

FOLDER = HERE.parents[1] / "docs" / "efficiency"
MIB = 2**20


def _words(record):
    """Say in a sentence on what was measured, when and by which command."""
    machine, commit = record["machine"], record["commit"][:8]
    return (
        f"{machine['name']}, {machine['cpu_threads']} threads, "
        f"{machine['memory_gib']:.0f} GiB; torch "
        f"{record['versions']['torch']}; {record['date'][:10]}, commit "
        f"{commit}:\n`{record['command']}`"
    )


def _lines(table):
    """Return a line per number of tokens, both models side by side."""
    lines = []
    for tokens, group in table.groupby("tokens"):
        aum, ast = (
            group[group["subject"] == s].iloc[0] for s in ("aum", "ast")
        )
        seconds = aum["seconds_per_clip"], ast["seconds_per_clip"]
        memory = aum["peak_memory_bytes"], ast["peak_memory_bytes"]
        lines.append(
            {
                "tokens": f"{tokens:,}",
                "AuM, ms": f"{1e3 * seconds[0]:.0f}",
                "AST, ms": f"{1e3 * seconds[1]:.0f}",
                "AuM / AST": f"{seconds[0] / seconds[1]:.2f}",
                "AuM, MiB": f"{memory[0] / MIB:.0f}",
                "AST, MiB": f"{memory[1] / MIB:.0f}",
            }
        )
    return lines


def efficiency(markdown):
    """Write a table and a picture for every measurement in the repository.

    Arguments
    ---------
    markdown : callable
        Lines and headings -> table.

    Returns
    -------
    str
    """
    parts = []
    for path in sorted(FOLDER.glob("*.csv")):
        table = pd.read_csv(path)
        told = path.with_suffix(".json").read_text(encoding="utf-8")
        record = json.loads(told)
        first, ast = (
            table[table["subject"] == name].iloc[0] for name in ("aum", "ast")
        )
        lines = _lines(table)
        parts += [
            f"### {first['mode'].capitalize()}, {first['size']} "
            f"({first['depth']} blocks, AST {ast['depth']} layers), "
            f"{first['precision']}, batch {first['batch']}: "
            f"{record['machine']['name']}",
            _words(record),
            markdown(lines, {key: key for key in lines[0]}),
            f"![Time and memory over the number of tokens]"
            f"(docs/efficiency/{path.stem}.png)",
        ]
    return "\n\n".join(parts)
