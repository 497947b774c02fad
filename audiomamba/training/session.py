"""The frame around a recipe's main function."""

from contextlib import contextmanager

import speechbrain as sb
import torch
from speechbrain.utils.logger import get_logger

from audiomamba.dataio.problems import PreparationError
from audiomamba.lobes.weights import CheckpointError

logger = get_logger(__name__)


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
