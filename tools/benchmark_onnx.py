#!/usr/bin/env python3
"""Compare onnxruntime with the engine: one clip of 10 s on one thread.

    python tools/benchmark_onnx.py            # AuM-tiny and DASS-small
    python tools/benchmark_onnx.py --rounds 30 --models aum_tiny

The whole way is measured, from waveform to probabilities. Both take turns, so
that they meet the same disturbances, and processor time is counted.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import onnxruntime
import torch
from benchmarking.taggers import MODELS, RATE, new_tagger

from audiomamba.inference import export_onnx

SECONDS = 10
MEASURED = ["aum_tiny", "dass_small"]


def open_session(tagger):
    """Export a tagger; return a session with one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    with tempfile.TemporaryDirectory() as folder:
        path = export_onnx(tagger, Path(folder) / "model.onnx")
        return onnxruntime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"]
        )


def measure(tagger, session, rounds):
    """Return the median processor seconds of both, taking turns."""
    wavs = 0.1 * torch.randn(1, SECONDS * RATE)
    feeds = {"wavs": wavs.numpy(), "n_samples": [SECONDS * RATE]}
    calls = (lambda: session.run(None, feeds), lambda: tagger(wavs))
    times = ([], [])
    for turn in range(rounds + 2):
        for call, seconds in zip(calls, times):
            started = time.process_time()
            call()
            if turn >= 2:
                seconds.append(time.process_time() - started)
    return map(statistics.median, times)


def main(argv=None):
    """Measure the models on the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MEASURED)
    parser.add_argument("--rounds", type=int, default=12)
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)
    for name in arguments.models:
        torch.manual_seed(0)
        tagger = new_tagger(MODELS[name]())
        onnx, engine = measure(tagger, open_session(tagger), arguments.rounds)
        print(
            f"{name}: onnxruntime {1e3 * onnx:.0f} ms, engine "
            f"{1e3 * engine:.0f} ms, {onnx / engine:.2f} times"
        )


if __name__ == "__main__":
    main()
