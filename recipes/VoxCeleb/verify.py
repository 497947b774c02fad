"""Speaker verification on trial lists: EER and minDCF.

    python verify.py hparams/verify.yaml --data_folder /path/to/VoxCeleb \
        --model_folder results/aum_embeddings/1

Of VoxCeleb1's lists, those in ``data_folder`` are scored; with ``--trials
mine.txt`` a list of your own, of any recordings.  One process, on one GPU or on
the CPU.  Every file is embedded once, as a whole, in batches of similar length
that do not affect the result; a later start with the same model and files
reuses the embeddings.
"""

import json
import sys
import time
from pathlib import Path

from speechbrain.utils.distributed import infer_device
from speechbrain.utils.logger import get_logger
from verification_prepare import (
    VOXCELEB1,
    has_own_files,
    prepare_trials,
)

from audiomamba.dataio.corpora.trials import read_trials, speakers_of
from audiomamba.dataio.files import write_json
from audiomamba.dataio.manifest import inputs_key, read_manifest
from audiomamba.dataio.problems import PreparationError, Problems
from audiomamba.dataio.reader import AudioReader
from audiomamba.dataio.tables import write_csv
from audiomamba.inference.embeddings import embed_manifest, load_embedder
from audiomamba.inference.verification import (
    cohort_statistics,
    cosine_scores,
    error_figures,
    s_norm,
)
from audiomamba.training.recipe import process_group
from audiomamba.training.runs.environment import environment
from audiomamba.training.runs.folder import open_folder
from audiomamba.training.runs.hparams import (
    load_hparams,
    read_settings,
    write_settings,
)
from audiomamba.training.runs.options import parse_arguments
from audiomamba.training.runs.ranges import check_ranges

logger = get_logger("verify")

# Of SpeechBrain's, those with a meaning here; the last is always given
OPTIONS = {"device", "log_config", "noprogressbar", "distributed_backend"}

# What the record of the trials keeps of that of the training
OF_TRAINING = ("hparams_file", "seed", "command", "commit", "wall_time_s")
OF_TRAINING += ("clips", "curve")


def embed(name, embedder, weights, hparams, progressbar):
    """Embed the files of a manifest, or reuse their embeddings.

    Arguments
    ---------
    name : str
        ``files`` or ``cohort``.
    embedder : ClipEncoder
        The model.
    weights : Path
        The file its weights are from.
    hparams : dict
        Loaded hyperparameters.
    progressbar : bool
        Whether to show one.

    Returns
    -------
    rows : pandas.Series
        File ID -> row.
    embeddings : numpy.memmap
        [files, D], rows of length 1.
    """
    sample_rate, folder = hparams["sample_rate"], hparams["manifest_folder"]
    model = Path(hparams["model_folder"], "hyperparams.yaml")
    manifests = [Path(folder, f"{name}.csv"), Path(folder, "prepared.json")]
    key = inputs_key({"rate": sample_rate}, [weights, model, *manifests])
    return embed_manifest(
        embedder,
        manifests[0],
        AudioReader(hparams["data_folder"], sample_rate),
        Path(hparams["output_folder"], f"{name}.npy"),
        key,
        hparams["batch_seconds"],
        hparams["num_workers"],
        progressbar,
    )


def check_options(run_opts):
    """Refuse those of SpeechBrain's options that have no meaning here."""
    unused = sorted(run_opts.overridden_args - OPTIONS)
    if unused:
        raise PreparationError(
            f"verify.py does not use --{', --'.join(unused)}: it computes in "
            "fp32 and in one process. Leave it out."
        )


def listed_trials(hparams):
    """Return the trial lists to score, by name.

    Arguments
    ---------
    hparams : dict
        Loaded hyperparameters; ``trials`` is a file or several, from
        ``data_folder`` on.

    Returns
    -------
    dict
        Name -> file.  Of VoxCeleb1's lists, those that are there, or all if
        none is.
    """
    folder, trials = Path(hparams["data_folder"]), hparams["trials"]
    files = [trials] if isinstance(trials, str) else trials
    named = {VOXCELEB1.get(f, Path(f).stem): f for f in files}
    if len(named) < len(files):
        raise PreparationError(
            f"trials: {files} have the same names, so their results would "
            "overwrite each other; rename one"
        )
    lost = [
        name
        for name, file in named.items()
        if file in VOXCELEB1 and not (folder / file).is_file()
    ]
    if len(lost) == len(named):
        return named
    for name in lost:
        logger.warning(f"{name} is not scored: no {folder / named.pop(name)}")
    return named


def check_kept(folder, trials):
    """Refuse a folder whose results are of lists that are not scored now."""
    path = Path(folder, "results.json")
    if path.is_file():
        held = json.loads(path.read_text(encoding="utf-8"))["trials"]
        if lost := ", ".join(sorted(held.keys() - trials)):
            raise PreparationError(
                f"{path} has the results of {lost}, which would be lost: name "
                "another --output_folder."
            )


def check_kinds(name, trials):
    """Refuse a list that gives no error rates."""
    if trials["label"].nunique() < 2:
        raise PreparationError(
            f"{name}: its {len(trials)} trials are all of one kind, but error "
            "rates need both, 1 (same speaker) and 0 (two speakers)"
        )


def read_lists(folder, trials, own):
    """Return name -> trials, which the preparation has checked."""
    lists = {}
    for name, file in trials.items():
        # Lines of another form have been reported
        lists[name] = read_trials(Path(folder, file), Problems(), own)
        check_kinds(file, lists[name])
    return lists


def trained_speakers(hparams):
    """Return the speakers in the cohort's manifest; None without it."""
    manifest = hparams["cohort_manifest"]
    if manifest is None or not Path(manifest).is_file():
        return None
    return set(read_manifest(manifest)["label"])


def compare_speakers(name, trials, trained_on):
    """Count the speakers of a list, and those that were trained on; warn.

    Arguments
    ---------
    name : str
        Name of the list.
    trials : pandas.DataFrame
        From `read_trials`.
    trained_on : set of str or None
        Speakers that the encoder was trained on; None if unknown.

    Returns
    -------
    dict
        For the record.
    """
    speakers = speakers_of(trials)
    known = speakers & trained_on if trained_on is not None else None
    if known:
        logger.warning(
            f"{name}: the encoder was trained on {len(known)} of its "
            f"{len(speakers)} speakers, so its error rates are too low."
        )
    return {
        "n_speakers": len(speakers),
        "n_speakers_trained_on": None if known is None else len(known),
    }


def trained_with(model_folder):
    """Return what the record has of the training's, if that is at hand."""
    path = Path(model_folder, "results.json")
    if not path.is_file():
        return {"n_classes": None, "flops_per_clip": None}
    training = json.loads(path.read_text(encoding="utf-8"))
    return {
        "n_classes": training.get("n_classes"),
        "flops_per_clip": training.get("flops_per_clip"),
        "training": {key: training.get(key) for key in OF_TRAINING},
    }


def verify(name, listed, rows, embeddings, statistics, hparams):
    """Score one trial list, write the scores and compute the error rates.

    Arguments
    ---------
    name : str
        Name of the list.
    listed : pandas.DataFrame
        Its trials.
    rows : pandas.Series
        File ID -> row.
    embeddings : np.ndarray
        [files, D].
    statistics : tuple or None
        From `cohort_statistics`, for score normalisation.
    hparams : dict
        Loaded hyperparameters.

    Returns
    -------
    dict
        Numbers of trials; per kind of score, EER and minDCF.
    """
    ids = listed[["first", "second"]].replace(r"\.wav$", "", regex=True)
    usable = ids.isin(rows.index).all(axis=1)
    trials = listed[usable].reset_index(drop=True)
    check_kinds(f"{name}, without the files that are left out", trials)
    first, second = (rows[ids.loc[usable, side]].to_numpy() for side in ids)
    scores = {"cosine": cosine_scores(embeddings, first, second)}
    if statistics is not None:
        normalised = s_norm(scores["cosine"], first, second, statistics)
        scores["s_norm"] = normalised
    path = Path(hparams["output_folder"], f"scores_{name}.csv")
    write_csv(path, trials.assign(**scores).round(6))
    costs = {key: hparams[key] for key in ("p_target", "c_miss", "c_fa")}
    figures = {
        kind: error_figures(trials["label"].to_numpy(), values, **costs)
        for kind, values in scores.items()
    }
    for kind, values in figures.items():
        logger.info(
            f"{name}, {len(trials)} trials, {kind}: "
            f"EER {values['EER']:.2%}, minDCF {values['minDCF']:.4f}"
        )
    return {
        "n_trials": len(trials),
        "n_trials_left_out": int((~usable).sum()),
        **figures,
    }


def record_of(found, weights, hparams):
    """Return what the record has of the scores and of the encoder.

    Arguments
    ---------
    found : dict
        Name of a list -> its figures; the first gives the headline.
    weights : Weights
        What the encoder was loaded from, see `load_embedder`.
    hparams : dict
        Loaded hyperparameters.

    Returns
    -------
    dict
        Of a corpus like VoxCeleb.
    """
    split = next(iter(found))
    tested = {
        kind: {"test": found[split][kind]}
        for kind in ("s_norm", "cosine")
        if kind in found[split]
    }
    protocol, headline = next(iter(tested.items()))
    return {
        "dataset": "VoxCeleb",
        "metric": {
            "name": "EER",
            "value": headline["test"]["EER"],
            "split": split,
        },
        "protocol": protocol,
        "rule": weights.rule,
        "epoch": weights.epoch,
        "protocols": tested,
        "clips": {"test": found[split]["n_trials"]},
        "model": str(weights.path),
        "weights_key": inputs_key({}, [weights.path]),
        "metrics": headline["test"],
        "trials": found,
        "seed": hparams["seed"],
        "precision": "fp32",
        **trained_with(hparams["model_folder"]),
    }


def main(hparams_file, run_opts, overrides):
    """Prepare, embed, score and write the results."""
    started = time.monotonic()
    check_options(run_opts)
    check_ranges(read_settings(hparams_file, overrides))
    hparams = load_hparams(hparams_file, overrides)
    with_norm, trials = hparams["score_norm"], listed_trials(hparams)
    check_kept(hparams["output_folder"], trials)
    open_folder(hparams["output_folder"], run_opts["log_config"])
    write_settings(hparams["output_folder"], hparams_file, overrides)
    folder, files = hparams["data_folder"], list(trials.values())
    prepare_trials(
        folder,
        hparams["manifest_folder"],
        files,
        hparams["cohort_manifest"] if with_norm else None,
        hparams["cohort_size"],
        hparams["allow_missing"],
        hparams["skip_prep"],
        hparams["check_audio"],
    )
    own = has_own_files(folder, files)
    lists = read_lists(folder, trials, own)
    device = run_opts["device"] or infer_device()
    embedder, weights = load_embedder(hparams["model_folder"], device)
    source = (embedder, weights.path, hparams, not run_opts["noprogressbar"])
    rows, embeddings = embed("files", *source)
    statistics = None
    if with_norm:
        _, cohort = embed("cohort", *source)
        top_n = hparams["cohort_top_n"]
        statistics = cohort_statistics(embeddings, cohort, top_n)
    found = {}
    for name, listed in lists.items():
        figures = verify(name, listed, rows, embeddings, statistics, hparams)
        if not own:
            speakers = trained_speakers(hparams)
            figures |= compare_speakers(name, listed, speakers)
        found[name] = figures
    record = {
        "hparams_file": hparams_file,
        **record_of(found, weights, hparams),
        "parameters": sum(p.numel() for p in embedder.parameters()),
        "wall_time_s": round(time.monotonic() - started, 1),
        **environment(device),
    }
    if own:
        record["dataset"] = Path(folder).resolve().name
    path = Path(hparams["output_folder"], "results.json")
    write_json(path, record)
    logger.info(f"results: {path}")


if __name__ == "__main__":
    with process_group():
        main(*parse_arguments(sys.argv[1:]))
