"""Export a speech recogniser to a folder that ``from_hparams`` loads."""

import shutil
from pathlib import Path

import torch

from audiomamba.dataio.files import write_json
from audiomamba.inference.exported.card import recognizer_card
from audiomamba.inference.exported.folder import (
    LOCAL,
    ExportError,
    new_folder,
)
from audiomamba.inference.exported.model_yaml import PARTS, dump, plain
from audiomamba.pretrained.sources import HPARAMS_FILE, TOKENIZER_FILE

_TEMPLATE = """\
# A speech recogniser exported by audiomamba, for Transcriber.from_hparams and
# SpeechBrain's EncoderASR.from_hparams.

{options}
{parts}
tokenizer: !new:sentencepiece.SentencePieceProcessor
audio_normalizer: !new:audiomamba.inference.waveforms.WaveformNormalizer
    sample_rate: !ref <sample_rate>
decoding_function: !name:audiomamba.lobes.transcripts.best_path
    blank_index: 0

recognizer: !new:audiomamba.lobes.Recognizer
    compute_features: !ref <compute_features>
    mean_var_norm: !ref <mean_var_norm>
    embedding_model: !ref <embedding_model>
    classifier: !ref <classifier>
    blank_index: 0
modules:
    recognizer: !ref <recognizer>
    # SpeechBrain wants the scores alone
    encoder: !new:audiomamba.inference.interfaces.TokenScores
        recognizer: !ref <recognizer>

pretrainer: !new:speechbrain.utils.parameter_transfer.Pretrainer
    loadables:
        embedding_model: !ref <embedding_model>
        classifier: !ref <classifier>
        tokenizer: !ref <tokenizer>
"""


def write_recognizer(
    target: str | Path,
    settings: dict,
    weights: dict,
    tokenizer: str | Path,
    record: dict,
    licence: str | None = None,
) -> Path:
    """Write a folder for `Transcriber` and SpeechBrain's ``EncoderASR``.

    Arguments
    ---------
    target : str or Path
        The folder; must be empty or not exist.
    settings : dict
        The run's ``hyperparams.yaml`` as YAML nodes.
    weights : dict
        ``embedding_model`` and ``classifier`` -> state dict.
    tokenizer : str or Path
        The SentencePiece model.
    record : dict
        The content of ``results.json``.
    licence : str, optional
        See `audiomamba.inference.exported.card.model_card`.

    Returns
    -------
    Path
        ``target``.

    Raises
    ------
    ExportError
        If the target is not empty, or the weights do not fit the settings.
    """
    options = {"sample_rate": settings["sample_rate"]}
    parts = {name: plain(settings[name]) for name in PARTS}
    record = {k: v for k, v in record.items() if k not in LOCAL}
    encoder = parts["embedding_model"]["encoder"]
    scan = {"scan": encoder.get("scan", "fo_bi")}
    card = recognizer_card(
        f"CTC on {record['dataset']}",
        f"Trained by `{record['hparams_file']}`.",
        {**options, **scan},
        record["n_classes"],
        record,
        licence,
    )
    with new_folder(target) as draft:
        text = _TEMPLATE.format(
            options=dump(options),
            parts="\n".join(dump({name: parts[name]}) for name in PARTS),
        )
        (draft / HPARAMS_FILE).write_text(text, encoding="utf-8")
        for name, state in weights.items():
            torch.save(state, draft / f"{name}.ckpt")
        shutil.copyfile(tokenizer, draft / TOKENIZER_FILE)
        (draft / "README.md").write_text(card, encoding="utf-8")
        write_json(draft / "results.json", record)
        _check(draft, record["n_classes"])
    return Path(target)


def _check(folder, n_tokens):
    """Load the exported model; let it transcribe a second of silence."""
    from audiomamba.inference.transcriber import Transcriber

    try:
        transcriber = Transcriber.from_hparams(
            folder, run_opts={"device": "cpu"}
        )
    except RuntimeError as error:
        raise ExportError(
            f"The weights do not match their hyperparameters: {error}"
        ) from error
    scores = transcriber.scores(torch.zeros(transcriber.sample_rate))
    n_pieces = transcriber.tokenizer.vocab_size()
    if not scores.shape[1] == n_pieces == n_tokens:
        raise ExportError(
            f"The classifier has {scores.shape[1]} outputs and the tokenizer "
            f"{n_pieces} tokens, but {n_tokens} were trained: choose the "
            "output folder of one run."
        )
