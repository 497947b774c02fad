"""A cell of the benchmark: a model, or the scan alone, in one setting."""

import contextlib
from dataclasses import dataclass, replace

import torch

from audiomamba.lobes.ast import AudioSpectrogramTransformer
from audiomamba.lobes.audio_mamba import AudioMamba
from audiomamba.lobes.dass import dass_medium, dass_small
from audiomamba.lobes.flops import count_flops, count_parameters
from audiomamba.nnet.classifier import LinearClassifier
from audiomamba.nnet.mixer import BidirectionalMamba
from audiomamba.ops import bidirectional_scan, use_engine

# "scan" is one layer's scan in both directions, "mixer" one layer that scans
# forward, and "stock" the layer of mamba-ssm that it is to be compared with.
# They are compared with their own kind, not with models.
KINDS = {"scan": "scan", "mixer": "mixers", "stock": "mixers"}
# These have one size.
DASS = {"dass-small": dass_small, "dass-medium": dass_medium}
# Models and layers without operators of ours
FOREIGN = ["ast", "stock"]
SUBJECTS = ["aum", "ast", *DASS, *KINDS]
MODES = ["inference", "training"]
WIDTHS = {"tiny": 192, "small": 384, "base": 768}
DEPTHS = {"aum": 24, "ast": 12}
PRECISIONS = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}
# AudioSet's head, 128 mel bins and patches of 16 x 16, as in the paper.
N_CLASSES, N_MELS, PATCH = 527, 128, 16
N_STATES = 16


@dataclass(frozen=True)
class Cell:
    """One setting to measure."""

    subject: str  # one of SUBJECTS
    mode: str
    tokens: int  # patches per clip; 512 are 1024 frames, 10.24 s
    batch: int = 1
    precision: str = "fp32"
    size: str = "base"
    depth: int | None = None  # layers; None for the model's own
    engine: str | None = None  # None for those in FOREIGN
    device: str = "cpu"
    compiled: bool = False

    @property
    def frames(self):
        """Frames of a clip with this many patches."""
        return self.tokens // (N_MELS // PATCH) * PATCH

    @property
    def label(self):
        """The contender's name in a table."""
        sized = self.subject in DEPTHS
        name = f"{self.subject}-{self.size}" if sized else self.subject
        return name + (f" ({self.engine})" if self.engine else "")

    def miniature(self):
        """Return a cell that runs the same code in next to no memory."""
        return replace(self, tokens=64, batch=1, depth=1, size="tiny")


def build_encoder(cell):
    """Return a cell's model with random weights, without its classifier."""
    if cell.subject in DASS:
        return DASS[cell.subject]()
    sizes = {
        "n_frames": cell.frames,
        "embed_dim": WIDTHS[cell.size],
        "depth": cell.depth or DEPTHS[cell.subject],
    }
    if cell.subject == "aum":
        return AudioMamba(**sizes)
    return AudioSpectrogramTransformer(**sizes)


def describe(cell):
    """Return parameters and operations per clip of a cell's model."""
    if cell.subject in KINDS:
        return {"parameters": None, "gflops_per_clip": None}
    with torch.device("meta"):
        encoder = build_encoder(cell)
        head = LinearClassifier(encoder.embed_dim, N_CLASSES)
    flops = count_flops(
        encoder, (1, cell.frames, N_MELS), training=cell.mode == "training"
    )
    return {
        "parameters": count_parameters(encoder) + count_parameters(head),
        "gflops_per_clip": flops / 1e9,
    }


def _autocast(cell):
    half = cell.precision != "fp32"
    return torch.autocast(cell.device, PRECISIONS[cell.precision], enabled=half)


def _engine(cell):
    return use_engine(cell.engine) if cell.engine else contextlib.nullcontext()


def _model_step(cell):
    """Return a function that runs a model once."""
    encoder = build_encoder(cell).to(cell.device)
    feats = torch.randn(cell.batch, cell.frames, N_MELS, device=cell.device)
    head = LinearClassifier(encoder.embed_dim, N_CLASSES).to(cell.device)
    model = torch.nn.Sequential(encoder, head)
    called = torch.compile(model) if cell.compiled else model
    if cell.mode == "inference":
        model.eval()

        def infer():
            with torch.inference_mode(), _engine(cell), _autocast(cell):
                called(feats)

        return infer

    model.train()
    labels = torch.rand(cell.batch, 1, N_CLASSES, device=cell.device).round()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-5)
    scaler = torch.amp.GradScaler(cell.device, enabled=cell.precision == "fp16")

    def train():
        with _engine(cell):
            with _autocast(cell):
                logits = called(feats)
                loss = torch.nn.functional.binary_cross_entropy_with_logits(
                    logits, labels
                )
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()

    return train


def _scan_step(cell):
    """Return a function that runs one layer's scan, with its gate."""
    width = 2 * WIDTHS[cell.size]
    training = cell.mode == "training"
    dtype = PRECISIONS[cell.precision]

    def new(*shape, dtype=dtype):
        tensor = torch.randn(*shape, device=cell.device, dtype=dtype)
        return tensor.requires_grad_(training)

    def decay():
        rates = torch.arange(1.0, N_STATES + 1, device=cell.device)
        return -rates.repeat(width, 1).requires_grad_(training)

    row = cell.batch, cell.tokens
    u, delta, z = (new(*row, width) for _ in range(3))
    B, C = (new(*row, N_STATES) for _ in range(2))
    D, bias = (new(width, dtype=torch.float32) for _ in range(2))
    A, A_b = decay(), decay()
    gradient = torch.randn_like(u) if training else None
    inputs = [u, delta, A, A_b, B, C, D, z, bias]

    def scan():
        with _engine(cell), torch.inference_mode(not training):
            y = bidirectional_scan(*inputs, delta_softplus=True)
            if training:
                torch.autograd.grad(y, inputs, gradient)

    return scan


def _mixer_step(cell):
    """Return a function that runs one layer in one direction."""
    width = WIDTHS[cell.size]
    if cell.subject == "stock":
        from mamba_ssm import Mamba

        layer = Mamba(width).to(cell.device)
    else:
        layer = BidirectionalMamba(width, scan="fo_fo").to(cell.device)
    training = cell.mode == "training"
    shape = cell.batch, cell.tokens, width
    x = torch.randn(*shape, device=cell.device, requires_grad=training)

    def mix():
        with torch.inference_mode(not training), _engine(cell):
            with _autocast(cell):
                y = layer(x)
            if training:
                y.float().sum().backward()

    return mix


STEPS = {"scan": _scan_step, "mixer": _mixer_step, "stock": _mixer_step}


def new_step(cell):
    """Return a function that runs a cell's subject once."""
    return STEPS.get(cell.subject, _model_step)(cell)


def scan_work(cell):
    """Return what a scan must do: bytes moved and exponentials.

    Bytes are those that must be read or written at least once, exponentials
    those of the decays.  The backward pass reads the inputs and the gradient,
    writes five gradients and needs the decays again.
    """
    width = 2 * WIDTHS[cell.size]
    steps = cell.batch * cell.tokens
    wide, narrow, passes = (4, 2, 1)
    if cell.mode == "training":
        wide, narrow, passes = (4 + 7, 2 + 4, 2)
    itemsize = PRECISIONS[cell.precision].itemsize
    moved = steps * (wide * width + narrow * N_STATES) * itemsize
    return moved, passes * 2 * steps * width * N_STATES


def scan_rates(cell, seconds):
    """Return a scan's throughput in bytes and exponentials per second."""
    moved, exponentials = scan_work(cell)
    return {
        "gbytes_per_s": moved / seconds / 1e9,
        "gexp_per_s": exponentials / seconds / 1e9,
    }
