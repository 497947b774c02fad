#!/usr/bin/env python3
"""Clips per second and memory of every model, from waveform to tags.

Processor time of one thread, so that other work on the machine hardly counts;
the median round is shown.  Memory is what a model and a call add to a process.
"-" stands where the rounds of a length took more than --patience seconds, and
at the longer ones of that model and form.

    python tools/benchmark_taggers.py --out results/taggers.md
    python tools/benchmark_taggers.py --models aum_base ast_base --seconds 10 \\
        --batch-size 16 --forms fp32
"""

import argparse
import gc
import multiprocessing
import statistics
import tempfile
import time
from pathlib import Path

import pandas as pd
import torch
from benchmarking.measure import reset_peak, resident
from benchmarking.report import provenance
from benchmarking.taggers import MODELS, RATE, new_tagger

from audiomamba.inference import export_onnx
from audiomamba.lobes import AudioMamba

FORMS = ["fp32", "bf16", "onnx", "int8"]


def exportable(model):
    """Return whether a model has a form in ONNX."""
    return not model.startswith("ast")


def _arguments(argv):
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--models", nargs="+", choices=MODELS, default=list(MODELS))
    add("--forms", nargs="+", choices=FORMS, default=FORMS)
    lengths, default = "of a clip (default: 1 10 60 600)", [1, 10, 60, 600]
    add("--seconds", nargs="+", type=float, default=default, help=lengths)
    add("--batch-size", type=int, default=1)
    add("--rounds", type=int, default=3)
    patience = "for all rounds of one length (default: 300 s)"
    add("--patience", type=float, default=300, metavar="S", help=patience)
    add("--out", type=Path, metavar="FILE", help="write the table as Markdown")
    return parser.parse_args(argv)


def write_onnx(model, forms, folder):
    """Export a model in the forms asked for; return form -> file."""
    files = {}
    if not exportable(model) or not {"onnx", "int8"} & set(forms):
        return files
    torch.manual_seed(0)
    files["onnx"] = export_onnx(
        new_tagger(MODELS[model](), None), Path(folder) / f"{model}.onnx"
    )
    if "int8" in forms:
        from audiomamba.inference.programs.onnx_int8 import quantize

        target = Path(folder) / f"{model}_int8.onnx"
        files["int8"] = quantize(files["onnx"], target)
    return files


def new_call(model, form, file, wavs):
    """Return a function that tags a batch of clips [B, samples]."""
    if file is not None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(
            str(file), options, providers=["CPUExecutionProvider"]
        )
        feeds = {
            "wavs": wavs.numpy(),
            "n_samples": [wavs.shape[1]] * len(wavs),
        }
        return lambda: session.run(None, feeds)
    tagger = new_tagger(MODELS[model](), None)
    half = form == "bf16"

    def tag():
        with torch.inference_mode():
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                tagger(wavs)

    return tag


def _measure(model, form, file, arguments, answer):
    """Send (seconds, processor time, bytes) of every length, as measured.

    Runs in its own process.
    """
    torch.set_num_threads(1)
    torch.manual_seed(0)
    # Kernels and libraries are loaded before, by a model of no size.
    new_tagger(AudioMamba(embed_dim=32, depth=1), None)(torch.randn(1, RATE))
    before = resident("VmRSS")
    for seconds in sorted(arguments.seconds):
        n_samples = round(seconds * RATE)
        wavs = 0.1 * torch.randn(arguments.batch_size, n_samples)
        gc.collect()
        reset_peak()
        call = new_call(model, form, file, wavs)
        call()
        memory = resident("VmHWM") - before
        times = []
        for _ in range(arguments.rounds):
            started = time.process_time()
            call()
            times.append(time.process_time() - started)
        del call
        answer.send((seconds, statistics.median(times), memory))


def measure(model, form, file, arguments):
    """Return (seconds, processor time, bytes) of the lengths in time."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    setting = (model, form, file, arguments, sender)
    child = context.Process(target=_measure, args=setting)
    child.start()
    sender.close()
    found = []
    try:
        while len(found) < len(arguments.seconds):
            if not receiver.poll(arguments.patience):
                break
            found.append(receiver.recv())
    except EOFError:
        child.join()
        raise RuntimeError(
            f"The process that measured {model} in {form} ended with exit code "
            f"{child.exitcode}; its message is above."
        ) from None
    finally:
        child.terminate()
        child.join()
    return found


def row(model, form, file, arguments):
    """Return a row of the table: a model in a form, at every length."""
    found = {"model": model, "form": form}
    for seconds in sorted(arguments.seconds):
        found |= {f"{seconds:g} s: clips/s": "-", f"{seconds:g} s: MiB": "-"}
    for seconds, time_of_batch, memory in measure(model, form, file, arguments):
        rate = arguments.batch_size / time_of_batch
        found[f"{seconds:g} s: clips/s"] = f"{rate:.3g}"
        found[f"{seconds:g} s: MiB"] = f"{memory / 2**20:.0f}"
    return found


def as_markdown(rows, record, arguments):
    """Return the table with machine, date and load."""
    machine = record["machine"]
    load = record["load_average"]
    table = pd.DataFrame(rows)
    lines = ["| " + " | ".join(table.columns) + " |"]
    lines.append("|" + "---|" * len(table.columns))
    lines += ["| " + " | ".join(line) + " |" for line in table.to_numpy()]
    busy = f"load average {load[0]:.0f}, " if load else ""
    return (
        f"{machine['name']}, {machine['instructions']}, one thread; batches of "
        f"{arguments.batch_size}; {busy}{record['date'][:10]}, torch "
        f"{record['versions']['torch']}, commit {record['commit'][:8]}:\n"
        f"`{record['command']}`\n\n" + "\n".join(lines) + "\n"
    )


def main(argv=None):
    """Measure, and print or write the table."""
    arguments = _arguments(argv)
    rows = []
    for model in arguments.models:
        with tempfile.TemporaryDirectory() as folder:
            files = write_onnx(model, arguments.forms, folder)
            for form in arguments.forms:
                if form in ("onnx", "int8") and form not in files:
                    continue
                rows.append(row(model, form, files.get(form), arguments))
                print(*rows[-1].values(), flush=True)
    text = as_markdown(rows, provenance("cpu"), arguments)
    print(text)
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
