"""Augmentation of spectrograms: masks, time warp, noise and roll."""

from abc import ABC, abstractmethod

import torch

from audiomamba.nnet.lengths import absolute_lengths, padding_mask


class _SpectrogramAugment(torch.nn.Module, ABC):
    """Base of augmentations that change each clip within its own frames.

    Subclasses define ``augment(feats, n_own)``; whatever they do to padding
    is undone.

    Arguments
    ---------
    use_lengths : bool
        False: lengths are ignored and padding counts as content, as in the
        paper.
    """

    def __init__(self, use_lengths: bool = True):
        super().__init__()
        self.use_lengths = use_lengths

    def forward(
        self, feats: torch.Tensor, lengths: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Augment a batch; in evaluation mode, return it unchanged.

        Arguments
        ---------
        feats : torch.Tensor
            [B, T, F].
        lengths : torch.Tensor, optional
            Relative lengths [B]. Frames past the end of a clip stay as they
            are and do not influence the clip.

        Returns
        -------
        torch.Tensor
            [B, T, F].
        """
        if not self.training:
            return feats
        n_clips, n_frames, _ = feats.shape
        if lengths is None or not self.use_lengths:
            n_own = torch.full((n_clips,), n_frames, device=feats.device)
            return self.augment(feats, n_own)
        n_own = absolute_lengths(lengths.to(feats.device), n_frames)
        padding = padding_mask(n_own, n_frames)[..., None]
        return torch.where(padding, feats, self.augment(feats, n_own))

    @abstractmethod
    def augment(self, feats: torch.Tensor, n_own: torch.Tensor) -> torch.Tensor:
        """Augment every clip within its own frames.

        Arguments
        ---------
        feats : torch.Tensor
            [B, T, F].
        n_own : torch.Tensor
            Number of frames of each clip [B].

        Returns
        -------
        torch.Tensor
            [B, T, F].
        """


class SpectrogramMask(_SpectrogramAugment):
    """Frequency and time masks: SpecAugment without its time warp.

    Each mask is drawn as by torchaudio's ``mask_along_axis_iid``: along an
    axis of n steps, with u and v uniform in [0, 1), it covers floor(u * max)
    steps starting at floor(v * (n - u * max)), so its width is 0 to max - 1.
    The frequency masks are drawn before the time masks; masks may overlap.
    Unlike in torchaudio, max is at most n: torchaudio would blank most clips
    that are shorter than the mask.

    Apply it before normalisation, as in the paper with ``fill=0.0``.

    Arguments
    ---------
    freq_mask : int
        Upper bound (exclusive) of the width of a frequency mask, in bins; 0
        for no masks.
    time_mask : int
        Upper bound (exclusive) of the width of a time mask, in frames; 0 for
        no masks.
    n_freq_masks, n_time_masks : int
        Number of masks of each kind.
    fill : float or str
        Value in the masks; ``"mean"`` is the mean of the clip before masking,
        as for EPIC-Sounds (where the authors' second mask has the mean after
        the first mask).
    redraw_width : bool
        Draw the width again, uniformly below the first draw, which halves it
        on average: what the authors' EPIC-Sounds code does. (That code also
        skips all masks that follow one of width 0.)
    use_lengths : bool
        False: lengths are ignored and time masks are drawn over the padded
        clip, as in the paper.

    Raises
    ------
    ValueError
        If a size or number is negative, or ``fill`` is another word.

    Example
    -------
    >>> _ = torch.manual_seed(2)
    >>> mask = SpectrogramMask(freq_mask=4, time_mask=4)
    >>> mask(torch.ones(1, 6, 5))[0].int()
    tensor([[0, 0, 1, 1, 1],
            [0, 0, 0, 0, 0],
            [0, 0, 0, 0, 0],
            [0, 0, 1, 1, 1],
            [0, 0, 1, 1, 1],
            [0, 0, 1, 1, 1]], dtype=torch.int32)
    >>> mask.eval()(torch.ones(1, 6, 5)).min()
    tensor(1.)
    """

    def __init__(
        self,
        freq_mask: int = 48,
        time_mask: int = 192,
        n_freq_masks: int = 1,
        n_time_masks: int = 1,
        fill: float | str = 0.0,
        redraw_width: bool = False,
        use_lengths: bool = True,
    ):
        super().__init__(use_lengths)
        sizes = (freq_mask, time_mask, n_freq_masks, n_time_masks)
        if min(sizes) < 0:
            raise ValueError(
                "freq_mask, time_mask, n_freq_masks and n_time_masks are "
                f"{sizes}; none may be negative"
            )
        if isinstance(fill, str) and fill != "mean":
            raise ValueError(f"fill is {fill!r}; give a number or 'mean'")
        self.freq_mask, self.n_freq_masks = freq_mask, n_freq_masks
        self.time_mask, self.n_time_masks = time_mask, n_time_masks
        self.fill = fill
        self.redraw_width = redraw_width

    def augment(self, feats, n_own):
        """Mask every clip; see the base class."""
        _, n_frames, n_bins = feats.shape
        all_bins = torch.full_like(n_own, n_bins)
        freq = self._bands(self.freq_mask, self.n_freq_masks, all_bins, n_bins)
        time = self._bands(self.time_mask, self.n_time_masks, n_own, n_frames)
        masked = freq[:, None] | time[..., None]
        if not isinstance(self.fill, str):
            return feats.masked_fill(masked, self.fill)
        padding = padding_mask(n_own, n_frames)[..., None]
        total = feats.masked_fill(padding, 0.0).sum(dim=(1, 2))
        mean = total / (n_own * n_bins)
        return torch.where(masked, mean[:, None, None].to(feats), feats)

    def _bands(self, max_width, n_masks, n_own, n_steps):
        """Masked steps along one axis: bool [B, n_steps]."""
        steps = torch.arange(n_steps, device=n_own.device)
        masked = torch.zeros(
            len(n_own), n_steps, dtype=torch.bool, device=n_own.device
        )
        for _ in range(n_masks if max_width else 0):
            width = _uniform(n_own) * n_own.clamp(max=max_width)
            start = (_uniform(n_own) * (n_own - width)).long()[:, None]
            width = width.long()[:, None]
            if self.redraw_width:
                width = (_uniform(n_own)[:, None] * width).long()
            masked |= (steps >= start) & (steps < start + width)
        return masked


class TimeWarp(_SpectrogramAugment):
    """Time warp of SpecAugment: one frame is moved, the ends are not.

    A random frame, further than ``window`` from both ends, is moved by a
    distance drawn uniformly from (-window, window) frames. Both sides are
    stretched to fit by linear interpolation. Clips of fewer than
    2 * window + 3 frames are unchanged.

    As published (arXiv 1904.08779, section 2). The authors' EPIC-Sounds code,
    also with window 5, passes the value of the spectrogram at the drawn frame
    to its spline instead of the position of the frame; that is not
    reproduced.

    Arguments
    ---------
    window : int
        Largest distance in frames.
    use_lengths : bool
        False: lengths are ignored and the padded clip is warped.

    Raises
    ------
    ValueError
        If ``window`` is negative.

    Example
    -------
    >>> feats = torch.arange(100.0)[None, :, None]
    >>> warped = TimeWarp(window=5)(feats).flatten()
    >>> warped[0].item(), warped[-1].item(), bool((warped.diff() > 0).all())
    (0.0, 99.0, True)
    """

    def __init__(self, window: int = 5, use_lengths: bool = True):
        super().__init__(use_lengths)
        if window < 0:
            raise ValueError(f"window is {window}; give 0 or more frames")
        self.window = window

    def augment(self, feats, n_own):
        """Warp every clip; see the base class."""
        n_centres = n_own - 2 * self.window - 2
        centre = (_uniform(n_own) * n_centres).floor() + self.window + 1
        moved = centre + (2 * _uniform(n_own) - 1) * self.window
        # clips too short to warp: a centre that does not move
        fixed = n_centres < 1
        centre, moved = (x.masked_fill(fixed, 0.5) for x in (centre, moved))
        last = (n_own - 1).clamp(min=1).to(centre)
        centre, moved, last = (x[:, None] for x in (centre, moved, last))
        steps = torch.arange(feats.shape[1], device=feats.device)
        left = steps * (centre / moved)
        right = last - (last - steps) * ((last - centre) / (last - moved))
        source = torch.where(steps < moved, left, right)
        source = torch.minimum(source, last).clamp(0, feats.shape[1] - 1)
        below = source.floor()
        weight = (source - below)[..., None].to(feats)
        below = below.long()
        above = (below + 1).clamp(max=feats.shape[1] - 1)
        return torch.lerp(_rows(feats, below), _rows(feats, above), weight)


class TimeRollNoise(_SpectrogramAugment):
    """The ``noise`` augmentation of AST: positive noise, then a roll in time.

    U(0, 1) * a / 10, with a ~ U(0, 1) per clip, is added to every value of
    the normalised spectrogram. The clip is then rolled by -10 to 9 frames, as
    by the authors' ``randint(-10, 10)``.

    Arguments
    ---------
    noise : float
        Largest value added.
    max_shift : int
        The roll is -max_shift to max_shift - 1 frames; 0 for none.
    use_lengths : bool
        False: lengths are ignored and the padded clip is rolled, as in the
        paper.

    Raises
    ------
    ValueError
        If ``noise`` or ``max_shift`` is negative.

    Example
    -------
    >>> feats = torch.arange(5.0)[None, :, None]
    >>> TimeRollNoise(noise=0.0)(feats).flatten().sort().values
    tensor([0., 1., 2., 3., 4.])
    """

    def __init__(
        self,
        noise: float = 0.1,
        max_shift: int = 10,
        use_lengths: bool = True,
    ):
        super().__init__(use_lengths)
        if not (noise >= 0 and max_shift >= 0):
            raise ValueError(
                f"noise is {noise}, max_shift is {max_shift}; give 0 or more"
            )
        self.noise = noise
        self.max_shift = max_shift

    def augment(self, feats, n_own):
        """Add noise to every clip and roll it; see the base class."""
        amount = (_uniform(n_own) * self.noise)[:, None, None].to(feats)
        feats = feats + torch.rand_like(feats) * amount
        if not self.max_shift:
            return feats
        shift = torch.randint(
            -self.max_shift, self.max_shift, n_own.shape, device=feats.device
        )
        steps = torch.arange(feats.shape[1], device=feats.device)
        return _rows(feats, (steps - shift[:, None]) % n_own[:, None])


def _uniform(like):
    """A random number in [0, 1) per clip."""
    return torch.rand(like.shape, device=like.device)


def _rows(feats, index):
    """Frames index [B, T'] of feats [B, T, F]."""
    return feats.gather(1, index[..., None].expand(-1, -1, feats.shape[2]))
