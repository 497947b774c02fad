#!/usr/bin/env python3
"""Benchmark Audio Mamba against the Audio Spectrogram Transformer.

Time per clip and peak memory over the number of tokens, in inference and in
training (forward, backward, Adam).  Contenders take turns in one process and
their medians are compared, so that ratios are reliable even where times are
not.  512 tokens are 10.24 s of sound.

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
    FOREIGN,
    KINDS,
    MODES,
    PRECISIONS,
    SUBJECTS,
    WIDTHS,
    Cell,
    describe,
    scan_rates,
)
from benchmarking.floors import floor_seconds, measure_floors
from benchmarking.measure import (
    OUT_OF_MEMORY,
    peak_memory,
    profile,
    summarise,
    time_in_turn,
)
from benchmarking.report import (
    RATES,
    as_text,
    plot,
    profile_as_text,
    provenance,
    with_ratios,
)
from tqdm import tqdm

from audiomamba.dataio.files import write_json
from audiomamba.ops import available_engines, current_engine

# Defaults with --quick and without
QUICK = {
    "size": "tiny",
    "tokens": [512, 1024],
    "aum_depth": DEPTHS["aum"] // 4,
    "ast_depth": DEPTHS["ast"] // 4,
    "repeats": 3,
    "warmup": 1,
}
FULL = {
    "size": "base",
    "tokens": [512, 1024, 2048, 4096],
    "aum_depth": DEPTHS["aum"],
    "ast_depth": DEPTHS["ast"],
    "repeats": 5,
    "warmup": 2,
}
LEAST = {"aum_depth": 1, "ast_depth": 1, "repeats": 1, "warmup": 0}


def _parser():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add = parser.add_argument
    several, number = {"nargs": "+"}, {"type": int, "metavar": "N"}
    device = "cuda" if torch.cuda.is_available() else "cpu"

    quick = "a minute: tiny models, a quarter of their layers, 3 rounds"
    add("--quick", action="store_true", help=quick)
    default, of_what = ["aum", "ast"], "models, or parts of one layer"
    subjects = {"default": default, "choices": SUBJECTS, "help": of_what}
    add("--subjects", **several, **subjects)
    add("--modes", **several, default=MODES, choices=MODES)
    tokens = "patches per clip, multiples of 8 (default: 512 to 4096)"
    add("--tokens", **several, **number, help=tokens)
    add("--batch-sizes", **several, **number, default=[1])
    add("--precisions", **several, default=["fp32"], choices=PRECISIONS)
    engines = "engines to compare (default: the one in use)"
    add("--engines", **several, metavar="NAME", help=engines)
    add("--size", choices=WIDTHS, help="width of the models (default: base)")
    add("--aum-depth", **number, help="layers (default: 24)")
    add("--ast-depth", **number, help="layers (default: 12)")
    add("--compile", action="store_true", help="use torch.compile")
    add("--device", choices=["cpu", "cuda"], default=device)
    add("--threads", **number, help="CPU threads (default: all)")
    add("--repeats", **number, help="timed rounds (default: 5)")
    add("--warmup", **number, help="untimed rounds (default: 2)")
    add("--no-memory", action="store_true", help="time only")
    add("--profile", action="store_true", help="list the slowest operators")
    add("--out", type=Path, metavar="STEM", help="write STEM.csv, STEM.json")
    add("--plot", type=Path, metavar="FILE", help="plot time and memory")
    return parser


def _arguments(argv=None):
    """Return the checked settings, with the defaults of --quick or without."""
    parser = _parser()
    args = parser.parse_args(argv)
    for name, value in (QUICK if args.quick else FULL).items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    wrong = [n for n in args.tokens if n < 8 or n % 8]
    if wrong:
        parser.error(f"--tokens {wrong[0]}: 128 mel bins make multiples of 8.")
    for name, least in LEAST.items():
        if getattr(args, name) < least:
            parser.error(f"--{name.replace('_', '-')} is at least {least}.")
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: PyTorch finds no GPU here.")
    known = available_engines(args.device)
    args.engines = args.engines or [current_engine(args.device)]
    for name in args.engines:
        if name not in known:
            parser.error(
                f"--engines {name}: on {args.device} there are "
                f"{', '.join(known)}."
            )
    return args


def contenders(args, mode, precision, batch, tokens):
    """Return the cells that take turns: models, scans, then mixers."""
    groups = {"models": [], "scan": [], "mixers": []}
    for subject in args.subjects:
        depth = {"aum": args.aum_depth, "ast": args.ast_depth}.get(subject)
        kind = KINDS.get(subject, "models")
        for engine in [None] if subject in FOREIGN else args.engines:
            cell = Cell(
                subject=subject,
                mode=mode,
                tokens=tokens,
                batch=batch,
                precision=precision,
                size=args.size,
                depth=depth,
                engine=engine,
                device=args.device,
                compiled=args.compile and subject not in KINDS,
            )
            groups[kind].append(cell)
    return [group for group in groups.values() if group]


def _untimed_row(cell, memory):
    """Return a cell's row of the table, without its times."""
    failed = memory == OUT_OF_MEMORY
    times = ("seconds", "seconds_per_clip", *RATES)
    return {
        **asdict(cell),
        "contender": cell.label,
        **describe(cell),
        **dict.fromkeys(times),
        "peak_memory_bytes": None if failed else memory,
        "note": OUT_OF_MEMORY if failed else "",
    }


def measure_group(cells, args, floors):
    """Return a row per contender; one that ran out of memory has no time.

    Memory is measured one by one, then time in turn.  Scans are compared with
    the floors of the device.
    """
    rows = [
        _untimed_row(cell, None if args.no_memory else peak_memory(cell))
        for cell in cells
    ]
    able = [(cell, row) for cell, row in zip(cells, rows) if not row["note"]]
    if able:
        times = time_in_turn([c for c, _ in able], args.repeats, args.warmup)
        for (cell, row), seconds in zip(able, times):
            row.update(summarise(seconds))
            row["seconds_per_clip"] = row["seconds"] / cell.batch
            if cell.subject == "scan":
                row.update(scan_rates(cell, row["seconds"]))
                row["floor_seconds"] = floor_seconds(cell, floors)
    return rows


def main(argv=None):
    """Run the benchmark, print its table and write the files asked for."""
    args = _arguments(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    settings = itertools.product(
        args.modes, args.precisions, args.batch_sizes, args.tokens
    )
    groups = [g for s in settings for g in contenders(args, *s)]
    floors = measure_floors(args.device) if "scan" in args.subjects else None
    rows, profiles = [], []
    progress = tqdm(groups, disable=None, file=sys.stderr)
    for cells in progress:
        progress.set_description(f"{cells[0].mode} {cells[0].tokens}")
        rows += measure_group(cells, args, floors)
        if args.profile:
            profiles += [profile(cell, args.repeats) for cell in cells]
    table = with_ratios(rows)
    record = {**provenance(args.device), "floors": floors}
    machine = record["machine"]
    print(f"{machine['name']}, {machine}")
    print(as_text(table))
    for entries in profiles:
        print(profile_as_text(entries))
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        # Appended: with_suffix would cut a name such as v0.1
        table.to_csv(f"{args.out}.csv", index=False)
        results = table.astype(object).where(table.notna(), None)
        record["results"] = results.to_dict("records")
        record["profiles"] = list(itertools.chain(*profiles))
        write_json(Path(f"{args.out}.json"), record)
    if args.plot:
        args.plot.parent.mkdir(parents=True, exist_ok=True)
        threads = f", {machine['cpu_threads']} threads"
        where = machine["name"] + (threads if args.device == "cpu" else "")
        plot(table, args.plot, where)


if __name__ == "__main__":
    main()
