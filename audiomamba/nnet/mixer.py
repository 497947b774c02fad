"""The bidirectional Mamba mixer, in the three designs of the paper."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F

from audiomamba.nnet.lengths import check_choice
from audiomamba.nnet.linear import Linear
from audiomamba.nnet.parameters import ExemptsParameters
from audiomamba.ops import linear, mamba_inner
from audiomamba.ops.arguments import InnerArguments
from audiomamba.ops.stepping import InnerState, first_state, inner_steps

SCANS = ("fo_fo", "fo_bi", "bi_bi")
STEP_MIN, STEP_MAX, STEP_FLOOR = 0.001, 0.1, 1e-4
# Steps of a piece of a long sequence.
PIECE = 2048


def in_pieces(
    function: Callable[..., torch.Tensor], *tensors: torch.Tensor
) -> torch.Tensor:
    """Compute a function of each step, a piece of the steps at a time.

    Arguments
    ---------
    function : callable
        Takes tensors [B, L, ...] of any length L; returns [B, L, D].
    *tensors : torch.Tensor
        Its arguments.

    Returns
    -------
    torch.Tensor
        [B, L, D].

    Example
    -------
    >>> in_pieces(lambda x: 2 * x, torch.ones(1, 5000, 1)).sum()
    tensor(10000.)
    """
    out = None
    for start in range(0, tensors[0].shape[1], PIECE):
        steps = slice(start, start + PIECE)
        piece = function(*(tensor[:, steps] for tensor in tensors))
        if out is None:
            n_batch, n_steps = tensors[0].shape[:2]
            out = piece.new_empty(n_batch, n_steps, piece.shape[2])
        out[:, steps] = piece
    return out


class BidirectionalMamba(ExemptsParameters):
    """Mamba mixer that scans its sequence in one or both directions.

    - ``fo_fo``: one forward scan (Mamba, arXiv 2312.00752).
    - ``fo_bi``: one convolution and one projection for both directions, and a
      second decay matrix for the backward scan; the outputs are summed.
    - ``bi_bi``: a second set of all parameters for the backward direction; the
      outputs are averaged (Vim, arXiv 2401.09417).

    Arguments
    ---------
    embed_dim : int
        Width of the tokens.
    scan : str
        "fo_fo", "fo_bi" or "bi_bi".
    state_size : int
        States per channel.
    conv_size : int
        Kernel size of the convolution.
    expansion : int
        Inner width as a multiple of ``embed_dim``.

    Raises
    ------
    ValueError
        If ``scan`` is unknown.

    Example
    -------
    >>> mixer = BidirectionalMamba(32, scan="fo_bi")
    >>> mixer(torch.randn(2, 10, 32)).shape
    torch.Size([2, 10, 32])
    """

    def __init__(
        self,
        embed_dim: int,
        scan: str = "fo_bi",
        state_size: int = 16,
        conv_size: int = 4,
        expansion: int = 2,
    ):
        super().__init__()
        check_choice("scan", scan, SCANS)
        self.scan, self.state_size = scan, state_size
        self.inner_dim = expansion * embed_dim
        self.step_rank = math.ceil(embed_dim / 16)
        self.in_proj = Linear(embed_dim, 2 * self.inner_dim, bias=False)
        self._add_direction("", conv_size)
        if scan == "fo_bi":
            self.exempt("A_b_log", self._new_decay())
        elif scan == "bi_bi":
            self._add_direction("_b", conv_size)
        self.out_proj = Linear(self.inner_dim, embed_dim, bias=False)

    def _add_direction(self, suffix, conv_size):
        """Create the parameters of one direction, named as the authors do."""
        inner = self.inner_dim
        parts = {
            "conv1d": torch.nn.Conv1d(inner, inner, conv_size, groups=inner),
            "x_proj": torch.nn.Linear(
                inner, self.step_rank + 2 * self.state_size, bias=False
            ),
            "dt_proj": self._new_step_projection(),
        }
        for name, part in parts.items():
            setattr(self, name + suffix, part)
        self.exempt("A_b_log" if suffix else "A_log", self._new_decay())
        self.exempt("D" + suffix, torch.nn.Parameter(torch.ones(inner)))

    def _new_decay(self):
        """Return log(1..N) for every channel (S4D-real initialisation)."""
        rates = torch.arange(1, self.state_size + 1, dtype=torch.float32)
        return torch.nn.Parameter(rates.log().repeat(self.inner_dim, 1))

    def _new_step_projection(self):
        """Return a layer whose softplus starts log-uniform in its range."""
        layer = torch.nn.Linear(self.step_rank, self.inner_dim)
        bound = self.step_rank**-0.5
        torch.nn.init.uniform_(layer.weight, -bound, bound)
        span = math.log(STEP_MAX) - math.log(STEP_MIN)
        step = torch.exp(
            torch.rand(self.inner_dim) * span + math.log(STEP_MIN)
        ).clamp(min=STEP_FLOOR)
        with torch.no_grad():
            layer.bias.copy_(step + torch.log(-torch.expm1(-step)))
        return layer

    def step(
        self, hidden: torch.Tensor, state: InnerState | None
    ) -> tuple[torch.Tensor, InnerState]:
        """Mix the next tokens of streams; ``fo_fo`` only, for inference.

        Arguments
        ---------
        hidden : torch.Tensor
            [B, L, D].
        state : InnerState or None
            Of the tokens before; None for the first ones.

        Returns
        -------
        torch.Tensor
            [B, L, D].
        InnerState
            After these tokens.
        """
        inner = self._inner(self.in_proj(hidden), "", self.A_log, None, None)
        if state is None:
            state = first_state(len(hidden), inner)
        y, state = inner_steps(inner, state)
        return self.out_proj(y), state

    def _scan(self, *arguments):
        """Return the gated scan with one direction's set of parameters."""
        return mamba_inner(*self._inner(*arguments))

    def _inner(self, xz, suffix, A_log, A_b_log, lengths):
        """Return the arguments of `audiomamba.ops.mamba_inner`."""
        conv = getattr(self, "conv1d" + suffix)
        dt_proj = getattr(self, "dt_proj" + suffix)
        return InnerArguments(
            xz,
            conv.weight[:, 0],
            conv.bias,
            self._weight("x_proj" + suffix).to(xz.dtype),
            self._weight("dt_proj" + suffix).to(xz.dtype),
            dt_proj.bias,
            A_log,
            A_b_log,
            getattr(self, "D" + suffix),
            lengths,
        )

    def _weight(self, name):
        """Return the weight of a layer that is part of the operator."""
        layer = getattr(self, name)
        if not isinstance(layer, torch.nn.Linear):
            raise TypeError(
                f"{name} is of {type(layer).__name__}, but only its weight is "
                "used: leave x_proj and dt_proj as they are, and adapt "
                "in_proj and out_proj."
            )
        return layer.weight

    def forward(
        self, hidden: torch.Tensor, lengths: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Mix a batch of sequences.

        Arguments
        ---------
        hidden : torch.Tensor
            [B, L, D].
        lengths : torch.Tensor or None
            Tokens of each sequence, integers [B]; tokens past them are ignored.

        Returns
        -------
        torch.Tensor
            [B, L, D].
        """
        return self.mix(self.in_proj(hidden), lengths)

    def mix(
        self, xz: torch.Tensor, lengths: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Mix a batch of sequences that the input projection has widened.

        Arguments
        ---------
        xz : torch.Tensor
            Input and gate side by side, [B, L, 2 * expansion * D].
        lengths : torch.Tensor or None
            Tokens of each sequence, integers [B].

        Returns
        -------
        torch.Tensor
            [B, L, D].
        """
        return self.out_proj(self._scan_all(xz, lengths))

    @property
    def can_mix_long(self) -> bool:
        """Whether `mix_long` may read the weights of the input projection.

        An adapter, or a hook, is part of what the module computes.
        """
        hooks = (self.in_proj._forward_hooks, self.in_proj._forward_pre_hooks)
        return isinstance(self.in_proj, torch.nn.Linear) and not any(hooks)

    def mix_long(
        self,
        x: torch.Tensor,
        norm: Callable[[torch.Tensor], torch.Tensor],
        lengths: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Normalise and mix long sequences, for inference.

        Only convolution and scan need a sequence as a whole.  All else is
        computed a piece at a time, which takes half the memory.

        Arguments
        ---------
        x : torch.Tensor
            [B, L, D].
        norm : callable
            Normalises any of its steps.
        lengths : torch.Tensor or None
            Tokens of each sequence, integers [B].

        Returns
        -------
        torch.Tensor
            [B, L, D], as from `forward` with ``norm(x)``.
        """
        weight, gate_weight = self.in_proj.weight.split(self.inner_dim)
        y = in_pieces(lambda x: linear(norm(x), weight), x)
        y = self._scan_all(y, lengths)

        def gate_and_project(x, y):
            gate = F.silu(linear(norm(x), gate_weight))
            return self.out_proj(y * gate)

        return in_pieces(gate_and_project, x, y)

    def _scan_all(self, xz, lengths):
        """Return the scans of all directions, [B, L, expansion * D]."""
        if self.scan == "fo_fo":
            return self._scan(xz, "", self.A_log, None, lengths)
        if self.scan == "fo_bi":
            return self._scan(xz, "", self.A_log, self.A_b_log, lengths)
        forward = self._scan(xz, "", self.A_log, None, lengths)
        backward = self._scan(xz, "_b", None, self.A_b_log, lengths)
        return (forward + backward) / 2
