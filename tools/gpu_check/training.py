"""Two epochs of a miniature in every way that there is, compared."""

import functools
import json
from dataclasses import dataclass, field

import torch

from audiomamba.ops import available_engines

from .commands import ROOT, CheckError

RECIPE = ROOT / "recipes" / "VoxCeleb"
WITH_ENGINE = ROOT / "tools" / "gpu_check" / "with_engine.py"
# Nothing random remains but the order of the clips and what is cut out of
# them, and the loaders draw that on the CPU.  Four tokens per clip, for the
# interpreter.
SETTINGS = {
    "patch_size": "[128, 16]",
    "stride": "[128, 16]",
    "embedding_model": "{embed_dim: 16, depth: 1, drop_path: 0.0}",
    "classifier": "{input_size: 16}",
    "max_duration": 0.655,
    "n_frames": 64,
    "freq_mask": 0,
    "time_mask": 0,
    "batch_size": 4,
    "num_workers": 1,
    "lr": 0.003,
    "number_of_epochs": 2,
    "precision": "fp32",
}
# A loss may differ by this part.  cuDNN convolves in TF32.
SINGLE, HALF = 0.01, 0.05


@dataclass
class Training:
    """One way to train the miniature.

    Arguments
    ---------
    name : str
        In the record.
    engine : str
        Which computes.
    device : str
        "cuda" or "cpu".
    tolerance : float
        By which its losses may differ.
    processes : int
        Which share the batch.
    flags : tuple of str
        Options of SpeechBrain.
    settings : dict
        Keys of the YAML.
    """

    name: str
    engine: str
    device: str
    tolerance: float = SINGLE
    processes: int = 1
    flags: tuple = ()
    settings: dict = field(default_factory=dict)


def standard():
    """Return the training that all others are compared with."""
    return Training("standard", available_engines("cpu")[0], "cpu")


def trainings(device):
    """Return the ways to train on a device, the standard not among them."""
    engines = available_engines(device)
    own = engines[0]
    # The interpreter's, which is left out of the rest for its slowness.
    if device == "cpu" and "triton" not in engines:
        engines = ["triton", *engines[1:]]
    several = 2 if device == "cpu" else min(2, torch.cuda.device_count())
    half = {"tolerance": HALF}
    found = [Training(f"engine {name}", name, device) for name in engines]
    found += [
        Training("fp16", own, device, settings={"precision": "fp16"}, **half),
        Training("bf16", own, device, settings={"precision": "bf16"}, **half),
        Training(
            "compiled",
            own,
            device,
            flags=("--compile", "--compile_module_keys=embedding_model"),
        ),
    ]
    if several > 1:
        halves = {"batch_size": SETTINGS["batch_size"] // several}
        shared = Training("two processes", own, device, settings=halves)
        shared.processes = several
        found.append(shared)
    return found


def output_folder(commands, training):
    """Return where a training writes."""
    return commands.scratch / training.name.replace(" ", "_")


def losses(commands, training):
    """Return a finished training's losses, epoch by epoch."""
    path = output_folder(commands, training) / "results.json"
    if not path.exists():
        raise CheckError(f"{training.name}: no losses to compare with.")
    return [
        {key: epoch[key] for key in ("train_loss", "valid_loss")}
        for epoch in json.loads(path.read_text("utf-8"))["curve"]
    ]


def train(commands, corpus, training):
    """Train one way; return its losses, precision and seconds."""
    folder = output_folder(commands, training)
    launcher = []
    if training.processes > 1:
        launcher = ["-m", "torch.distributed.run", "--standalone"]
        launcher += [f"--nproc_per_node={training.processes}"]
    settings = {**SETTINGS, **training.settings}
    settings |= {"data_folder": corpus, "output_folder": folder}
    commands.python(
        *launcher,
        WITH_ENGINE,
        training.engine,
        "train.py",
        "hparams/aum_tiny.yaml",
        f"--device={training.device}",
        "--noprogressbar",
        *training.flags,
        *(f"--{name}={value}" for name, value in settings.items()),
        folder=RECIPE,
        interpret=training.engine == "triton",
    )
    results = json.loads((folder / "results.json").read_text("utf-8"))
    run = json.loads((folder / "run.json").read_text("utf-8"))
    return {
        "losses": losses(commands, training),
        "engine": run["engine"],
        "precision": run["precision"],
        "processes": results["hardware"]["processes"],
        "training_seconds": results["wall_time_s"],
    }


def difference(found, wanted):
    """Return the largest relative difference of two lists of losses."""
    return max(
        abs(epoch[key] - other[key]) / abs(other[key])
        for epoch, other in zip(found, wanted, strict=True)
        for key in other
    )


def training_parts(commands):
    """Return the parts: the standard, then every other way to train."""
    ways = [standard(), *trainings(commands.device)]
    return {
        way.name: functools.partial(check_training, commands, way)
        for way in ways
    }


def check_training(commands, training):
    """Train one way; return its losses and how far they are off.

    Raises
    ------
    CheckError
        If the program fails, or the losses are not the standard's.
    """
    corpus = commands.scratch / "VoxCeleb"
    if not corpus.exists():
        make = ["tools/make_mini_corpus.py", "VoxCeleb", corpus]
        commands.python(*make, "--n_speakers", 2, "--seconds", 1.0)
    found = train(commands, corpus, training)
    wanted = losses(commands, standard())
    found["difference"] = difference(found["losses"], wanted)
    if not found["difference"] <= training.tolerance:
        raise CheckError(
            f"The losses differ by {found['difference']:.2g}, more than "
            f"{training.tolerance}, from the standard's, {wanted}.",
            found,
        )
    return found
