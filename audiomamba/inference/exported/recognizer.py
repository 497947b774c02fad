"""A speech recogniser as the files of an exported folder."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import torch

from audiomamba.dataio.files import write_json
from audiomamba.inference.exported.card import recognizer_card
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


@dataclass
class SpeechRecognizer:
    """What an exported folder says of a speech recogniser.

    Arguments
    ---------
    settings : dict
        The run's ``hyperparams.yaml`` as YAML nodes.
    weights : dict
        ``embedding_model`` and ``classifier`` -> state dict.
    tokenizer : Path
        The SentencePiece model.
    record : dict
        The content of ``results.json``.
    licence : str, optional
        See `audiomamba.inference.exported.card.model_card`.
    """

    settings: dict
    weights: dict
    tokenizer: Path
    record: dict
    licence: str | None = None

    def write(self, folder: Path) -> None:
        """Write the files of the folder, unchecked.

        Arguments
        ---------
        folder : Path
            An empty folder.
        """
        options = {"sample_rate": self.settings["sample_rate"]}
        parts = {name: plain(self.settings[name]) for name in PARTS}
        text = _TEMPLATE.format(
            options=dump(options),
            parts="\n".join(dump({name: parts[name]}) for name in PARTS),
        )
        (folder / HPARAMS_FILE).write_text(text, encoding="utf-8")
        for name, state in self.weights.items():
            torch.save(state, folder / f"{name}.ckpt")
        shutil.copyfile(self.tokenizer, folder / TOKENIZER_FILE)
        encoder = parts["embedding_model"]["encoder"]
        card = recognizer_card(
            f"CTC on {self.record['dataset']}",
            f"Trained by `{self.record['hparams_file']}`.",
            {**options, "scan": encoder.get("scan", "fo_bi")},
            self.record["n_classes"],
            self.record,
            self.licence,
        )
        (folder / "README.md").write_text(card, encoding="utf-8")
        write_json(folder / "results.json", self.record)
