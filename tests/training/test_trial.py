"""Trials of a search: what they change, where they write, what they report."""

import json
import sys
from types import ModuleType

import pytest

from audiomamba.dataio.problems import PreparationError
from audiomamba.training.runs.hparams import read_settings
from audiomamba.training.runs.trial import Trial, take_search

YAML = """\
output_folder: !ref {folder}/<seed>
manifest_folder: !ref <output_folder>/manifests
seed: 1
lr: 0.1
bound: 1.0
schedule: !new:collections.OrderedDict {{b: 1}}
protocols: [paper, honest]
embedding_model: !new:torch.nn.Linear {{in_features: 2, out_features: 3}}
"""


@pytest.fixture
def make_trial(tmp_path):
    """Contents of the search's file -> YAML and trial."""
    path, search = tmp_path / "a.yaml", tmp_path / "search.yaml"
    path.write_text(YAML.format(folder=tmp_path / "out"))

    def make(content):
        search.write_text(content)
        return path, Trial(str(search), "generic")

    return make


def test_the_options_of_a_search_are_taken_out():
    arguments = ["a.yaml", "--hpopt", "b.yaml", "--hpopt_mode=orion", "--lr=1"]
    assert take_search(arguments) == ("b.yaml", "orion", ["a.yaml", "--lr=1"])
    assert take_search(["a.yaml", "--hpopt=False"])[0] is None
    with pytest.raises(PreparationError, match="no effect without --hpopt"):
        take_search(["a.yaml", "--hpopt_mode=orion"])


def test_a_trial_has_values_and_a_folder_of_its_own(make_trial, tmp_path):
    path, trial = make_trial(
        "lr: 1e-5\nseed: 3\nembedding_model: {out_features: 7}\n"
        "bound: .inf\n"
        "schedule: !new:collections.OrderedDict {b: [2, -.inf, two: 2]}\n"
    )
    settings = read_settings(path, trial.overrides(path, {"seed": "4"}))
    assert settings["lr"] == 1e-5
    assert settings["seed"] == 4  # the command line counts more
    assert settings["bound"] == float("inf")
    assert settings["schedule"] == {
        "!new:collections.OrderedDict": {"b": [2, -float("inf"), {"two": 2}]}
    }
    (encoder,) = settings["embedding_model"].values()
    assert encoder == {"in_features": 2, "out_features": 7}
    folder = f"{tmp_path}/out/4/{trial.id}"
    assert settings["output_folder"] == folder
    assert settings["manifest_folder"] == f"{folder}/manifests"


def test_the_file_may_name_the_folder_as_in_speechbrain(make_trial, tmp_path):
    path, trial = make_trial(
        f"trial_id: hpopt\noutput_folder: !ref {tmp_path}/<trial_id>/run\n"
    )
    settings = read_settings(path, trial.overrides(path, {}))
    assert settings["output_folder"] == f"{tmp_path}/{trial.id}/run"


@pytest.mark.parametrize(
    "content, message",
    [
        ("ckpt_enable: False", "search.yaml: ckpt_enable has no effect"),
        ("learning_rate: 1", "no key learning_rate to change by .*search.yaml"),
        ("lr: [1", "search.yaml: while parsing"),
        ("# lr: 1", "search.yaml: there is no line such as"),
        ("lr: !ref <rate>", "search.yaml: .*rate"),
        ("protocols: [paper]", "choose by the clips that are reported"),
        ("protocols: [best]", "protocols: .*best.*a list of honest"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(make_trial, content, message):
    path, trial = make_trial(content)
    with pytest.raises(PreparationError, match=message):
        trial.overrides(path, {})


def test_a_file_that_is_not_there_is_named(make_trial):
    path, _ = make_trial("lr: 1")
    with pytest.raises(PreparationError, match="--hpopt b.yaml: No such file"):
        Trial("b.yaml", "generic").overrides(path, {})


@pytest.mark.parametrize("mode", ["orion", "optuna"])
def test_no_other_reporter_takes_the_place_of_one(mode, monkeypatch):
    monkeypatch.setitem(sys.modules, "orion.client", None)
    with pytest.raises(PreparationError, match=f"mode {mode} cannot be used"):
        Trial("True", mode)


def test_the_reported_split_chooses_nothing(make_run):
    run, trial = make_run(), Trial("True", "generic")
    with pytest.raises(PreparationError, match="needs a validation split"):
        trial.check({"train": run.sets[0], "test": run.sets[2]})
    trial.check({"train": run.sets[0], "valid": run.sets[1]})


def test_the_result_is_that_of_the_best_validated_epoch(make_run, capsys):
    run = make_run(protocols=["paper", "honest"])
    run.fit()
    Trial("True", "generic").report(run.brain, run.sets[1], {})
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    curve = run.hparams["epoch_log"].history()
    assert result["accuracy"] == max(row["valid_accuracy"] for row in curve)
    assert result["objective"] == result["error"] == 1 - result["accuracy"]


def test_orion_is_told_once(make_run, monkeypatch):
    client, told = ModuleType("orion.client"), []
    client.report_objective = told.append
    monkeypatch.setitem(sys.modules, "orion", ModuleType("orion"))
    monkeypatch.setitem(sys.modules, "orion.client", client)
    names = ("EXPERIMENT_NAME", "EXPERIMENT_VERSION", "TRIAL_ID")
    for name, value in zip(names, ("words", "1", "7f")):
        monkeypatch.setenv(f"ORION_{name}", value)
    run, trial = make_run(protocols=["last"]), Trial("True", "orion")
    run.fit()
    trial.report(run.brain, run.sets[1], {})
    last = run.hparams["epoch_log"].history()[-1]
    assert trial.id == "words-1-7f"
    assert told == [1 - last["valid_accuracy"]]
