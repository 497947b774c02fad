"""Checkpoints of DASS and of VMamba, its ImageNet counterpart.

The same tensors come by four sets of names: those of the DASS repository and of
VMamba, on which it is built, those of the copies on the Hugging Face hub, older
ones of VMamba, and those of `DASS`.
"""

import re
from pathlib import Path

from audiomamba.lobes.dass import DASS
from audiomamba.nnet.patch_embed import Size
from audiomamba.pretrained.family import (
    AUTO,
    Checkpoint,
    Wanted,
    agreed,
    settings_beside,
)
from audiomamba.pretrained.sources import (
    CONFIG_FILE,
    CheckpointError,
    Tensors,
    read_config,
)

DECAY = re.compile(
    r"(.*)layers\.(\d+)\.blocks\.(\d+)\.(?:op|self_attention)\.A_logs$"
)
STEM = r"^(?:patch_embed|patch_embeddings\.projection)"
RENAMED = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (rf"{STEM}\.(0|proj)\.", "patch_embed.first.conv."),
        # The hub's copies number the layers that have weights and the GELU.
        (r"^patch_embed\.(2|norm)\.", "patch_embed.first.norm."),
        (r"^patch_embed\.5\.", "patch_embed.second.conv."),
        (r"^patch_embed\.7\.", "patch_embed.second.norm."),
        (r"^patch_embeddings\.projection\.1\.", "patch_embed.first.norm."),
        (r"^patch_embeddings\.projection\.3\.", "patch_embed.second.conv."),
        (r"^patch_embeddings\.projection\.4\.", "patch_embed.second.norm."),
        (r"\.ln_1\.", ".norm."),
        (r"\.ln_2\.", ".norm2."),
        (r"\.self_attention\.", ".op."),
        (r"\.op\.(x_proj|dt_projs)\.weight$", r".op.\1_weight"),
        (r"\.downsample\.(1|down)\.", ".downsample.conv."),
        (r"\.downsample\.3\.", ".downsample.norm."),
        (r"^classifier\.", ""),
    )
]
KERNEL = "patch_embed.first.conv.weight"
# Stored as matrices or as kernels of size 1.
MATRICES = re.compile(r"(in_proj|out_proj|fc1|fc2|^head)\.weight$")
# Of four directions, each a matrix.
FOUR = re.compile(r"layers\.(\d+)\..*\.op\.(x_proj|dt_projs)_weight$")


class DASSFamily:
    """Checkpoints of DASS and VMamba; see `PatchFamily` for the methods."""

    title = "DASS or VMamba"
    encoder = DASS
    classifier_norm: tuple[str, ...] = ()

    def wanted_by(self, encoder: DASS, stride: Size | None) -> Wanted:
        """Return what an encoder asks of a checkpoint."""
        return Wanted(
            n_mels=encoder.n_mels,
            n_frames=None,
            patch_size=None,
            stride=stride,
            cls_token=None,
            token_order=AUTO,
        )

    def recognises(self, tensors: Tensors) -> bool:
        """Whether the tensors include those of a cross scan."""
        return any(DECAY.match(key) for key in tensors)

    def read(self, tensors: Tensors, name: str, wanted: Wanted) -> Checkpoint:
        """Return a checkpoint by the names of `DASS`."""
        _check_wanted(wanted, name)
        tensors = _rename(tensors, name)
        widths, arguments = _architecture(tensors, name)
        _reshape(tensors, widths)
        dropped = []
        kernel = tensors[KERNEL]
        if kernel.ndim == 4 and kernel.shape[1] == 3:
            tensors[KERNEL] = kernel.sum(1, keepdim=True)
            # The classifier of images.
            dropped = sorted(key for key in tensors if key.startswith("head."))
            for key in dropped:
                del tensors[key]
        return Checkpoint(name, tensors, arguments, widths[-1], dropped)

    def with_settings(self, wanted: Wanted, source: Path | Tensors) -> Wanted:
        """Add what settings beside the weights say, or a run's."""
        settings = settings_beside(self.encoder, source)
        wanted = agreed(wanted, settings)
        if isinstance(source, dict):
            return wanted
        path = (source if source.is_dir() else source.parent) / CONFIG_FILE
        config = read_config(path) if path.is_file() else {}
        bins = settings.get("n_mels") or config.get("num_mel_bins")
        return wanted._replace(n_mels=bins or wanted.n_mels)

    def build(self, checkpoint: Checkpoint, wanted: Wanted) -> DASS:
        """Return a new encoder for a checkpoint, its weights not yet loaded."""
        return DASS(
            n_mels=wanted.n_mels, **checkpoint.arguments, **wanted.further
        )

    def fit(self, checkpoint: Checkpoint, encoder: DASS) -> list[str]:
        """Return nothing: no tensor depends on the size of the input."""
        return []


def _check_wanted(wanted, name):
    """Refuse what only encoders of patches have."""
    refused = {
        "patch_size": wanted.patch_size is not None,
        "stride": wanted.stride is not None,
        # "middle" is the default of load_official.
        "cls_token": wanted.cls_token not in ("middle", None),
        "token_order": wanted.token_order != "frequency",
    }
    given = [key for key, is_given in refused.items() if is_given]
    if given:
        raise CheckpointError(
            f"{name} is a checkpoint of DASS or VMamba, which have no "
            f"{' and no '.join(given)}: leave it out."
        )


def _rename(tensors, name):
    """Return the tensors by the names of `DASS`."""
    prefixes = {match[1] for key in tensors if (match := DECAY.match(key))}
    if len(prefixes) != 1:
        raise CheckpointError(
            f"{name} holds {len(prefixes)} models, called "
            f"{', '.join(map(repr, sorted(prefixes)))}: give the tensors of "
            "one."
        )
    (prefix,) = prefixes
    renamed = {}
    for key, value in tensors.items():
        own = key.removeprefix(prefix)
        for pattern, replacement in RENAMED:
            own = pattern.sub(replacement, own)
        if own in renamed:
            raise CheckpointError(f"{name} holds {own} twice, as {key} too.")
        renamed[own] = value
    return renamed


def _architecture(tensors, name):
    """Return the widths, and the constructor's arguments, of a checkpoint."""
    decays = {
        (int(match[2]), int(match[3])): (key, value)
        for key, value in tensors.items()
        if (match := DECAY.match(key))
    }
    for key, value in decays.values():
        if value.ndim != 2 or value.shape[0] % 4 or not value.numel():
            raise CheckpointError(
                f"{name} does not fit: {key} is {list(value.shape)}, where "
                "DASS and VMamba have the decay of four directions, "
                "[4 channels, states]."
            )
    stages = range(len({stage for stage, _ in decays}))
    firsts = [f"layers.{stage}.blocks.0.op.A_logs" for stage in stages]
    missing = [key for key in (*firsts, KERNEL) if key not in tensors]
    if missing:
        raise CheckpointError(
            f"{name} has no {', '.join(missing)}: it is not a whole checkpoint "
            "of DASS or VMamba."
        )
    widths = [tensors[key].shape[0] // 4 for key in firsts]
    depths = [sum(key[0] == stage for key in decays) for stage in stages]
    state_size = tensors[firsts[0]].shape[1]
    arguments = dict(widths=widths, depths=depths, state_size=state_size)
    return widths, arguments


def _reshape(tensors, widths):
    """Give tensors that are stored flat or as kernels their own shapes."""
    for key, value in tensors.items():
        if MATRICES.search(key):
            tensors[key] = value.flatten(1)
        match = FOUR.match(key)
        if match and int(match[1]) < len(widths):
            width = widths[int(match[1])]
            shape = (4, -1, width) if match[2] == "x_proj" else (4, width, -1)
            # Another number of values is refused later, with its shape.
            if value.numel() % (4 * width) == 0:
                tensors[key] = value.reshape(shape)
