"""From waveforms to one embedding per clip: the way every model here takes."""

import inspect
from collections.abc import Callable

import torch

# Called with feats [B, T, F] and relative lengths [B]; returns feats
Augment = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
# What relative lengths are called here and in SpeechBrain; other arguments of
# an encoder, such as masks and states, are something else
LENGTHS = ("lengths", "lens", "wav_lens", "wav_len")


def lengths_name(module: torch.nn.Module) -> str | None:
    """Return how the ``forward`` of a module calls relative lengths.

    Arguments
    ---------
    module : torch.nn.Module
        Any; it may be compiled, scripted or wrapped for several GPUs.

    Returns
    -------
    str or None
        None if it takes none.

    Example
    -------
    >>> lengths_name(torch.nn.GRU(1, 1))  # takes (input, hx)
    """
    module = unwrapped(module)
    # A scripted method has a schema in place of a signature
    schema = getattr(module.forward, "schema", None)
    if schema is None:
        names = list(inspect.signature(module.forward).parameters)
    else:
        names = [argument.name for argument in schema.arguments]
    return next((name for name in LENGTHS if name in names), None)


def call_with_lengths(
    module: torch.nn.Module,
    x: torch.Tensor,
    lengths: torch.Tensor | None = None,
):
    """Call a module, with lengths if it takes them.

    Arguments
    ---------
    module : torch.nn.Module
        See `lengths_name`.
    x : torch.Tensor
        Waveforms or features, [B, ...].
    lengths : torch.Tensor, optional
        Relative lengths in (0, 1], [B].

    Returns
    -------
    object
        What the module returns.

    Example
    -------
    >>> x, lengths = torch.ones(1, 2, 3), torch.ones(1)
    >>> call_with_lengths(torch.nn.Identity(), x, lengths).shape
    torch.Size([1, 2, 3])
    """
    name = lengths_name(module)
    if lengths is None or name is None:
        return module(x)
    return module(x, **{name: lengths})


def encode(
    encoder: torch.nn.Module,
    feats: torch.Tensor,
    lengths: torch.Tensor | None = None,
) -> torch.Tensor:
    """Call any clip encoder, SpeechBrain's or ours.

    Arguments
    ---------
    encoder : torch.nn.Module
        Called with ``lengths`` if it takes them, see `lengths_name`.  Returns
        [B, 1, D], [B, D], or maps [B, D, H, W], which are averaged; of a tuple
        the first entry counts.
    feats : torch.Tensor
        [B, T, F].
    lengths : torch.Tensor, optional
        Relative lengths in (0, 1], [B].

    Returns
    -------
    torch.Tensor
        [B, 1, D].

    Example
    -------
    >>> pool = torch.nn.AdaptiveAvgPool2d((1, 8))
    >>> encode(pool, torch.randn(2, 50, 16), torch.tensor([1.0, 0.5])).shape
    torch.Size([2, 1, 8])
    """
    output = call_with_lengths(encoder, feats, lengths)
    emb = output[0] if isinstance(output, tuple) else output
    if emb.dim() == 4:
        emb = emb.mean(dim=(-2, -1))
    return emb.unsqueeze(1) if emb.dim() == 2 else emb


def unwrapped(module: torch.nn.Module) -> torch.nn.Module:
    """Return what DistributedDataParallel and ``torch.compile`` wrap.

    Arguments
    ---------
    module : torch.nn.Module
        Wrapped or not.

    Returns
    -------
    torch.nn.Module
    """
    for name in ("module", "_orig_mod"):
        module = getattr(module, name, module)
    return module


class ClipEncoder(torch.nn.Module):
    """Features, normalisation and encoder in a row.

    Training, evaluation, tagging, verification and export all call this, so
    that they compute the same.

    Arguments
    ---------
    compute_features : torch.nn.Module
        Called with waveforms [B, N] and relative lengths [B]; returns feats
        [B, T, F] and their relative lengths [B].  If it returns feats only,
        as SpeechBrain's do, the lengths stay as they are.
    mean_var_norm : torch.nn.Module
        Called with feats and, if it takes them, lengths; returns feats.
    embedding_model : torch.nn.Module
        See `encode`.

    Raises
    ------
    ValueError
        If the normalisation is over all clips of a batch together.

    Example
    -------
    >>> from audiomamba.lobes import AudioMamba, KaldiFbank, SpectrogramNorm
    >>> norm = SpectrogramNorm(mean=-4.0, std=4.0)
    >>> encoder = AudioMamba(embed_dim=32, depth=1)
    >>> clip_encoder = ClipEncoder(KaldiFbank(), norm, encoder).eval()
    >>> clip_encoder(torch.randn(2, 16000), torch.tensor([1.0, 0.5])).shape
    torch.Size([2, 1, 32])
    """

    def __init__(
        self,
        compute_features: torch.nn.Module,
        mean_var_norm: torch.nn.Module,
        embedding_model: torch.nn.Module,
    ):
        super().__init__()
        # SpeechBrain's InputNormalization
        if getattr(mean_var_norm, "norm_type", None) == "batch":
            raise ValueError(
                "mean_var_norm: norm_type is 'batch', so a clip's embedding "
                "would depend on the other clips of its batch: take "
                "'sentence', or SpectrogramNorm."
            )
        self.compute_features = compute_features
        self.mean_var_norm = mean_var_norm
        self.embedding_model = embedding_model

    @property
    def batch_invariant(self) -> bool:
        """Whether clips of different lengths can share a padded batch.

        True if the features know a clip's length, and either have a fixed
        number of frames or an encoder that masks padding; otherwise a clip's
        padding, and with it its embedding, depends on the other clips of the
        batch.
        """
        if lengths_name(self.compute_features) is None:
            return False
        fixed = getattr(self.compute_features, "n_frames", None)
        encoder = unwrapped(self.embedding_model)
        return bool(fixed or getattr(encoder, "mask_padding", False))

    def features(
        self,
        wavs: torch.Tensor,
        lengths: torch.Tensor,
        spec_augment: Augment | None = None,
        norm_augment: Augment | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute normalised features.

        Arguments
        ---------
        wavs : torch.Tensor
            Waveforms, [B, N].
        lengths : torch.Tensor
            Relative lengths in (0, 1], [B].
        spec_augment : callable, optional
            Augments the features.
        norm_augment : callable, optional
            Augments the normalised features.

        Returns
        -------
        feats : torch.Tensor
            [B, T, F].
        lengths : torch.Tensor
            Relative lengths of ``feats``, [B].
        """
        feats = call_with_lengths(self.compute_features, wavs, lengths)
        if isinstance(feats, tuple):
            feats, lengths = feats
        if spec_augment is not None:
            feats = spec_augment(feats, lengths)
        feats = call_with_lengths(self.mean_var_norm, feats, lengths)
        if norm_augment is not None:
            feats = norm_augment(feats, lengths)
        return feats, lengths

    def forward(
        self,
        wavs: torch.Tensor,
        lengths: torch.Tensor,
        spec_augment: Augment | None = None,
        norm_augment: Augment | None = None,
    ) -> torch.Tensor:
        """Embed a batch of clips.

        Arguments
        ---------
        wavs, lengths, spec_augment, norm_augment
            As for `features`.

        Returns
        -------
        torch.Tensor
            [B, 1, D].
        """
        feats, lengths = self.features(
            wavs, lengths, spec_augment, norm_augment
        )
        return encode(self.embedding_model, feats, lengths)


class Waveforms(torch.nn.Module):
    """Passes waveforms on, in place of features and of their normalisation.

    SpeechBrain's ``EncoderClassifier`` and some of its scripts compute features
    without lengths, and then pass the lengths of the waveforms to normalisation
    and encoder, which cannot know any more how many samples that is.  With this
    in the place of the first two, and a `ClipEncoder` in that of the encoder,
    a clip gives the same result in any batch.

    Example
    -------
    >>> wavs = torch.randn(2, 16000)
    >>> Waveforms()(wavs, torch.tensor([1.0, 0.5])) is wavs
    True
    """

    def forward(
        self, wavs: torch.Tensor, lengths: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return ``wavs``.

        Arguments
        ---------
        wavs : torch.Tensor
            [B, N].
        lengths : torch.Tensor, optional
            Ignored.

        Returns
        -------
        torch.Tensor
            [B, N].
        """
        return wavs
