"""The model cards of exported models."""

import math
import re

import audiomamba

_CARD = """\
---
{metadata}
---

# {title}

{origin}

| | |
|---|---|
{facts}

## Use

{use}
`hyperparams.yaml` names Python objects to create, as in every SpeechBrain
model: only load models from sources you trust.
"""
_USE_TAGGER = """\
```python
from audiomamba.inference import AudioTagger

tagger = AudioTagger.from_hparams("this folder, or its name on the hub")
tagger.tag_file("clip.wav", top_k=5)  # [(label, probability), ...]
tagger.embed_file("clip.wav")  # [D]
```

```
audiomamba-tag clip.wav --model "this folder, or its name on the hub"
```

SpeechBrain's `EncoderClassifier.from_hparams` and
`SpeakerRecognition.from_hparams` load it as well, with `audiomamba` installed.
"""
_SPEAKERS = """
`audiomamba.inference.SpeakerRecognition` decides with this model's threshold
whether two speakers are the same; SpeechBrain's own takes 0.25.
"""
_USE_RECOGNIZER = """\
```python
from audiomamba.inference import Transcriber

transcriber = Transcriber.from_hparams("this folder, or its name on the hub")
transcriber.transcribe_file("speech.wav")
```

```
audiomamba-transcribe speech.wav --model "this folder, or its name on the hub"
```

SpeechBrain's `EncoderASR.from_hparams` loads it as well, with `audiomamba`
installed.
"""
_DECIDE = """
The thresholds and the temperature in `hyperparams.yaml`, of the best F1 on the
validation clips, decide between yes and no:

```
audiomamba-tag clip.wav --model "this folder, or its name on the hub" --decide
```
"""
_RECORD = """
## Result

| metric | value |
|---|---|
{metrics}

{protocol}; epoch {epoch} of {epochs_trained}.
All details of the run are in `results.json`.

```
{command}
```

{versions}
"""


def _row(name, value):
    value = f"{value:.4g}" if isinstance(value, float) else str(value)
    return f"| {name} | {value.replace('|', chr(92) + '|')} |"


def _training_data(record):
    """What the model was trained on, as a fact."""
    if record is None:
        return {}
    clips = ", ".join(f"{n} {name}" for name, n in record["clips"].items())
    return {"data": f"{record['dataset']} ({clips} clips)"}


def _metadata(title, record, licence, task):
    """The fields that the hub reads, as YAML."""
    from huggingface_hub import EvalResult, ModelCardData

    results, datasets = None, None
    if record is not None:
        datasets = [re.sub(r"[^\w.-]+", "-", record["dataset"]).strip("-")]
        common = {
            "task_type": task,
            "dataset_type": datasets[0],
            "dataset_name": record["dataset"],
            "dataset_split": record["metric"]["split"],
        }
        results = [
            EvalResult(**common, metric_type=name, metric_value=value)
            for name, value in record["metrics"].items()
            if isinstance(value, float) and math.isfinite(value)
        ]
    return ModelCardData(
        library_name="speechbrain",
        pipeline_tag=task,
        tags=["audio-mamba", task, "speechbrain"],
        license=licence or "unknown",
        datasets=datasets,
        model_name=title if results else None,
        eval_results=results,
    ).to_yaml()


def model_card(
    title: str,
    origin: str,
    options: dict,
    n_classes: int,
    record: dict | None = None,
    licence: str | None = None,
) -> str:
    """Return a model card.

    Arguments
    ---------
    title : str
        Title of the card.
    origin : str
        A sentence about where the model comes from.
    options : dict
        Properties of the training audio: ``sample_rate`` and so on.
    n_classes : int
        Number of classes.
    record : dict, optional
        The content of ``results.json``.
    licence : str, optional
        Identifier of the weights' licence, as the hub has it.

    Returns
    -------
    str
        Markdown with metadata for the Hugging Face hub: it shows licence, data
        and results beside the model, and finds the model by them.

    Example
    -------
    >>> card = model_card("Dogs", "Trained.", {"sample_rate": 16000}, 2)
    >>> "| classes | 2 |" in card
    True
    """
    use = _USE_TAGGER
    if "decisions" in options:
        use += _DECIDE
    if "verification_threshold" in options:
        use += _SPEAKERS
    task, facts = "audio-classification", {"classes": n_classes, **options}
    return _card(title, origin, facts, use, task, record, licence)


def recognizer_card(
    title: str,
    origin: str,
    options: dict,
    n_tokens: int,
    record: dict,
    licence: str | None = None,
) -> str:
    """Return the model card of a speech recogniser.

    Arguments
    ---------
    title, origin, options, record, licence
        See `model_card`.
    n_tokens : int
        Number of tokens with the blank.

    Returns
    -------
    str
        See `model_card`.
    """
    task, facts = (
        "automatic-speech-recognition",
        {"tokens": n_tokens, **options},
    )
    return _card(title, origin, facts, _USE_RECOGNIZER, task, record, licence)


def _card(title, origin, facts, use, task, record, licence):
    """Return the text of a card."""
    card = _CARD.format(
        metadata=_metadata(title, record, licence, task),
        title=title,
        origin=origin,
        facts=_facts(facts, record, licence),
        use=use,
    )
    return card + _result(record)


def _facts(options, record, licence):
    """The rows of the first table."""
    facts = {
        "licence": licence or "not stated",
        **_training_data(record),
        **{
            name.replace("_", " "): value
            for name, value in options.items()
            if name != "decisions"
        },
        "exported with": f"audiomamba {audiomamba.__version__}",
    }
    return "\n".join(_row(*fact) for fact in facts.items())


def _result(record):
    """The part of a card that says what a run reached, if it is of one."""
    if record is None:
        return ""
    return _RECORD.format(
        metrics="\n".join(_row(*entry) for entry in record["metrics"].items()),
        protocol=f"On {record['metric']['split']}, {record['rule']}",
        epoch=record["epoch"],
        epochs_trained=record["epochs_trained"],
        command=record["command"],
        versions=", ".join(f"{k} {v}" for k, v in record["versions"].items()),
    )
