#!/usr/bin/env python3
"""Measure Audio Mamba beside the Audio Spectrogram Transformer.

Time per clip and peak memory over the number of tokens, in inference and in
training (forward, backward, Adam), on whatever device is there.  Contenders
run in turn within one process and the medians are compared, so that ratios
can be trusted where times cannot.  512 tokens are 10.24 s of sound.

    python tools/benchmark.py --quick
    python tools/benchmark.py --tokens 512 1024 2048 4096 --out results/cpu
    python tools/benchmark.py --subjects scan --engines cpu reference
    python tools/benchmark.py --modes inference --profile
"""

import argparse
import itertools
import sys
from dataclasses import asdict
from pathlib import Path

import torch
from benchmarking.cells import (
    DEPTHS,
    PRECISIONS,
    WIDTHS,
    Cell,
    describe,
    scan_rates,
)
from benchmarking.measure import (
    OUT_OF_MEMORY,
    peak_memory,
    profile,
    summarise,
    time_in_turn,
)
from benchmarking.report import as_text, plot, provenance, with_ratios
from tqdm import tqdm

from audiomamba.ops import available_engines
from audiomamba.training.results import write_json

# What `--quick` changes where the user does not say otherwise.
QUICK = {"size": "tiny", "tokens": [512, 1024]}
FULL = {"size": "base", "tokens": [512, 1024, 2048, 4096]}


def _arguments(argv=None):
    """Return the command line's settings."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add = parser.add_argument
    add("--quick", action="store_true", help="tiny models, under a minute")
    add(
        "--subjects",
        nargs="+",
        default=["aum", "ast"],
        choices=["aum", "ast", "scan"],
        help="models, or a layer's scan alone",
    )
    add(
        "--modes",
        nargs="+",
        default=["inference", "training"],
        choices=["inference", "training"],
    )
    add(
        "--tokens",
        nargs="+",
        type=int,
        metavar="N",
        help="patches per clip, multiples of 8",
    )
    add("--batch-sizes", nargs="+", type=int, default=[1], metavar="N")
    add("--precisions", nargs="+", default=["fp32"], choices=PRECISIONS)
    add(
        "--engines",
        nargs="+",
        metavar="NAME",
        help="engines to compare (default: the best one)",
    )
    add("--size", choices=WIDTHS, help="width of the models (default: base)")
    add("--aum-depth", type=int, metavar="N", help="layers (default: 24)")
    add("--ast-depth", type=int, metavar="N", help="layers (default: 12)")
    add("--compile", action="store_true", help="through torch.compile")
    add(
        "--device",
        choices=["cpu", "cuda"],
        default="cuda" if torch.cuda.is_available() else "cpu",
    )
    add("--threads", type=int, metavar="N", help="CPU threads (default: all)")
    add(
        "--repeats",
        type=int,
        default=5,
        metavar="N",
        help="rounds that count, at least 1 (default: 5)",
    )
    add(
        "--warmup",
        type=int,
        default=2,
        metavar="N",
        help="rounds before (default: 2)",
    )
    add("--no-memory", action="store_true", help="time only")
    add(
        "--profile",
        action="store_true",
        help="also list the operators that the time goes to",
    )
    add("--out", type=Path, metavar="STEM", help="write STEM.csv and STEM.json")
    add("--plot", type=Path, metavar="FILE", help="draw time and memory")
    args = parser.parse_args(argv)
    for name, value in (QUICK if args.quick else FULL).items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    _check(parser, args)
    return args


def _check(parser, args):
    """Refuse settings that have no meaning, and fill in the engine."""
    wrong = [n for n in args.tokens if n < 8 or n % 8]
    if wrong:
        parser.error(f"--tokens {wrong[0]}: 128 mel bins make multiples of 8.")
    if args.repeats < 1 or args.warmup < 0:
        parser.error("--repeats is at least 1, --warmup at least 0.")
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: PyTorch finds no GPU here.")
    known = available_engines(args.device)
    args.engines = args.engines or known[:1]
    for name in args.engines:
        if name not in known:
            parser.error(
                f"--engines {name}: on {args.device} there are "
                f"{', '.join(known)}."
            )


def contenders(args, mode, precision, batch, tokens):
    """Return the cells that run in turn, models and scans apart.

    Arguments
    ---------
    args : argparse.Namespace
        The settings.
    mode : str
        "inference" or "training".
    precision : str
        "fp32", "bf16" or "fp16".
    batch : int
        Clips at a time.
    tokens : int
        Patches of a clip.

    Returns
    -------
    list of list of Cell
    """
    groups = {"models": [], "scans": []}
    for subject in args.subjects:
        depth = {"aum": args.aum_depth, "ast": args.ast_depth}.get(subject)
        for engine in [None] if subject == "ast" else args.engines:
            cell = Cell(
                subject=subject,
                mode=mode,
                tokens=tokens,
                batch=batch,
                precision=precision,
                size=args.size,
                depth=depth or DEPTHS.get(subject),
                engine=engine,
                device=args.device,
                compiled=args.compile and subject != "scan",
            )
            groups["scans" if subject == "scan" else "models"].append(cell)
    return [group for group in groups.values() if group]


def _row(cell, memory):
    """Return what is known of a cell before it is timed."""
    failed = memory == OUT_OF_MEMORY
    return {
        **asdict(cell),
        "contender": cell.label,
        **describe(cell),
        **dict.fromkeys(("seconds", "seconds_per_clip")),
        **dict.fromkeys(("gbytes_per_s", "gexp_per_s")),
        "peak_memory_bytes": None if failed else memory,
        "note": OUT_OF_MEMORY if failed else "",
    }


def measure_group(cells, args):
    """Measure contenders: memory one by one, then time in turn.

    Arguments
    ---------
    cells : list of Cell
        The contenders.
    args : argparse.Namespace
        The settings.

    Returns
    -------
    list of dict
        One row per contender; one that ran out of memory has no time.
    """
    rows = [
        _row(cell, None if args.no_memory else peak_memory(cell))
        for cell in cells
    ]
    able = [(c, row) for c, row in zip(cells, rows) if not row["note"]]
    if able:
        times = time_in_turn([c for c, _ in able], args.repeats, args.warmup)
        for (cell, row), seconds in zip(able, times):
            row.update(summarise(seconds))
            row["seconds_per_clip"] = row["seconds"] / cell.batch
            if cell.subject == "scan":
                row.update(scan_rates(cell, row["seconds"]))
    return rows


def _print_profile(entries, top=15):
    """Print the operators of a cell that take the most time."""
    first = entries[0]
    print(f"\n{first['contender']}, {first['mode']}, {first['tokens']} tokens")
    for entry in entries[:top]:
        print(
            f"{entry['ms_per_step']:10.2f} ms {entry['share']:7.1%} "
            f"{entry['calls_per_step']:7.0f} calls  {entry['operator']}"
        )


def main(argv=None):
    """Measure what the command line asks for, print it and write it down."""
    args = _arguments(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    settings = list(
        itertools.product(
            *(args.modes, args.precisions, args.batch_sizes, args.tokens)
        )
    )
    groups = [g for s in settings for g in contenders(args, *s)]
    rows, profiles = [], []
    progress = tqdm(groups, disable=None, file=sys.stderr)
    for cells in progress:
        progress.set_description(f"{cells[0].mode} {cells[0].tokens}")
        rows += measure_group(cells, args)
        if args.profile:
            profiles += [profile(cell, args.repeats) for cell in cells]
    table = with_ratios(rows)
    record = provenance(args.device)
    print(f"{record['machine']['name']}, {record['machine']}")
    print(as_text(table))
    for entries in profiles:
        _print_profile(entries)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        table.to_csv(args.out.with_suffix(".csv"), index=False)
        results = table.astype(object).where(table.notna(), None)
        record["results"] = results.to_dict("records")
        record["profiles"] = list(itertools.chain(*profiles))
        write_json(args.out.with_suffix(".json"), record)
    if args.plot:
        args.plot.parent.mkdir(parents=True, exist_ok=True)
        machine = record["machine"]
        threads = f", {machine['cpu_threads']} threads"
        where = machine["name"] + (threads if args.device == "cpu" else "")
        plot(table, args.plot, where)


if __name__ == "__main__":
    main()
