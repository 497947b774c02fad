"""What is counted in the machine code of the Triton kernels."""

import pytest

pytest.importorskip("triton")

SASS = """
        /*0000*/                   MOV R1, c[0x0][0x28] ;
                                            /* 0x00000a0000017a02 */
        /*0010*/                   FADD R2, R2, R3 ;
        /*0020*/                   MUFU.EX2 R4, R2 ;
        /*0030*/              @!P0 BRA 0x20 ;
        /*0040*/               @P1 BRA 0x10 ;
        /*0050*/                   EXIT ;
        /*0060*/                   BRA 0x60;
"""


def test_instructions_and_innermost_loops_are_found():
    from inspect_kernels import instructions, loops

    code = instructions(SASS)
    assert [operation for _, operation, _ in code] == [
        "MOV",
        "FADD",
        "MUFU.EX2",
        "BRA",
        "BRA",
        "EXIT",
        "BRA",
    ]
    assert [address for address, *_ in code][-1] == 0x60
    assert loops(code) == [["MUFU.EX2", "BRA"]]


def test_a_kernel_is_compiled_and_counted():
    from inspect_kernels import Kernel, measure

    config = {"GROUPS": 1, "TILE": 4}
    row = measure(Kernel("forward_kernel", "bf16", 90, config))
    assert 32 < row["registers"] <= 255 and row["spilled bytes"] == 0
    # Sixteen states of eight channels in both directions, on 32 threads.
    assert row["of them slow"] >= 2 * 16 * 8 / 32
    assert row["loops"] == 2
    assert row["cycles"] >= row["instructions"] > row["of them slow"]
    assert row["issue, ms"] > row["memory, ms"] > 0
