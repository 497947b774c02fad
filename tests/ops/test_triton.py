"""The engine `triton`: correct on this machine, compiled for another one."""

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch

triton = pytest.importorskip("triton")
CASES = Path(__file__).with_name("triton_cases.py")
SINGLE = (
    "A A_b D bias borders partial partial_du partial_ddelta "
    "weight dweight dbias dA dB dC dD"
).split()


def test_kernels_match_the_reference():
    """Run the cases, without a GPU in Triton's interpreter."""
    environment = dict(os.environ)
    if not torch.cuda.is_available():
        environment.update(TRITON_INTERPRET="1", OMP_NUM_THREADS="1")
    command = [sys.executable, "-m", "pytest", "-q", str(CASES)]
    result = subprocess.run(
        command, env=environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout + result.stderr


def compile_for_hopper(module, kernel, absent, **constants):
    """Compile a kernel as for bf16 inputs, and return its metadata.

    The compiler refuses code that the interpreter runs; it needs no GPU.
    """
    function = getattr(import_module(f"audiomamba.ops.triton.{module}"), kernel)
    function = function.fn
    integers = ("_batch", "_step", "n_steps", "n_channels", "n_state", "size")
    constants |= dict.fromkeys(absent)
    signature = {}
    for name in function.arg_names:
        if name in constants:
            signature[name] = "constexpr"
        elif name.endswith(integers):
            signature[name] = "i32"
        elif name == "lengths":
            signature[name] = "*i64"
        else:
            signature[name] = "*fp32" if name in SINGLE else "*bf16"
    source = triton.compiler.ASTSource(
        function, signature, constexprs=constants
    )
    target = triton.backends.compiler.GPUTarget("cuda", 90, 32)
    return triton.compile(source, target=target, options=dict(num_warps=1))


SCAN = dict(STATES=16, GROUPS=2, TILE=2)
BARE = ["D", "z", "bias", "lengths", "partial"]


@pytest.mark.parametrize(
    "kernel, absent, softplus",
    [
        ("forward_kernel", [], True),
        ("forward_kernel", [*BARE, "A_b"], False),
        ("forward_kernel", [*BARE, "A"], False),
        ("backward_kernel", [], True),
        ("backward_kernel", [*BARE, "dz"], False),
        (
            "backward_kernel",
            [*BARE, "dz", "A", "partial_du", "partial_ddelta"],
            True,
        ),
    ],
)
def test_the_scan_compiles(kernel, absent, softplus):
    module = "scan" if kernel == "forward_kernel" else "adjoint"
    compiled = compile_for_hopper(
        module, kernel, absent, SOFTPLUS=softplus, **SCAN
    )
    # Sums over states and channels stay in one warp.
    assert compiled.metadata.num_warps == 1
    assert "ex2.approx.ftz.f32" in compiled.asm["ptx"]


@pytest.mark.parametrize("kernel", ["forward_kernel", "backward_kernel"])
@pytest.mark.parametrize("absent", [[], ["bias", "lengths"]])
def test_the_convolution_compiles(kernel, absent):
    tile = dict(STEPS=16, WIDTH=32)
    compiled = compile_for_hopper(
        "conv", kernel, absent, ACTIVATION=True, SIGN=-1, TAPS=4, **tile
    )
    assert compiled.asm["cubin"]
