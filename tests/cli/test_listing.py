"""What the commands print."""

import io
import os
import sys

from audiomamba.cli.listing import print_any_name


def test_a_name_that_the_terminal_cannot_show_is_escaped(monkeypatch):
    terminal = io.TextIOWrapper(io.BytesIO(), "ascii")
    monkeypatch.setattr(sys, "stdout", terminal)
    print_any_name()
    print(os.fsdecode(b"caf\xe9.wav"), "日", flush=True)
    assert terminal.buffer.getvalue() == b"caf\\udce9.wav \\u65e5\n"
