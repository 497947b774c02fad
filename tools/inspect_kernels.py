#!/usr/bin/env python3
"""Compile the Triton kernels for GPUs that are not here, and count.

For every kernel and configuration: registers per thread, bytes spilled to the
stack, and instructions per step of the scan, from the machine code.  A warp
issues at most one instruction per cycle, and an exponential, logarithm or
reciprocal occupies a quarter of a multiprocessor for eight cycles; that gives
the least time of a step, and of a scan of one clip per program.

    python tools/inspect_kernels.py
    python tools/inspect_kernels.py --targets 90 --dtypes bf16 --json out.json
"""

import argparse
import json
import re
import subprocess
import tempfile
from collections import Counter
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import pandas as pd
import triton
from triton.backends.compiler import GPUTarget

# Multiprocessors, GHz and GB/s of memory, from NVIDIA's data sheets
GPUS = {
    80: ("A100", 108, 1.41, 1555),
    90: ("H100", 132, 1.83, 3350),
}
# Kernel -> its module in audiomamba.ops.triton
KERNELS = {"forward_kernel": "scan", "backward_kernel": "adjoint"}
SINGLE = set(
    "A A_b D bias borders partial partial_du partial_ddelta "
    "dA dB dC dD dbias".split()
)
INTEGERS = ("_batch", "_step", "n_steps", "n_channels", "n_state", "size")
STATES, LANES, WARP_SCHEDULERS = 16, 8, 4
# Cycles for which these occupy a quarter of a multiprocessor
SLOW_UNIT = 8
# One layer of the base model: clips, tokens, channels
BATCH, STEPS, CHANNELS = 8, 512, 1536


@dataclass
class Kernel:
    """A kernel in one configuration for one target."""

    name: str
    dtype: str  # of the rows: fp32, bf16 or fp16
    target: int  # compute capability, 80 for 8.0
    config: dict


def kernels(names, targets, dtypes):
    """Yield every configuration that the kernels are tuned over."""
    for target in targets:
        for dtype in dtypes:
            for name in names:
                tuned = getattr(load(KERNELS[name]), name)
                for config in tuned.configs:
                    yield Kernel(name, dtype, target, config.kwargs)


def load(module):
    """Import a module of the engine."""
    return import_module(f"audiomamba.ops.triton.{module}")


def compiled(kernel):
    """Return a kernel as machine code, for both directions and all inputs."""
    function = getattr(load(KERNELS[kernel.name]), kernel.name).fn
    constants = {"SOFTPLUS": True, "STATES": STATES, **kernel.config}
    constants["lengths"] = None
    signature = {}
    for name in function.arg_names:
        if name in constants:
            signature[name] = "constexpr"
        elif name.endswith(INTEGERS):
            signature[name] = "i32"
        else:
            signature[name] = "*fp32" if name in SINGLE else f"*{kernel.dtype}"
    source = triton.compiler.ASTSource(
        function, signature, constexprs=constants
    )
    target = GPUTarget("cuda", kernel.target, 32)
    options = {"num_warps": 1, "num_stages": 1}
    return triton.compile(source, target=target, options=options).asm["cubin"]


def tool(name):
    """Return the path of a program of CUDA that comes with Triton."""
    folder = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
    return str(folder / name)


def dump(cubin, *options):
    """Return what cuobjdump says of machine code."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        return subprocess.run(
            [tool("cuobjdump"), *options, file.name],
            capture_output=True,
            text=True,
            check=True,
        ).stdout


# "        /*0a30*/              @!P0 BRA 0x9c0 ;"
_LINE = re.compile(r"/\*([0-9a-f]{4,})\*/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]*)(.*)")


def instructions(sass):
    """Return (address, operation, operands) of every instruction."""
    return [
        (int(address, 16), operation, rest)
        for address, operation, rest in _LINE.findall(sass)
    ]


def loops(code):
    """Return the instructions of every innermost loop, by backward jumps."""
    spans = []
    for address, operation, rest in code:
        target = re.search(r"0x([0-9a-f]+)", rest)
        if operation.startswith("BRA") and target:
            start = int(target[1], 16)
            if start < address:
                spans.append((start, address))
    inner = [
        (a, b)
        for a, b in spans
        if not any((a, b) != (c, d) and a <= c and d <= b for c, d in spans)
    ]
    return [[op for at, op, _ in code if a <= at <= b] for a, b in inner]


def measure(kernel):
    """Return a kernel's row of the table."""
    cubin = compiled(kernel)
    usage = dump(cubin, "--dump-resource-usage")
    registers, stack = map(
        int, re.search(r"REG:(\d+) STACK:(\d+)", usage).groups()
    )
    code = instructions(dump(cubin, "--dump-sass"))
    # Loops that scan, one per sweep, and not the few that spin in place
    bodies = [body for body in loops(code) if len(body) > 32]
    counts = Counter(op.split(".")[0] for body in bodies for op in body)
    n_steps = kernel.config["TILE"]
    issued = sum(counts.values()) / n_steps
    slow = counts["MUFU"] / n_steps
    cycles = max(issued, SLOW_UNIT * slow)
    return {
        "kernel": kernel.name.removesuffix("_kernel"),
        "dtype": kernel.dtype,
        "sm": kernel.target,
        **kernel.config,
        "registers": registers,
        "spilled bytes": stack,
        "loops": len(bodies),
        "instructions": round(issued),
        "of them slow": round(slow, 1),
        "shuffles": round(counts["SHFL"] / n_steps, 1),
        "loads, stores": round(
            sum(counts[op] for op in ("LDG", "STG", "LDL", "STL")) / n_steps, 1
        ),
        "cycles": round(cycles),
        **times(kernel, issued, slow),
    }


def times(kernel, issued, slow):
    """Return the least times of a layer of the base model, in ms.

    A program is one warp. Those on the same scheduler share its issue slots;
    one alone takes its own cycles.
    """
    _, processors, gigahertz, bandwidth = GPUS[kernel.target]
    width = LANES * kernel.config["GROUPS"]
    warps = BATCH * -(-CHANNELS // width)
    sharing = max(1.0, warps / (processors * WARP_SCHEDULERS))
    cycles = sharing * STEPS * max(issued, SLOW_UNIT * slow)
    wide, narrow = (4, 2) if kernel.name == "forward_kernel" else (11, 6)
    itemsize = 4 if kernel.dtype == "fp32" else 2
    row = (wide * CHANNELS + narrow * STATES) * itemsize
    moved = BATCH * STEPS * row
    return {
        "issue, ms": round(cycles / gigahertz / 1e6, 3),
        "memory, ms": round(moved / bandwidth / 1e6, 3),
    }


def main(argv=None):
    """Print the table; write it as JSON if asked."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--targets", nargs="+", type=int, choices=GPUS, default=list(GPUS))
    dtypes = {"choices": ["fp32", "bf16", "fp16"], "default": ["fp32", "bf16"]}
    add("--dtypes", nargs="+", **dtypes)
    add("--kernels", nargs="+", choices=KERNELS, default=list(KERNELS))
    add("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args(argv)
    chosen = kernels(arguments.kernels, arguments.targets, arguments.dtypes)
    rows = [measure(kernel) for kernel in chosen]
    print(pd.DataFrame(rows).to_string(index=False))
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
