"""``results.json``: what a run reached, and all that is needed to repeat it."""

import json
import math
import os
import platform
import shlex
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from speechbrain.utils.distributed import main_process_only
from speechbrain.utils.logger import get_logger
from torch.nn.parallel import DistributedDataParallel

from audiomamba.training.epoch_log import describe
from audiomamba.training.flops import count_clip

logger = get_logger(__name__)

PACKAGES = (
    "torch",
    "torchaudio",
    "speechbrain",
    "numpy",
    "numba",
    "scikit-learn",
    "mamba-ssm",
    "transformers",
)


def strict_json(value):
    """Replace what JSON has no word for: NaN and infinity become ``None``.

    Example
    -------
    >>> strict_json({"d_prime": float("inf"), "rates": [0.5, float("nan")]})
    {'d_prime': None, 'rates': [0.5, None]}
    """
    if isinstance(value, dict):
        return {str(key): strict_json(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [strict_json(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def write_json(path, content):
    """Write JSON whole or not at all.

    Arguments
    ---------
    path : str
        File to write; its folder is made.
    content : dict
        Plain Python values.

    Example
    -------
    >>> path = getfixture("tmpdir") / "results.json"
    >>> write_json(path, {"accuracy": 0.5})
    >>> json.loads(Path(path).read_text())
    {'accuracy': 0.5}
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    text = json.dumps(strict_json(content), indent=2, allow_nan=False)
    unfinished.write_text(text + "\n", encoding="utf-8")
    unfinished.replace(path)


def package_versions():
    """Versions of Python, this package and those it stands on.

    Returns
    -------
    dict
        Name -> version; packages that are not installed are left out.
    """
    import audiomamba

    found = {
        "python": platform.python_version(),
        "audiomamba": audiomamba.__version__,
    }
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def source_commit(folder=None):
    """Commit of the source, with ``-dirty`` where files were changed.

    Arguments
    ---------
    folder : str
        A folder of the repository; by default this package's.

    Returns
    -------
    str or None
        ``None`` where the source is no git repository.
    """
    folder = folder or Path(__file__).resolve().parent
    command = ["git", "describe", "--always", "--abbrev=40", "--dirty"]
    try:
        answer = subprocess.run(
            [*command, "--exclude=*"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None


def command_line():
    """The command that started this program, ready to paste into a shell.

    Returns
    -------
    str
        For example ``python train.py hparams/aum_tiny.yaml --seed=2``.
    """
    command = shlex.join(["python", *sys.argv])
    ranks = int(os.environ.get("WORLD_SIZE", "1"))
    if ranks > 1:
        arguments = shlex.join(sys.argv)
        command = f"torchrun --nproc_per_node={ranks} {arguments}"
    return command


def hardware(device):
    """What the run computed on.

    Arguments
    ---------
    device : str
        The Brain's device.

    Returns
    -------
    dict
        Device, its name, the number of processes and of CPU threads.
    """
    on_gpu = str(device).startswith("cuda")
    return {
        "device": str(device),
        "name": torch.cuda.get_device_name(device)
        if on_gpu
        else _processor_name(),
        "processes": int(os.environ.get("WORLD_SIZE", "1")),
        "cpu_threads": torch.get_num_threads(),
    }


def _processor_name():
    """The CPU's model name where the system tells, else its architecture."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def environment(device):
    """What a run computed with, and how it was started.

    Arguments
    ---------
    device : str
        Where it computed.

    Returns
    -------
    dict
        ``hardware``, ``versions``, ``commit``, ``command`` and ``folder``.
    """
    return {
        "hardware": hardware(device),
        "versions": package_versions(),
        "commit": source_commit(),
        "command": command_line(),
        "folder": os.getcwd(),
    }


def flops_per_clip(brain, hparams):
    """Count the operations of a clip of the YAML's ``n_frames``.

    Arguments
    ---------
    brain : ClassificationBrain
        With the model.
    hparams : dict
        Loaded hyperparameters.

    Returns
    -------
    dict or None
        From `count_clip`; ``None`` where the YAML has no ``n_frames`` and
        ``n_mels``, or for an encoder that cannot run without data.
    """
    if not {"n_frames", "n_mels"} <= set(hparams):
        return None
    model = [brain.modules[name] for name in ("embedding_model", "classifier")]
    model = [
        module.module if isinstance(module, DistributedDataParallel) else module
        for module in model
    ]
    try:
        return count_clip(*model, hparams["n_frames"], hparams["n_mels"])
    except RuntimeError as error:
        logger.warning(f"floating-point operations not counted: {error}")
        return None


def run_record(dataset, hparams_file, tested, *, brain, hparams):
    """Put a run's results together.

    Arguments
    ---------
    dataset : str
        Name of the corpus.
    hparams_file : str
        The YAML that described the run.
    tested : dict
        From ``ClassificationBrain.test``: protocol -> its record; the first
        protocol gives the headline.
    brain : ClassificationBrain
        The trained Brain.
    hparams : dict
        Loaded hyperparameters.

    Returns
    -------
    dict
        Ready for `write_json`.
    """
    protocol, headline = next(iter(tested.items()))
    name = brain.hparams.metrics.headline
    return {
        "dataset": dataset,
        "hparams_file": str(hparams_file),
        "metric": {
            "name": name,
            "value": headline["test"][name],
            "split": "test",
        },
        "protocol": protocol,
        "rule": headline["rule"],
        "epoch": headline["epoch"],
        "metrics": headline["test"],
        "protocols": tested,
        "epochs_trained": brain.epochs_trained(),
        "curve": brain.hparams.epoch_log.history(),
        "seed": hparams["seed"],
        "n_classes": hparams["n_classes"],
        "clips": brain.clips,
        "parameters": brain.count_parameters(),
        "flops_per_clip": flops_per_clip(brain, hparams),
        "wall_time_s": round(brain.train_seconds(), 1),
        "precision": brain.precision,
        **environment(brain.device),
    }


@main_process_only
def save_results(dataset, hparams_file, tested, *, brain, hparams, labels):
    """Write what a run leaves behind, in its output folder.

    ``results.json``, ``classes.csv`` (one row per class) and, for up to 50
    classes and where matplotlib is installed, ``confusion.png``.  The last two
    are of the headline's protocol, on the reported split.

    Arguments
    ---------
    dataset, hparams_file, tested, brain, hparams
        As for `run_record`.
    labels : list of str
        Names of the classes, by index.
    """
    folder = Path(hparams["output_folder"])
    record = run_record(
        dataset, hparams_file, tested, brain=brain, hparams=hparams
    )
    metrics = brain.hparams.metrics
    metrics.class_table(labels).to_csv(folder / "classes.csv", index=False)
    try:
        metrics.plot_confusion(labels, folder / "confusion.png")
    except ModuleNotFoundError as error:
        logger.info(f"no confusion.png: {error}; the extra 'plots' has it.")
    write_json(folder / "results.json", record)
    for protocol, entry in tested.items():
        brain.hparams.epoch_log.note(
            f"test ({protocol}: {entry['rule']}), epoch {entry['epoch']}: "
            f"{describe(entry['test'])}"
        )
    logger.info(f"results: {folder / 'results.json'}")
