"""How a command ends: with a status and a sentence, never with a traceback."""

import argparse
import functools
import math
import os
import sys
from collections.abc import Callable

from audiomamba.cli.listing import print_any_name

# Of a program that a closed pipe or Ctrl-C ends, as shells count
CLOSED_PIPE, INTERRUPTED = 141, 130
Main = Callable[..., int | None]


def command(name: str) -> Callable[[Main], Main]:
    """Let the main function of a command end well.

    Arguments
    ---------
    name : str
        Of the command, for messages.

    Returns
    -------
    callable
        A decorator.  Errors of files and values end the command with one
        sentence; a closed pipe, as of ``| head``, and Ctrl-C with none.

    Example
    -------
    >>> @command("audiomamba-tag")
    ... def main(argv=None):
    ...     raise ValueError("window is too long")
    >>> main()
    Traceback (most recent call last):
        ...
    SystemExit: audiomamba-tag: window is too long
    """

    def decorate(main):
        @functools.wraps(main)
        def run(argv=None):
            print_any_name()
            try:
                status = main(argv)
                sys.stdout.flush()
                return status
            except BrokenPipeError:
                # Python flushes once more at its end
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, sys.stdout.fileno())
                return CLOSED_PIPE
            except KeyboardInterrupt:
                return INTERRUPTED
            except (OSError, ValueError) as error:
                sys.exit(f"{name}: {error}")

        return run

    return decorate


def seconds(text: str) -> float:
    """Read an option that is a number of seconds.

    Arguments
    ---------
    text : str
        From the command line.

    Returns
    -------
    float

    Raises
    ------
    argparse.ArgumentTypeError
        If it is not positive and finite.

    Example
    -------
    >>> seconds("2.5")
    2.5
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    # A comparison with NaN is false
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is no positive number")
    return value
