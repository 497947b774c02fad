"""Count the parameters and floating-point operations of a model.

PyTorch's counter covers matrix products, convolutions and attention; this
module adds the operators of this package, and corrects one formula.  It counts
multiplications, additions and exponentials of the recurrence and its skip
connection, but no activations, norms and other element-wise operations, which
PyTorch's counter ignores too.
"""

import copy
import math
from collections.abc import Sequence

import torch
from torch.utils.flop_counter import FlopCounterMode

from audiomamba.lobes.clip_encoder import encode
from audiomamba.ops import operators

# Operations per step, channel, state and direction.  Forward: the product
# delta A, its exponential, the product (delta u) B, multiplication and addition
# of the recurrence, and those of the sum over C h.
SCAN_PER_STATE = 7
# Backward: the states again (5), their adjoint (3), and a multiplication and
# an addition each for C, the decay, A, delta, B and the input.
SCAN_BACKWARD_PER_STATE = 5 + 3 + 6 * 2


def _scan_size(u, A, A_b):
    """Return steps x channels x directions and the number of states."""
    directions = [shape for shape in (A, A_b) if shape is not None]
    return math.prod(u) * len(directions), directions[0][1]


def _scan(u, delta, A, A_b, B, C, D, *rest, **keywords):
    """Count a scan: the states, delta u, and the skip connection."""
    size, n_states = _scan_size(u, A, A_b)
    return size * (SCAN_PER_STATE * n_states + 1 + (0 if D is None else 2))


def _scan_backward(grad_output, u, delta, A, A_b, B, C, D, *rest, **keywords):
    """Count a scan's gradients: states, delta u with its two, skip connection.

    The gate is element-wise and not counted.
    """
    size, n_states = _scan_size(u, A, A_b)
    skip = 0 if D is None else 4
    return size * (SCAN_BACKWARD_PER_STATE * n_states + 3 + skip)


def _conv(x, weight, *rest, **keywords):
    """Count a depthwise convolution, padding included."""
    return 2 * math.prod(x) * weight[1]


def _conv_backward(grad_output, x, weight, *rest, **keywords):
    """Count the gradients of a convolution's input and weight."""
    return 2 * _conv(x, weight)


def _selection(xz, conv_weight, x_proj, dt_proj):
    """Count a mixer's convolution and its two inner projections."""
    n_batch, n_steps, width = xz
    conv = _conv((n_batch, n_steps, width // 2), conv_weight)
    weights = math.prod(x_proj) + math.prod(dt_proj)
    return conv, 2 * n_batch * n_steps * weights


def _inner(xz, conv_weight, bias, x_proj, dt_proj, dt_bias, *scan, **keywords):
    """Count a mixer's inside; see `audiomamba.ops.mamba_inner`."""
    u = (*xz[:2], xz[2] // 2)
    conv, projections = _selection(xz, conv_weight, x_proj, dt_proj)
    A, A_b, D = scan[:3]
    return conv + projections + _scan(u, None, A, A_b, None, None, D)


def _inner_backward(
    grad_output, xz, conv_weight, bias, x_proj, dt_proj, dt_bias, *scan,
    **keywords,
):  # fmt: skip
    """Count a mixer's gradients, including what they recompute."""
    conv, projections = _selection(xz, conv_weight, x_proj, dt_proj)
    A, A_b, D = scan[:3]
    adjoint = _scan_backward(None, grad_output, None, A, A_b, None, None, D)
    return 3 * (conv + projections) + adjoint


def _dense_conv_backward(
    grad_output, x, weight, bias, stride, padding, dilation, transposed,
    output_padding, groups, wanted, **keywords,
):  # fmt: skip
    """Count the gradients of PyTorch's convolution."""
    # PyTorch's formula takes a depthwise convolution for a dense one.
    return 2 * math.prod(grad_output) * math.prod(weight[1:]) * sum(wanted[:2])


# The functions take shapes.
_FORMULAS = {
    torch.ops.aten.convolution_backward: _dense_conv_backward,
    operators.scan: _scan,
    operators.scan_backward: _scan_backward,
    operators.causal_conv1d: _conv,
    operators.causal_conv1d_backward: _conv_backward,
    operators.mamba_inner: _inner,
    operators.mamba_inner_backward: _inner_backward,
}


def count_flops(
    module: torch.nn.Module, *shapes: Sequence[int], training: bool = False
) -> int:
    """Count the floating-point operations of a call.

    Nothing is computed: a copy of the module runs on PyTorch's meta device.
    A multiply-add counts as two operations.

    Arguments
    ---------
    module : torch.nn.Module
        The model.
    *shapes : sequence of int
        Shapes of its inputs, for example [1, 1024, 128].
    training : bool
        Include the backward pass.

    Returns
    -------
    int

    Example
    -------
    >>> layer = torch.nn.Linear(3, 5)
    >>> count_flops(layer, (7, 3)), count_flops(layer, (7, 3), training=True)
    (210, 420)
    """
    module = copy.deepcopy(module).to("meta")
    for layer in module.modules():
        # In training it refuses a single clip's one value per channel
        if isinstance(layer, torch.nn.modules.batchnorm._BatchNorm):
            layer.eval()
    inputs = [torch.empty(*shape, device="meta") for shape in shapes]
    counter = FlopCounterMode(display=False, custom_mapping=_FORMULAS)
    # The counter tracks modules through autograd, which must be enabled.
    with counter, torch.enable_grad():
        output = module(*inputs)
        if training:
            output.sum().backward()
    return counter.get_total_flops()


class _Classifier(torch.nn.Module):
    """An encoder followed by a classifier, called with features."""

    def __init__(self, encoder, classifier):
        super().__init__()
        self.encoder, self.classifier = encoder, classifier

    def forward(self, feats):
        return self.classifier(encode(self.encoder, feats))


def count_clip(
    encoder: torch.nn.Module,
    classifier: torch.nn.Module,
    n_frames: int,
    n_mels: int = 128,
) -> dict[str, int]:
    """Count the operations of one clip, in inference and in training.

    Arguments
    ---------
    encoder : torch.nn.Module
        Any encoder, see `audiomamba.lobes.clip_encoder.encode`.
    classifier : torch.nn.Module
        Takes [B, 1, D].
    n_frames : int
        Frames of the clip.
    n_mels : int
        Mel bins.

    Returns
    -------
    dict
        ``forward``, and ``training``: forward and backward pass.

    Example
    -------
    >>> from audiomamba import AudioMamba
    >>> encoder = AudioMamba(n_frames=64, embed_dim=16, depth=1)
    >>> sorted(count_clip(encoder, torch.nn.Linear(16, 3), 64))
    ['forward', 'training']
    """
    model, shape = _Classifier(encoder, classifier), (1, n_frames, n_mels)
    return {
        "forward": count_flops(model, shape),
        "training": count_flops(model, shape, training=True),
    }


def count_parameters(module: torch.nn.Module) -> int:
    """Count the trainable parameters.

    Arguments
    ---------
    module : torch.nn.Module
        The model.

    Returns
    -------
    int

    Example
    -------
    >>> count_parameters(torch.nn.Linear(3, 5))
    20
    """
    return sum(p.numel() for p in module.parameters() if p.requires_grad)
