"""What is wrong with a corpus, collected and reported all at once."""

import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from audiomamba.dataio.files import printable, replaced_file

logger = logging.getLogger(__name__)

# Problems that the error message lists; a file gets all of them
_SHOWN = 20
_REMEDY = "Fix them, or pass --allow_missing True to leave these files out."


class PreparationError(ValueError):
    """A corpus that cannot be prepared as it is; says why and what to do."""


class Problems:
    """Collects what is wrong with a corpus and reports all of it at once.

    Example
    -------
    >>> problems = Problems()
    >>> problems.add("a.wav: is empty; download it again", {"train": 1})
    >>> problems.add("list.txt, line 7: there is no split 9; correct the line")
    >>> report = getfixture("tmp_path") / "problems.txt"
    >>> problems.settle(report)
    Traceback (most recent call last):
    ...
    audiomamba.dataio.problems.PreparationError: 2 problems with the data:
      a.wav: is empty; download it again
      list.txt, line 7: there is no split 9; correct the line
    Fix them, or pass --allow_missing True to leave these files out.
    >>> problems.settle(report, allow_missing=True, totals={"train": 12})
    '2 problems, left out: 1 of 12 train'
    """

    def __init__(self):
        self.messages = []
        self.lost = Counter()
        self._shown = False

    def add(self, message: str, lost: Mapping[str, int] | None = None) -> None:
        """Add a problem.

        Arguments
        ---------
        message : str
            The file or line, what is wrong, and the remedy.
        lost : dict, optional
            Split -> number of its rows that cannot be used because of this.
        """
        self.messages.append(printable(message))
        self.lost.update(lost or {})

    def explain(
        self, error: PreparationError, report_file: str | Path | None = None
    ) -> PreparationError:
        """Return an error that also shows the problems found so far.

        Arguments
        ---------
        error : PreparationError
            What makes it impossible to go on.
        report_file : str or Path, optional
            As for `settle`.

        Returns
        -------
        PreparationError
            The same if there are no problems, or it shows them.

        Example
        -------
        >>> problems = Problems()
        >>> problems.add("list.txt, line 7: there is no split 9; correct it")
        >>> print(problems.explain(PreparationError("no clip is left")))
        no clip is left
        1 problem with the data:
          list.txt, line 7: there is no split 9; correct it
        """
        if self._shown or not self.messages:
            return error
        messages = sorted(self.messages, key=_in_order)
        wanted = messages if len(messages) > _SHOWN else []
        written = _write_report(report_file, wanted)
        return PreparationError(f"{error}\n{_headline(messages, written)}")

    def settle(
        self,
        report_file: str | Path | None = None,
        allow_missing: bool = False,
        totals: Mapping[str, int] | None = None,
        max_missing: float = 1.0,
    ) -> str:
        """Raise an error, or accept to leave the affected rows out.

        Arguments
        ---------
        report_file : str or Path, optional
            Receives all problems when the error message cannot show them
            all, or when rows are left out; otherwise it is deleted.
        allow_missing : bool
            Leave the affected rows out, with a warning that counts them.
        totals : dict, optional
            Split -> number of rows that it lists, to say "3 of 12".
        max_missing : float
            With ``allow_missing``: the largest share of a split that may be
            left out, in [0, 1].

        Returns
        -------
        str
            What is left out; empty if nothing is wrong.

        Raises
        ------
        PreparationError
            With the first problems in full and the file that lists them all.
        """
        messages = sorted(self.messages, key=_in_order)
        totals = {} if totals is None else totals
        excessive = self._excessive(totals, max_missing)
        accepted = bool(messages) and allow_missing and not excessive
        wanted = accepted or len(messages) > _SHOWN
        written = _write_report(report_file, messages if wanted else [])
        if not messages:
            return ""
        if accepted:
            left_out = self._left_out(totals)
            where = f"listed in {written}" if written else _headline(messages)
            logger.warning("%s; %s", left_out, where)
            return left_out
        self._shown = True
        raise PreparationError(
            _headline(messages, written) + "\n" + (excessive or _REMEDY)
        )

    def _left_out(self, totals):
        """Count what is left out of each split."""
        parts = [
            f"{self.lost[split]}"
            + (f" of {totals[split]}" if split in totals else "")
            + f" {split or 'clips'}"
            for split in sorted(self.lost)
        ]
        return (
            f"{_counted(self.messages, 'problem')}, left out: "
            f"{', '.join(parts) or 'no row'}"
        )

    def _excessive(self, totals, max_missing):
        """Complain about splits of which more than the limit is missing."""
        shares = {
            split: self.lost[split] / total
            for split, total in totals.items()
            if total and self.lost[split] / total > max_missing
        }
        return "".join(
            f"{split} lacks {share:.1%} of its rows, more than max_missing: "
            f"{max_missing}. Get more of it, or increase --max_missing. "
            for split, share in sorted(shares.items())
        ).rstrip()


def _in_order(message):
    """Sort line 9 before line 10."""
    return [
        int(part) if index % 2 else part
        for index, part in enumerate(re.split(r"([0-9]+)", message))
    ]


def _write_report(report_file, messages):
    """Write all problems to a file and return its name, or why there is none.

    Without problems, the report of an earlier attempt is deleted: it would
    contradict the message.
    """
    if report_file is None:
        return None
    try:
        if not messages:
            Path(report_file).unlink(missing_ok=True)
            return None
        with replaced_file(report_file) as draft:
            draft.write_text("\n".join(messages) + "\n", encoding="utf-8")
    except OSError as error:
        return f"no file: {report_file} cannot be written ({error.strerror})"
    return report_file


def _counted(things, noun):
    """The number of things with its noun."""
    return f"{len(things)} {noun}" + "s" * (len(things) != 1)


def _headline(messages, report_file=None):
    """The number of problems and the first of them."""
    lines = [f"{_counted(messages, 'problem')} with the data:"]
    lines += [f"  {message}" for message in messages[:_SHOWN]]
    if len(messages) > _SHOWN:
        more = f"  ... and {len(messages) - _SHOWN} more"
        where = f"; all are listed in {report_file}" if report_file else ""
        lines.append(more + where)
    return "\n".join(lines)


def warn_of(names: Sequence[str], noun: str, fault: str, remedy: str) -> None:
    """Log how many clips have a fault that is no problem, and the first ones.

    Arguments
    ---------
    names : sequence of str
        The clips; nothing is logged without any.
    noun : str
        What one of them is called.
    fault : str
        What is the matter, after "is" or "are".
    remedy : str
        What becomes of them, or what to do.
    """
    if len(names):
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        shown = printable(", ".join(names[:5])) + more
        what = _counted(names, noun) + (" is " if len(names) == 1 else " are ")
        logger.warning("%s%s: %s; %s", what, fault, shown, remedy)


def warn_of_silence(names: Sequence[str], noun: str = "file") -> None:
    """Name files, or other clips, that are silent throughout.

    Arguments
    ---------
    names : sequence of str
        Those that are.
    noun : str
        What one of them is called.
    """
    warn_of(
        names,
        noun,
        "silent throughout",
        "used all the same; get again what should have sound",
    )
