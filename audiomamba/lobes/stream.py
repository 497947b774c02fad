"""An encoder on a stream: all that it keeps of the past has a fixed size."""

from typing import TYPE_CHECKING

import torch

from audiomamba.nnet.lengths import check_feats

if TYPE_CHECKING:
    from audiomamba.lobes.audio_mamba import AudioMamba

_PLACES = (None, "front", "end")


class Framer:
    """Cuts a stream into frames of one size, each as soon as it is complete.

    Arguments
    ---------
    size : int
        Steps of a frame.
    hop : int
        Steps from one frame to the next.

    Example
    -------
    >>> framer, stream = Framer(size=2, hop=3), torch.arange(8)[None]
    >>> for part in stream.split(5, 1):
    ...     n_frames, steps = framer.add(part)
    ...     print(n_frames, steps.tolist())
    2 [[0, 1, 2, 3, 4]]
    1 [[6, 7]]
    """

    def __init__(self, size: int, hop: int):
        self.size, self.hop = size, hop
        self.rest: torch.Tensor | None = None
        # Steps between two frames that are still to come
        self.gap = 0

    def add(self, steps: torch.Tensor) -> tuple[int, torch.Tensor]:
        """Go on with the stream.

        Arguments
        ---------
        steps : torch.Tensor
            The next steps, any number of them, [B, T, ...].

        Returns
        -------
        n_frames : int
            Frames that are complete now; can be 0.
        steps : torch.Tensor
            The steps from the start of the first to the end of the last,
            [B, T', ...].
        """
        skipped = min(self.gap, steps.shape[1])
        self.gap -= skipped
        steps = steps[:, skipped:]
        if self.rest is not None:
            steps = torch.cat([self.rest, steps], dim=1)
        n_frames = max(0, (steps.shape[1] - self.size) // self.hop + 1)
        start = n_frames * self.hop
        # A copy, as the caller may reuse its buffer
        self.rest = steps[:, start:].clone()
        self.gap += max(0, start - steps.shape[1])
        stop = start - self.hop + self.size if n_frames else 0
        return n_frames, steps[:, :stop]


class EncoderStream:
    """Encodes streams step by step, as one pass over each whole would.

    Made by `audiomamba.AudioMamba.stream`. A step takes the same time and
    memory at any duration.

    Arguments
    ---------
    encoder : AudioMamba
        In evaluation mode.

    Raises
    ------
    ValueError
        If the encoder looks ahead; the message says what to change.

    Example
    -------
    >>> from audiomamba import AudioMamba
    >>> encoder = AudioMamba(
    ...     n_frames=16, embed_dim=32, depth=2, scan="fo_fo", cls_token=None,
    ...     token_order="time",
    ... ).eval()
    >>> feats = torch.randn(1, 100, 128)
    >>> stream = encoder.stream()
    >>> frames = torch.cat([stream.step(x) for x in feats.split(23, 1)], 1)
    >>> torch.allclose(frames, encoder(feats, output="frames"), atol=1e-5)
    True
    """

    def __init__(self, encoder: "AudioMamba"):
        if encoder.training:
            raise ValueError("the encoder is in training mode: call eval()")
        n_rows, self.n_columns = encoder.pos_embed.grid
        scan, order, place = (
            encoder.scan,
            encoder.token_order,
            encoder.cls_place,
        )
        for name, found, wanted, fits in (
            ("scan", scan, "fo_fo", scan == "fo_fo"),
            ("token_order", order, "time", order == "time" or n_rows == 1),
            ("cls_token", place, "null", place in _PLACES),
        ):
            if not fits:
                raise ValueError(
                    f"{name} is {found!r}, which needs the end of a clip "
                    f"before its start is encoded: train with {name} {wanted}."
                )
        self.encoder = encoder
        self.states: list = [None] * len(encoder.layers)
        self.framer = Framer(encoder.patch_size[1], encoder.stride[1])
        self.done = 0
        self.total = torch.zeros(())
        self.front: torch.Tensor | None = None

    def _layers(self, tokens):
        """Return tokens after all layers, and the states after them."""
        states = []
        for layer, state in zip(self.encoder.layers, self.states):
            tokens, state = layer.step(tokens, state)
            states.append(state)
        return self.encoder.norm_f(tokens), states

    def _cls_token(self, n_streams):
        """Return the class token with its position, [B, 1, D]."""
        token = self.encoder.cls_token + self.encoder.pos_embed.pos_embed[:, :1]
        return token.expand(n_streams, -1, -1)

    def _positions(self, n_new):
        """Return the positions of the next columns, [1, F', n_new, D]."""
        positions = self.encoder.pos_embed
        table = positions.pos_embed[0, positions.n_cls :]
        table = table.unflatten(0, positions.grid)
        if self.n_columns == 1:
            return table[None].expand(-1, -1, n_new, -1)
        if self.done + n_new > self.n_columns:
            raise ValueError(
                f"the position table covers {self.n_columns} columns "
                f"({self.encoder.n_frames} frames), and this stream is longer. "
                "For streams of any duration, train with n_frames: "
                f"{self.encoder.patch_size[1]}, a table of one column: "
                "positions along frequency only."
            )
        return table[None, :, self.done : self.done + n_new]

    @torch.no_grad()
    def step(self, feats: torch.Tensor) -> torch.Tensor:
        """Go on with the streams.

        Arguments
        ---------
        feats : torch.Tensor
            The next frames of the normalised spectrograms, any number of them,
            [B, T, n_mels].

        Returns
        -------
        torch.Tensor
            The columns that are complete now, [B, T', D]: those of
            ``output="frames"``. T' can be 0.
        """
        encoder = self.encoder
        check_feats(feats, encoder.n_mels, least=0)
        n_new, feats = self.framer.add(feats)
        if not n_new:
            return feats.new_zeros(len(feats), 0, encoder.embed_dim)
        patches = encoder.patch_embed(feats, encoder.patch_size, encoder.stride)
        patches = patches + self._positions(n_new)
        tokens = patches.transpose(1, 2).flatten(1, 2)
        starts = encoder.cls_place == "front" and not self.done
        if starts:
            tokens = torch.cat([self._cls_token(len(tokens)), tokens], dim=1)
        tokens, self.states = self._layers(tokens)
        if starts:
            self.front, tokens = tokens[:, :1], tokens[:, 1:]
        self.done += n_new
        frames = tokens.unflatten(1, (n_new, -1)).mean(2)
        self.total = self.total.to(frames) + frames.sum(1, keepdim=True)
        return frames

    @torch.no_grad()
    def embedding(self) -> torch.Tensor:
        """Return the embedding of all that was heard so far.

        Returns
        -------
        torch.Tensor
            [B, 1, D], as if the streams ended here.

        Raises
        ------
        ValueError
            If no column is complete yet.
        """
        if not self.done:
            raise ValueError(
                f"no column of {self.encoder.patch_size[1]} frames is complete"
            )
        if self.front is not None:
            return self.front
        if self.encoder.cls_place == "end":
            n_streams = len(self.states[0].hidden)
            return self._layers(self._cls_token(n_streams))[0]
        return self.total / self.done
