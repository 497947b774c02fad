"""A user's lists in training, to the results; the tutorial has the rest."""

import json

import pandas as pd

from audiomamba.dataio.manifest import read_manifest

from .test_custom import corpus as corpus
from .test_custom import edit


def test_clips_with_several_labels_can_be_learned(
    corpus, make_start, read_results, tmp_path
):
    for split in ("train", "valid", "test"):

        def both(table):
            table.loc[0, "label"] = "low;high"
            table.loc[1, "label"] = "high"

        edit(corpus, split, both)
    start = make_start("Custom", corpus, batch_size=4, num_workers=0)
    start(
        tmp_path / "run",
        "aum_tiny",
        multi_label=True,
        dataset_name="Tones",
    )
    results = read_results(tmp_path / "run")
    assert results["dataset"] == "Tones" and results["n_classes"] == 2
    assert results["metric"]["name"] == "mAP"
    scores = pd.read_csv(tmp_path / "run" / "scores.csv")
    assert sorted(scores["target"])[0] == "high"
    assert list(scores)[2:] == ["score:high", "score:low"]
    assert results["clips"] == {"train": 6, "valid": 2, "test": 4}
    assert results["f1"].keys() == {"thresholds", "one_half"}


def test_frames_are_trained_on_events_and_tell_when(
    run_recipe, corpus, tmp_path
):
    """Strong labels of some clips; the exported model classifies frames."""
    from audiomamba.inference import AudioTagger

    events = tmp_path / "events.csv"
    lines = ["ID,start,stop,label", "00,0,0.25,low", "01,0.1,0.3,high"]
    events.write_text("\n".join(lines) + "\n")
    arguments = {
        "data_folder": corpus,
        "output_folder": tmp_path / "run",
        "strong_csv": events,
        "embedding_model": "{embed_dim: 16, depth: 1, drop_path: 0.0}",
        "classifier": "{input_size: 16}",
        "number_of_epochs": 1,
        "num_workers": 0,
    }
    run_recipe("Custom", "hparams/aum_frames_tiny.yaml", **arguments)
    train = read_manifest(tmp_path / "run" / "manifests" / "train.csv")
    assert train["events"][1] == '[[0.1, 0.3, "high"]]'
    run = tmp_path / "run"
    tagger = AudioTagger.from_hparams(run, run_opts={"device": "cpu"})
    # What the end of the run decides is a part of the exported model
    record = json.loads((run / "results.json").read_text())
    assert tagger.hparams.decisions == record["decisions"]
    assert (run / "precision_recall.png").is_file()
    (decided,) = tagger.decide_batch([corpus / "clips" / "11.wav"])
    thresholds = dict(zip(["high", "low"], record["decisions"]["thresholds"]))
    for label, probability, yes in decided:
        assert yes == (probability >= thresholds[label])
    assert tagger.classifies_frames and tagger.frame_seconds == 0.08
    (window,) = tagger.frame_stream(corpus / "clips" / "11.wav")
    assert window.values.shape == (9, 2)
    events.write_text("\n".join([*lines, "00,0,9,low"]) + "\n")
    arguments["output_folder"] = tmp_path / "other"
    output = run_recipe(
        "Custom", "hparams/aum_frames_tiny.yaml", fails=True, **arguments
    )
    assert "line 4: 00 has an event from 0 to 9 s" in output
    assert "Traceback" not in output
