"""What a run computes with: processes, engine, hardware, versions, command."""

import os
import platform
import shlex
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

import audiomamba
from audiomamba.ops import current_engine

PACKAGES = (
    "torch",
    "torchaudio",
    "speechbrain",
    "numpy",
    "numba",
    "scikit-learn",
    "triton",
    "mamba-ssm",
    "causal-conv1d",
    "transformers",
)


def all_gather(value):
    """Gather a picklable value from all processes.

    Arguments
    ---------
    value : object
        This process' own.

    Returns
    -------
    list
        One per process, by rank.

    Example
    -------
    >>> all_gather(3)
    [3]
    """
    if not torch.distributed.is_initialized():
        return [value]
    gathered = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(gathered, value)
    return gathered


def package_versions():
    """Versions of Python, this package and those that it builds on.

    Returns
    -------
    dict
        Name -> version; packages that are not installed are left out.
    """
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
    """Commit of the source, with ``-dirty`` if files were changed.

    Arguments
    ---------
    folder : str
        A folder of the repository; by default this package's.

    Returns
    -------
    str or None
        ``None`` if the source is no git repository.
    """
    command = ["git", "describe", "--always", "--abbrev=40", "--dirty"]
    try:
        answer = subprocess.run(
            [*command, "--exclude=*"],
            cwd=folder or Path(__file__).resolve().parent,
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
        For example ``python train.py hparams/aum_tiny.yaml --seed=2``; of
        several machines, the one to type on each of them.
    """
    arguments = shlex.join(sys.argv)
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return f"python {arguments}"
    per_machine = int(os.environ.get("LOCAL_WORLD_SIZE", processes))
    machines = processes // per_machine
    where = "--standalone"
    if machines > 1:
        address = os.environ["MASTER_ADDR"]
        where = (
            f"--nnodes={machines} --rdzv_backend=c10d "
            f"--rdzv_endpoint={address}:29500"
        )
    return f"torchrun {where} --nproc_per_node={per_machine} {arguments}"


def hardware(device):
    """What a run computes on.

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
    name = torch.cuda.get_device_name(device) if on_gpu else _processor_name()
    return {
        "device": str(device),
        "name": name,
        "processes": int(os.environ.get("WORLD_SIZE", "1")),
        "cpu_threads": torch.get_num_threads(),
    }


def _processor_name():
    """The CPU's model name if the system tells, else its architecture."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def environment(device):
    """What a run computes with, and how it was started.

    Arguments
    ---------
    device : str
        The Brain's device.

    Returns
    -------
    dict
        ``hardware``, ``engine``, ``versions``, ``commit``, ``command`` and
        ``folder``.
    """
    return {
        "hardware": hardware(device),
        "engine": current_engine(device),
        "versions": package_versions(),
        "commit": source_commit(),
        "command": command_line(),
        "folder": os.getcwd(),
    }
