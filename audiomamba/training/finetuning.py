"""Fine-tuning: what trains, from when on, how fast, and for which classes."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch.nn.modules.module import register_module_forward_pre_hook

from audiomamba.dataio.columns import read_table, to_numbers
from audiomamba.dataio.pipeline import ClipDataset
from audiomamba.dataio.problems import PreparationError
from audiomamba.dataio.samplers import label_counts
from audiomamba.nnet.block import find_blocks, recompute_in_backward

ENCODER = "embedding_model"


def check_finetuning(settings: dict) -> None:
    """Refuse keys of fine-tuning that would have no effect.

    Arguments
    ---------
    settings : dict
        Plain values of the YAML.

    Raises
    ------
    PreparationError
        Naming the key and what to do.

    Example
    -------
    >>> check_finetuning({"number_of_epochs": 9, "unfreeze_epoch": 3})
    Traceback (most recent call last):
        ...
    audiomamba.dataio.problems.PreparationError: unfreeze_epoch is 3, but no \
module is frozen: give freeze as well, for example embedding_model.
    """
    frozen = as_names(settings.get("freeze"))
    unknown = [name for name in frozen if name not in settings["modules"]]
    if unknown:
        raise PreparationError(
            f"freeze: {', '.join(unknown)}: not one of the modules "
            f"{', '.join(settings['modules'])}."
        )
    start, last = settings.get("unfreeze_epoch"), settings["number_of_epochs"]
    if start is not None and not frozen:
        raise PreparationError(
            f"unfreeze_epoch is {start}, but no module is frozen: give freeze "
            "as well, for example embedding_model."
        )
    if start is not None and not 2 <= start <= last:
        raise PreparationError(
            f"unfreeze_epoch is {start}; it must be an epoch of the run after "
            f"the first, 2 to number_of_epochs: {last}."
        )
    for key in ("layer_lr_decay", "gradient_checkpointing"):
        if settings.get(key) and ENCODER in frozen and start is None:
            raise PreparationError(
                f"{key} has no effect on a frozen {ENCODER}: leave it out, or "
                "give unfreeze_epoch."
            )


def as_names(value: str | Sequence[str] | None) -> list[str]:
    """Return a name, a list of names or nothing as a list.

    Example
    -------
    >>> as_names("embedding_model"), as_names(None)
    (['embedding_model'], [])
    """
    return [value] if isinstance(value, str) else list(value or ())


class Frozen:
    """The modules of a run that do not train, for good or at first.

    They are in evaluation mode and have no gradients.

    Arguments
    ---------
    modules : torch.nn.ModuleDict
        All modules of the run.
    names : str, list of str or None
        Those to freeze.
    until : int, optional
        First epoch in which they train.

    Raises
    ------
    PreparationError
        If one has no parameters, or nothing is left to train.

    Example
    -------
    >>> modules = torch.nn.ModuleDict(
    ...     {"body": torch.nn.Linear(4, 4), "classifier": torch.nn.Linear(4, 2)}
    ... )
    >>> frozen = Frozen(modules, "body", until=3)
    >>> modules["body"].weight.requires_grad, frozen.thaws(2), frozen.thaws(3)
    (False, False, True)
    >>> frozen.thaw()
    >>> modules["body"].weight.requires_grad
    True
    """

    def __init__(self, modules, names, until=None):
        self.until = until
        self.modules = [modules[name] for name in as_names(names)]
        self.parameters = {
            parameter
            for module in self.modules
            for parameter in module.parameters()
            if parameter.requires_grad
        }
        for name, module in zip(as_names(names), self.modules):
            if self.parameters.isdisjoint(module.parameters()):
                raise PreparationError(
                    f"freeze: {name} has no parameters that train: leave it "
                    "out."
                )
        for parameter in self.parameters:
            parameter.requires_grad_(False)
        if not any(p.requires_grad for p in modules.parameters()):
            raise PreparationError(
                f"freeze: {', '.join(as_names(names))}: nothing is left to "
                "train; leave one out."
            )

    def eval(self):
        """Put the modules that are frozen into evaluation mode."""
        for module in self.modules:
            module.eval()

    def thaws(self, epoch):
        """Return whether the modules are frozen and train from this epoch on.

        Arguments
        ---------
        epoch : int
            Counted from 1.
        """
        due = self.until is not None and epoch >= self.until
        return due and bool(self.modules)

    def thaw(self):
        """Let the modules train from now on."""
        for parameter in self.parameters:
            parameter.requires_grad_(True)
        self.modules = []

    def to_train(self):
        """Return the frozen parameters that will train in this run."""
        return self.parameters if self.until is not None else set()


@contextmanager
def first_calls() -> Iterator[list[torch.nn.Module]]:
    """List the modules that are called, in the order of their first calls.

    Example
    -------
    >>> model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU())
    >>> with first_calls() as called:
    ...     _ = model(torch.zeros(2))
    >>> called == [model, *model]
    True
    """
    called: list[torch.nn.Module] = []
    seen = set()

    def note(module, _):
        if module not in seen:
            seen.add(module)
            called.append(module)

    handle = register_module_forward_pre_hook(note)
    try:
        yield called
    finally:
        handle.remove()


def layer_lr_scales(
    encoder: torch.nn.Module, decay: float, called: Iterable[torch.nn.Module]
) -> dict[torch.nn.Parameter, float]:
    """Return factors of the learning rate that fall from block to block.

    As in BEiT (arXiv 2106.08254) and timm: of n blocks, the last has
    ``decay``, the first ``decay ** n``, and what comes before it
    ``decay ** (n + 1)``.  What comes after the last block has 1, and what lies
    between two blocks has the factor of the one before.

    Arguments
    ---------
    encoder : torch.nn.Module
        With blocks.
    decay : float
        In (0, 1).
    called : iterable of torch.nn.Module
        Modules in the order in which an input passes them, from `first_calls`.
        They may be registered in another one: many encoders register the norm
        after their blocks first.

    Returns
    -------
    dict
        Parameter -> factor.

    Raises
    ------
    PreparationError
        If the encoder has no blocks.

    Example
    -------
    >>> from audiomamba.lobes import AudioMamba
    >>> encoder = AudioMamba(embed_dim=16, depth=2).eval()
    >>> with first_calls() as called:
    ...     _ = encoder(torch.zeros(1, 16, 128))
    >>> scales = layer_lr_scales(encoder, 0.5, called)
    >>> scales[encoder.patch_embed.proj.weight], scales[encoder.norm_f.weight]
    (0.125, 1.0)
    >>> [scales[block.norm.weight] for block in encoder.layers]
    [0.25, 0.5]
    """
    blocks = _blocks("layer_lr_decay", encoder)
    numbers = {block: number for number, block in enumerate(blocks, 1)}
    inside = {
        parameter: number
        for block, number in numbers.items()
        for parameter in block.parameters()
    }
    reached, depth = {}, 0
    for module in called:
        depth = reached[module] = numbers.get(module, depth)
    scales: dict[torch.nn.Parameter, float] = {}
    above = len(blocks) + 1
    for parameter, depth in _depths(encoder, reached, 0):
        outside = above if depth == len(blocks) else depth
        depth = inside.get(parameter, outside)
        scales.setdefault(parameter, float(decay) ** (above - depth))
    return scales


def _depths(module, reached, depth):
    """Yield all parameters, and the number of the last block before them.

    A module that is not called itself stands with the one that holds it.
    """
    depth = reached.get(module, depth)
    for parameter in module.parameters(recurse=False):
        yield parameter, depth
    for child in module.children():
        yield from _depths(child, reached, depth)


def recompute_blocks(encoder: torch.nn.Module) -> None:
    """Let the blocks of an encoder be computed again for their gradients.

    Arguments
    ---------
    encoder : torch.nn.Module
        Its blocks then keep their inputs only, see
        `audiomamba.nnet.block.recompute_in_backward`.

    Raises
    ------
    PreparationError
        If the encoder has no blocks.

    Example
    -------
    >>> recompute_blocks(torch.nn.Linear(1, 1))
    Traceback (most recent call last):
        ...
    audiomamba.dataio.problems.PreparationError: gradient_checkpointing needs \
an encoder of blocks, one of this package; Linear has none.
    """
    for block in _blocks("gradient_checkpointing", encoder):
        recompute_in_backward(block)


def _blocks(key, encoder):
    """The blocks of an encoder, which the key needs."""
    blocks = find_blocks(encoder)
    if not blocks:
        raise PreparationError(
            f"{key} needs an encoder of blocks, one of this package; "
            f"{type(encoder).__name__} has none."
        )
    return blocks


def class_weights(
    given: str | Sequence[float], labels: list[str], train_set: ClipDataset
) -> torch.Tensor:
    """Return the factor of each class in the loss.

    Arguments
    ---------
    given : str or list of float
        "balanced": in inverse proportion to the clips of a class, on average 1
        over the labels of the training clips; a list in the order of the
        classes; or the path of a CSV with the columns ``label,weight``.
    labels : list of str
        Class names, by index.
    train_set : ClipDataset
        The training clips.

    Returns
    -------
    torch.Tensor
        [C], float32.

    Raises
    ------
    PreparationError
        If a class has no weight, or one that is not positive.
    """
    if given == "balanced":
        weights = _balanced(labels, train_set)
    elif isinstance(given, str):
        weights = _read_weights(given, labels)
    else:
        weights = list(given)
    if len(weights) != len(labels):
        raise PreparationError(
            f"class_weights has {len(weights)} values for the {len(labels)} "
            "classes: give one per class, in the order of the label file."
        )
    for name, weight in zip(labels, weights):
        if not 0 < weight < math.inf:
            raise PreparationError(
                f"class_weights: {weight} for {name}; it must be positive."
            )
    return torch.tensor(weights, dtype=torch.float32)


def _balanced(labels, train_set):
    """Weights in inverse proportion to the clips of a class."""
    counted = label_counts(
        train_set.data.columns["label"], train_set.encoder.names
    )
    index_of = train_set.encoder.indices
    counts = [0] * len(labels)
    for name, count in counted.items():
        counts[index_of[name]] = count
    missing = [name for name, count in zip(labels, counts) if not count]
    if missing:
        raise PreparationError(
            "class_weights: balanced needs training clips of every class; "
            f"there are none of {', '.join(missing[:5])}"
            + (f" and {len(missing) - 5} more." if missing[5:] else ".")
        )
    return [sum(counts) / (len(counts) * count) for count in counts]


def _read_weights(path, labels):
    """The weights of a CSV, by class name."""
    table = read_table(path, ["label", "weight"])
    numbers = to_numbers(path, table, "weight", lambda x: x > 0, "positive")
    weights = dict(zip(table["label"], numbers))
    if len(weights) != len(table) or weights.keys() != set(labels):
        named = Counter(table["label"])
        wrong = (named - Counter(labels)) + (Counter(labels) - named)
        raise PreparationError(
            f"{path} must have one line for each of the {len(labels)} classes; "
            f"missing, unknown or repeated: {', '.join(sorted(wrong)[:5])}"
        )
    return [weights[name] for name in labels]
