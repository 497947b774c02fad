"""From a corpus on disk to manifests: what all recipes' preparations share.

A recipe derives its corpus from `Corpus`: it says where the corpus comes from
and how its folder looks, and adds the parsing of lists and file names.
"""

import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, NamedTuple

import pandas as pd

from audiomamba.dataio.audio import AudioError
from audiomamba.dataio.codecs.decoder import PYAV_READS, has_decoder
from audiomamba.dataio.codecs.formats import SUFFIXES, convert_all
from audiomamba.dataio.corpora import corpus
from audiomamba.dataio.corpora.clips import report_lost_classes
from audiomamba.dataio.files import unused_folder
from audiomamba.dataio.manifest import (
    COLUMNS,
    inputs_key,
    is_prepared,
    write_manifests,
)
from audiomamba.dataio.problems import PreparationError, Problems

logger = logging.getLogger(__name__)


class Inputs(NamedTuple):
    """What manifests are made from; they are reused until it changes.

    ``lists`` are files that count by content, ``audio`` is the table of
    `list_audio`, and ``options`` are JSON values.
    """

    lists: Sequence[str | Path]
    audio: pd.DataFrame
    options: Mapping = {}


@dataclass
class Corpus(ABC):
    """A corpus and its preparation; recipes derive theirs from it.

    `prepare` calls `find`, `parse`, `measure` and `finish` in this order. A
    recipe writes the first two, and the others where the default does not
    fit. Options of a recipe are further fields of the dataclass.

    Arguments
    ---------
    data_folder : str or Path
        The folder of the corpus.
    save_folder : str or Path
        The folder for the manifests: a CSV per split, ``labels.csv`` unless
        the recipe has its own, and ``problems.txt`` if something is left out.

    Example
    -------
    >>> import soundfile
    >>> class Clicks(Corpus):
    ...     name, source = "Clicks", "Record some clicks."
    ...     tree = "<split>/<label>.wav"
    ...     def find(self):
    ...         return Inputs([], self.list_audio())
    ...     def parse(self, inputs):
    ...         rows = inputs.audio.assign(ID=inputs.audio["wav"])
    ...         rows[["split", "label"]] = rows["wav"].str.split("/").tolist()
    ...         return rows, rows["split"].value_counts()
    >>> folder = getfixture("tmp_path")
    >>> Clicks(folder / "data", folder).prepare()
    Traceback (most recent call last):
    ...
    audiomamba.dataio.problems.PreparationError: Clicks was not found: there \
is no folder ...
    >>> for split in ("train", "valid", "test"):
    ...     (folder / "data" / split).mkdir(parents=True)
    ...     wav = folder / "data" / split / "soft.wav"
    ...     soundfile.write(wav, [0.0, 0.5], 16000)
    >>> Clicks(folder / "data", folder).prepare()
    >>> (folder / "train.csv").read_text().splitlines()[1]
    'train/soft.wav,0.000125,train/soft.wav,soft.wav'
    """

    data_folder: Path
    save_folder: Path
    problems: Problems = field(default_factory=Problems, init=False)
    # What was read, for errors that do not say where a clip is listed
    read_from: list[Path] = field(default_factory=list, init=False)
    # Audio in other formats, in words
    others: str = field(default="", init=False)
    # All clips that should be there, with split and label, where parse says so
    listed: pd.DataFrame | None = field(default=None, init=False)
    # Whether to decode all files; see prepare
    decode: bool = field(default=False, init=False)
    # Class -> readable name, where parse knows one
    class_names: Mapping[str, str] = field(default_factory=dict, init=False)

    # The one name of the corpus, in options, folders and messages
    name: ClassVar[str]
    # A sentence that says where to get it; {data_folder} is filled in
    source: ClassVar[str]
    # How data_folder must look, one entry per line
    tree: ClassVar[str]
    # __file__ of the recipe, if tools/make_mini_corpus.py knows the corpus
    recipe: ClassVar[str | None] = None
    suffixes: ClassVar[tuple[str, ...]] = (".wav",)
    # Those that are read as well where PyAV is installed
    decoded: ClassVar[tuple[str, ...]] = ()
    # The format as distributed; other files are reported
    sample_rate: ClassVar[int | None] = None
    # Copies that were resampled as a whole are used, with a warning
    may_be_resampled: ClassVar[bool] = False
    channels: ClassVar[int | None] = None

    def __post_init__(self):
        self.data_folder = Path(self.data_folder)
        self.save_folder = Path(self.save_folder)

    def prepare(
        self,
        skip_prep: bool = False,
        allow_missing: bool = False,
        max_missing: float = 1.0,
        check_audio: str = "headers",
    ) -> None:
        """Write the manifests, unless those of the same inputs exist.

        Arguments
        ---------
        skip_prep : bool
            Do nothing: the manifests exist.
        allow_missing : bool
            Leave out files that are missing or unusable, and count them.
        max_missing : float
            The largest share of a split that may be left out, in [0, 1].
        check_audio : str
            ``headers``, and what is compressed or floating-point is decoded;
            or ``decode``: all is, and silent files are named in a warning.

        Raises
        ------
        PreparationError
            If the corpus is not found, or with everything that is wrong
            with it.
        """
        if skip_prep:
            logger.info(
                "skip_prep: using the manifests in %s", self.save_folder
            )
            return
        if not 0 <= max_missing <= 1:
            raise PreparationError(
                f"max_missing is {max_missing}; it must be in [0, 1]"
            )
        if check_audio not in ("headers", "decode"):
            raise PreparationError(
                f"check_audio is {check_audio}; it must be headers or decode"
            )
        self.decode = check_audio == "decode"
        report_file = self.save_folder / "problems.txt"
        try:
            self._prepare(report_file, allow_missing, max_missing)
        except PreparationError as error:
            error = self.problems.explain(error, report_file)
            raise self._with_lists(error) from None
        except AudioError as error:
            raise self.problems.explain(
                PreparationError(str(error)), report_file
            ) from error
        except OSError as error:
            raise self.problems.explain(
                PreparationError(
                    f"{error.filename or self.data_folder}: {error.strerror}; "
                    "change its permissions, or name another folder"
                )
            ) from error

    def _prepare(self, report_file, allow_missing, max_missing):
        """Write the manifests; see `prepare`."""
        inputs = self.find()
        self.read_from = list(map(Path, inputs.lists))
        for path in self.read_from:
            if path.resolve().parent == self.save_folder.resolve():
                raise PreparationError(
                    f"{path} is an input in the folder that manifests are "
                    "written to, where it may be overwritten; choose another "
                    "--output_folder"
                )
        options = {
            **inputs.options,
            "allow_missing": allow_missing,
            "max_missing": max_missing,
            "decode": self.decode,
        }
        key = inputs_key(options, inputs.lists, inputs.audio)
        if is_prepared(self.save_folder, key):
            return
        rows, totals = self.parse(inputs)
        rows = self.measure(rows)
        left_out = self.problems.settle(
            report_file, allow_missing, totals, max_missing
        )
        if left_out and self.listed is not None:
            left_out += report_lost_classes(self.listed, rows, self.class_names)
        splits, labels = self.finish(rows)
        write_manifests(self.save_folder, splits, labels, key, left_out)

    def _with_lists(self, error):
        """Name the lists, if an error names none of them."""
        paths = list(map(str, self.read_from))
        if not paths or any(path in str(error) for path in paths):
            return error
        more = f" and {len(paths) - 5} more" if paths[5:] else ""
        shown = ", ".join(paths[:5])
        return PreparationError(f"{error}\nThe lists are {shown}{more}.")

    @abstractmethod
    def find(self) -> Inputs:
        """Find the files of the corpus, or raise what `missing` returns.

        Returns
        -------
        Inputs
        """

    @abstractmethod
    def parse(self, inputs: Inputs) -> tuple[pd.DataFrame, Mapping[str, int]]:
        """Read lists and file names; `self.problems` collects what is wrong.

        Arguments
        ---------
        inputs : Inputs
            From `find`.

        Returns
        -------
        rows : pandas.DataFrame
            The clips that have a file: ``ID``, ``wav``, ``label``, ``split``.
        totals : dict
            Split -> number of clips that should be there.
        """

    def measure(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Drop unusable files and add the ``duration`` of the others.

        Arguments
        ---------
        rows : pandas.DataFrame
            From `parse`.

        Returns
        -------
        pandas.DataFrame
        """
        return corpus.measure(
            rows,
            self.data_folder,
            self.problems,
            self.sample_rate,
            self.channels,
            self.may_be_resampled,
            self.decode,
        )

    def finish(
        self, rows: pd.DataFrame
    ) -> tuple[dict[str, pd.DataFrame], list[str] | None]:
        """Make the manifests and the list of classes.

        Arguments
        ---------
        rows : pandas.DataFrame
            From `measure`.

        Returns
        -------
        splits : dict
            Split -> its manifest.
        labels : list of str or None
            Class names by index; None if the recipe has its own label file.
        """
        return by_split(rows), None

    def require(self, *files: Path) -> None:
        """Raise the error of `missing` unless all of these files exist.

        Arguments
        ---------
        files : Path
            The owners' lists, for example.
        """
        lost = [str(path) for path in files if not path.is_file()]
        if lost or not self.data_folder.is_dir():
            raise self.missing(f"there is no file {' or '.join(lost)}")

    def list_audio(self, roots: Iterable[str] = ("",)) -> pd.DataFrame:
        """List the audio files; raise the error of `missing` without any.

        Arguments
        ---------
        roots : iterable of str
            The folders to search, relative to ``data_folder``.

        Returns
        -------
        pandas.DataFrame
            See `audiomamba.dataio.corpora.corpus.list_audio`.
        """
        readable = self.suffixes + (self.decoded if has_decoder() else ())
        if self.data_folder.is_dir():
            found = corpus.list_audio(
                self.data_folder, roots, SUFFIXES, self.problems
            )
            usable = found["wav"].str.lower().str.endswith(readable)
            self.others = self._describe_others(found["wav"][~usable])
            if usable.any():
                if self.others:
                    logger.warning("%s", self.others)
                return found[usable].reset_index(drop=True)
        fault = f"there is no {' or '.join(readable)} file in it"
        raise self.missing(f"{fault}. {self.others}" if self.others else fault)

    def _describe_others(self, wavs):
        """Name the audio that is there in other formats, and how to convert."""
        suffixes = wavs.str.lower().str.extract(r"(\.\w+)$", expand=False)
        return "\n".join(
            f"{self.data_folder} has {count} {suffix} files, which are not "
            "read here; convert them: "
            + convert_all(
                self.data_folder, suffix, self.sample_rate, self.channels
            )
            + (PYAV_READS if suffix in self.decoded else "")
            for suffix, count in suffixes.value_counts().items()
        )

    def missing(self, fault: str) -> PreparationError:
        """The error for a corpus that is not where it should be.

        Arguments
        ---------
        fault : str
            What is missing, if ``data_folder`` exists.

        Returns
        -------
        PreparationError
            To be raised.
        """
        if not self.data_folder.is_dir():
            fault = f"there is no folder {self.data_folder}"
        lines = [
            f"{self.name} was not found: {fault}.",
            self.source.format(data_folder=self.data_folder),
            "Lay it out like this, or say where it is with --data_folder:",
            f"  {self.data_folder}/",
            *(f"    {line}" for line in self.tree.strip().splitlines()),
        ]
        if self.recipe:
            tools = Path(self.recipe).resolve().parents[2] / "tools"
            tool = os.path.relpath(tools / "make_mini_corpus.py")
            folder = unused_folder(self.data_folder)
            lines += [
                "For a first try, make a miniature of synthetic sounds:",
                f"  python {tool} {self.name} {folder}",
            ]
            if folder != self.data_folder:
                lines.append(f"and pass --data_folder {folder}")
        return PreparationError("\n".join(lines))


def by_split(
    rows: pd.DataFrame,
    splits: Sequence[str] = ("train", "valid", "test"),
    further: Sequence[str] = (),
) -> dict[str, pd.DataFrame]:
    """Distribute rows over the manifests of their splits.

    Arguments
    ---------
    rows : pandas.DataFrame
        With ``split`` and the columns of a manifest.
    splits : sequence of str
        The splits to write.
    further : sequence of str
        Columns to keep besides those that every manifest has.

    Returns
    -------
    dict
        Split -> its rows.
    """
    columns = [*COLUMNS, *further]
    return {name: rows.loc[rows["split"] == name, columns] for name in splits}
