"""Programs that run without this package's Python code."""

import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from audiomamba.inference import export_program
from audiomamba.inference.programs.program import (
    FeatureClassifier,
    least_frames,
)
from audiomamba.lobes import DASS, AudioMamba, SpectrogramNorm
from audiomamba.ops import use_engine

# Batch, frames: shorter than the position table, as long, and longer
SHAPES = [(1, 20), (3, 60), (5, 61), (2, 333)]


def make_model(**options):
    torch.manual_seed(0)
    if "widths" in options:
        encoder = DASS(32, **options)
    else:
        encoder = AudioMamba(32, 60, [8, 10], [8, 10], 16, 1, **options)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    parts = SimpleNamespace(
        mean_var_norm=SpectrogramNorm(-6.0, 4.0),
        embedding_model=encoder.eval(),
        classifier=torch.nn.Linear(16, 3),
    )
    return SimpleNamespace(mods=parts, device="cpu")


def inputs(batch, frames):
    generator = torch.Generator().manual_seed(batch * frames)
    feats = 4 * torch.randn(batch, frames, 32, generator=generator) - 6
    lengths = 0.2 + 0.8 * torch.rand(batch, generator=generator)
    return feats, lengths


OPTIONS = [
    {},
    {"scan": "fo_fo", "cls_token": None, "mask_padding": False},
    {"scan": "bi_bi", "cls_token": "both", "token_order": "time"},
    {"widths": [8, 16], "depths": [1, 1]},
    {"widths": [8, 16], "depths": [1, 1], "mask_padding": False},
]


@torch.no_grad()
@pytest.mark.parametrize("options", OPTIONS)
def test_a_program_computes_what_the_model_computes(options, tmp_path):
    model, path = make_model(**options), tmp_path / "new" / "model.pt2"
    export_program(model, path)
    run = torch.export.load(path).module()
    for shape in SHAPES:
        wanted = FeatureClassifier(model)(*inputs(*shape))
        torch.testing.assert_close(
            run(*inputs(*shape)), wanted, atol=1e-4, rtol=0
        )


@torch.no_grad()
def test_a_program_keeps_operators_engines_and_the_minimum_length():
    program = export_program(make_model())
    targets = [str(node.target) for node in program.graph.nodes]
    assert targets.count("audiomamba.mamba_inner.default") == 1
    run = program.module()
    shortest = least_frames(make_model().mods.embedding_model)
    assert run(*inputs(1, shortest)).shape == (1, 3)
    with pytest.raises(AssertionError, match="20"):
        run(*inputs(1, shortest - 1))
    with use_engine("reference"):
        reference = run(*inputs(2, 60))
    torch.testing.assert_close(run(*inputs(2, 60)), reference)


def test_a_saved_program_needs_the_operators_only(tmp_path):
    """Run it in a new process that imports the operators alone."""
    path = tmp_path / "model.pt2"
    export_program(make_model(), path)
    code = (
        "import sys, torch, audiomamba.ops;"
        f"run = torch.export.load({str(path)!r}).module();"
        "print(run(torch.zeros(2, 60, 32), torch.ones(2)).shape);"
        "assert 'audiomamba.lobes' not in sys.modules;"
        "assert 'speechbrain' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "[2, 3]" in done.stdout
