"""The command line of a recipe, and the frame around its main function."""

import re
from contextlib import contextmanager

import speechbrain as sb
import torch
from speechbrain.utils.logger import get_logger

from audiomamba.dataio.problems import PreparationError
from audiomamba.lobes.weights import CheckpointError

logger = get_logger(__name__)


def parse_arguments(argv):
    """Read a recipe's command line as SpeechBrain does, but for two things.

    ``--pretrained_folder``, as inference code calls it, is another name of
    ``--init_from``.  Without a GPU, processes talk through gloo: SpeechBrain's
    own choice, NCCL, would end torchrun there.

    Arguments
    ---------
    argv : list of str
        What stands behind the script's name.

    Returns
    -------
    tuple
        The YAML's path, the run options, and the overrides as lines of YAML.

    Example
    -------
    >>> parse_arguments(["a.yaml", "--pretrained_folder", "model"])[2]
    'init_from: model'
    """
    flag = re.compile(r"--pretrained_folder(?==|$)")
    argv = [flag.sub("--init_from", argument) for argument in argv]
    if not torch.cuda.is_available():
        # In front, so that what the user says about it counts.
        argv = ["--distributed_backend=gloo", *argv]
    return sb.parse_arguments(argv)


@contextmanager
def session(run_opts):
    """Open torch's process group under torchrun, and close it in any case.

    SpeechBrain never closes it, and processes that end with it open crash now
    and then.  Without torchrun there is none.  What is wrong with the user's
    data or weights ends the program with its message alone, no traceback.

    Arguments
    ---------
    run_opts : RunOptions
        From SpeechBrain's ``parse_arguments``.

    Example
    -------
    >>> with session({"distributed_backend": "gloo"}):
    ...     torch.distributed.is_initialized()
    False
    """
    try:
        sb.utils.distributed.ddp_init_group(run_opts)
        yield
    except (PreparationError, CheckpointError) as error:
        logger.error(error)
        raise SystemExit(1) from None
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
