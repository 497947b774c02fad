"""What is wrong with a corpus, collected and reported all at once."""

import logging
import os
from collections import Counter
from pathlib import Path

from audiomamba.dataio.files import replaced_file

logger = logging.getLogger(__name__)

_SHOWN = 20


class PreparationError(ValueError):
    """A corpus that cannot be prepared as it is; says why and the remedy."""


class Problems:
    """Collects what is wrong with a corpus and reports it in one go.

    Example
    -------
    >>> problems = Problems()
    >>> problems.add("a.wav: is empty; fetch it again", {"train": 1})
    >>> problems.add("list.txt, line 7: no such split 9; correct the line")
    >>> report = getfixture("tmp_path") / "problems.txt"
    >>> problems.settle(report)
    Traceback (most recent call last):
    ...
    audiomamba.dataio.problems.PreparationError: 2 problems with the data:
      a.wav: is empty; fetch it again
      list.txt, line 7: no such split 9; correct the line
    Mend them, or go on without these files by allow_missing: True.
    >>> problems.settle(report, allow_missing=True, totals={"train": 12})
    '2 problems, left out: 1 of 12 train'
    """

    def __init__(self):
        self.messages = []
        self.lost = Counter()

    def add(self, message, lost=None):
        """Note a problem.

        Arguments
        ---------
        message : str
            The file or line, what is wrong, and the remedy.
        lost : dict, optional
            Split -> how many rows of it cannot be used because of this.
        """
        self.messages.append(message)
        self.lost.update(lost or {})

    def settle(
        self, report_file, allow_missing=False, totals=None, max_missing=1.0
    ):
        """Raise because of the problems, or go on without what they touch.

        Arguments
        ---------
        report_file : str or Path
            Gets the whole list if it is longer than what the message shows,
            and always if the preparation goes on; removed if all is well.
        allow_missing : bool
            Go on, with a warning that says how many rows of which split are
            left out.
        totals : dict, optional
            Split -> how many rows it lists, to say "3 of 12".
        max_missing : float
            Share of a split's rows, in [0, 1], beyond which it is an error
            all the same.

        Returns
        -------
        str
            What is left out, in words; empty if nothing is wrong.

        Raises
        ------
        PreparationError
            With the first problems in full and where to read all of them.
        """
        report_file = Path(report_file)
        if not self.messages:
            report_file.unlink(missing_ok=True)
            return ""
        messages = sorted(self.messages)
        totals = totals or {}
        excessive = self._excessive(totals, max_missing)
        goes_on = allow_missing and not excessive
        if goes_on or len(messages) > _SHOWN:
            with replaced_file(report_file) as draft:
                draft.write_text("\n".join(messages) + "\n", encoding="utf-8")
        else:
            # a list of an earlier attempt would contradict the message
            report_file.unlink(missing_ok=True)
        if goes_on:
            left_out = self._left_out(totals)
            logger.warning("%s; listed in %s", left_out, report_file)
            return left_out
        raise PreparationError(
            _headline(messages, report_file) + "\n" + (excessive or _REMEDY)
        )

    def _left_out(self, totals):
        parts = [
            f"{self.lost[split]}"
            + (f" of {totals[split]}" if split in totals else "")
            + f" {split}"
            for split in sorted(self.lost)
        ]
        return (
            f"{len(self.messages)} problems, left out: "
            f"{', '.join(parts) or 'no row'}"
        )

    def _excessive(self, totals, max_missing):
        """Complaint about the splits that lack more than they may."""
        shares = {
            split: self.lost[split] / total
            for split, total in totals.items()
            if total and self.lost[split] / total > max_missing
        }
        return "".join(
            f"{split} lacks {share:.1%} of its rows, more than max_missing: "
            f"{max_missing}. Fetch more of it, or raise max_missing. "
            for split, share in sorted(shares.items())
        ).rstrip()


_REMEDY = "Mend them, or go on without these files by allow_missing: True."


def _headline(messages, report_file):
    noun = "problem" if len(messages) == 1 else "problems"
    lines = [f"{len(messages)} {noun} with the data:"]
    lines += [f"  {message}" for message in messages[:_SHOWN]]
    if len(messages) > _SHOWN:
        more = len(messages) - _SHOWN
        lines.append(f"  ... and {more} more; all are listed in {report_file}")
    return "\n".join(lines)


def missing_corpus(dataset, data_folder, missing, source, tree, prepare_file):
    """The error for a corpus that is not where it is looked for.

    Arguments
    ---------
    dataset : str
        Its name, as ``tools/make_mini_corpus.py`` knows it.
    data_folder : str or Path
        Where it was looked for.
    missing : str
        What is not there.
    source : str
        Where to get it.
    tree : str
        How the folder must look, one entry per line.
    prepare_file : str or Path
        ``__file__`` of the recipe's preparation, from which the repository's
        tools are found.

    Returns
    -------
    PreparationError
        To be raised.

    Example
    -------
    >>> error = missing_corpus(
    ...     "ESC-50", "data", "no folder data", "https://x.org", "audio/",
    ...     "recipes/ESC-50/esc50_prepare.py",
    ... )
    >>> print(str(error).splitlines()[0])
    ESC-50 was not found: no folder data.
    """
    tool = Path(prepare_file).resolve().parents[2] / "tools"
    tool = os.path.relpath(tool / "make_mini_corpus.py")
    indented = "\n".join(f"    {line}" for line in tree.strip().splitlines())
    return PreparationError(
        f"{dataset} was not found: {missing}.\n"
        f"Get it from {source}\n"
        f"and lay it out so, or give its place with --data_folder:\n"
        f"  {data_folder}/\n{indented}\n"
        "For a first try make a miniature of synthetic sounds instead:\n"
        f"  python {tool} {dataset} {data_folder}"
    )
