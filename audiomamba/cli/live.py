"""Sound as it arrives, in the commands that take it."""

import argparse
import json
import sys
from collections.abc import Iterator
from io import BufferedIOBase
from typing import TYPE_CHECKING

from audiomamba.cli.listing import as_json, window_as_text

if TYPE_CHECKING:  # loading PyTorch would delay --help
    import numpy as np

    from audiomamba.inference.tagger import AudioTagger


def add_live_options(parser: argparse.ArgumentParser) -> None:
    """Add the options for live sound.

    Arguments
    ---------
    parser : argparse.ArgumentParser
        Of the command.

    Example
    -------
    >>> parser = argparse.ArgumentParser()
    >>> add_live_options(parser)
    >>> parser.parse_args(["--microphone"]).microphone
    True
    """
    group = parser.add_argument_group("live", "answered as the sound arrives")
    group.add_argument(
        "--microphone", action="store_true", help="listen; Ctrl-C ends it"
    )
    group.add_argument(
        "--rate",
        type=int,
        metavar="HZ",
        help="sample rate of standard input, which has signed samples of 16 "
        "bits, mono (ffmpeg: -f s16le -ac 1); default: the model's",
    )


def live_fault(arguments: argparse.Namespace) -> str | None:
    """Say what is wrong with where the sound comes from, if anything.

    Arguments
    ---------
    arguments : argparse.Namespace
        Of the command line.

    Returns
    -------
    str or None

    Example
    -------
    >>> live_fault(argparse.Namespace(files=[], microphone=False, rate=None))
    'give a FILE, - for standard input, or --microphone'
    """
    files, live = arguments.files, "-" in arguments.files
    if arguments.microphone and files:
        return "give files or --microphone, not both"
    if not (files or arguments.microphone):
        return "give a FILE, - for standard input, or --microphone"
    if live and len(files) > 1:
        return "- is standard input: give no other file beside it"
    if arguments.rate is not None and not (live and arguments.rate > 0):
        return "--rate is the positive sample rate of standard input, -"
    return None


def is_live(arguments: argparse.Namespace) -> bool:
    """Whether the sound arrives while the command runs.

    Arguments
    ---------
    arguments : argparse.Namespace
        Of the command line.

    Returns
    -------
    bool

    Example
    -------
    >>> is_live(argparse.Namespace(files=["-"], microphone=False))
    True
    """
    return arguments.microphone or arguments.files == ["-"]


def open_sound(
    arguments: argparse.Namespace, sample_rate: int
) -> tuple[str, Iterator["np.ndarray"], int]:
    """Open the microphone or standard input.

    Arguments
    ---------
    arguments : argparse.Namespace
        Of a command line that `is_live`.
    sample_rate : int
        The model's, in Hz.

    Returns
    -------
    name : str
        Of the sound.
    blocks : iterator of np.ndarray
        Samples, [n].
    rate : int
        Their sample rate in Hz.

    Raises
    ------
    ValueError
        If there is no sound to hear.
    """
    from audiomamba.inference.live import microphone, pcm_blocks

    if arguments.microphone:
        return "microphone", *microphone(sample_rate)
    # None where a shell closed it
    stream = getattr(sys.stdin, "buffer", None)
    if not isinstance(stream, BufferedIOBase):
        raise ValueError(
            "standard input gives no bytes as they arrive: pipe raw samples "
            "into it, as from ffmpeg -f s16le -ac 1 -"
        )
    return "-", pcm_blocks(stream), arguments.rate or sample_rate


def tag_live(tagger: "AudioTagger", arguments: argparse.Namespace) -> int:
    """Print the tags of every window, until the sound or Ctrl-C ends it.

    Arguments
    ---------
    tagger : AudioTagger
        The model.
    arguments : argparse.Namespace
        Of the command line.

    Returns
    -------
    int
        Exit status.

    Raises
    ------
    ValueError
        If there is no sound to hear.
    """
    name, blocks, rate = open_sound(arguments, tagger.sample_rate)
    try:
        for window in tagger.tag_stream(
            blocks, arguments.window, arguments.hop, arguments.top, rate
        ):
            if arguments.json:
                (part,) = json.loads(as_json(name, [], [window]))["windows"]
                text = json.dumps({"file": name, **part}, ensure_ascii=False)
            else:
                text = window_as_text(window)
            print(text, flush=True)
    except KeyboardInterrupt:
        pass
    return 0
