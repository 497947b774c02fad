"""A classifier is loaded if the class names beside its weights match."""

import copy
import logging

import pytest
import torch
from speechbrain.dataio.encoder import CategoricalEncoder
from speechbrain.lobes.models.ECAPA_TDNN import Classifier

from audiomamba import AudioMamba
from audiomamba.nnet.frame_classifier import FrameClassifier
from audiomamba.pretrained import (
    CheckpointError,
    initialise,
    label_difference,
    read_class_names,
)
from audiomamba.pretrained.weights import LABEL_FILE, write_class_names


def write_names(folder, labels):
    """Write class names as in an exported folder and in a checkpoint."""
    encoder = CategoricalEncoder()
    encoder.update_from_iterable(labels)
    encoder.save(folder / LABEL_FILE)


@pytest.fixture
def model(tmp_path):
    """A folder with an encoder and a classifier of two classes."""
    encoder = AudioMamba(n_frames=32, embed_dim=16, depth=1)
    torch.save(encoder.state_dict(), tmp_path / "embedding_model.ckpt")
    head = torch.nn.Linear(16, 2)
    torch.save(head.state_dict(), tmp_path / "classifier.ckpt")
    return tmp_path, encoder, head


def test_names_are_read_from_a_folder_or_their_file(tmp_path):
    labels = ["dog", "it's", "a, b", '"quoted"', "café", "=" * 16, "a => b"]
    labels += ["'x' => 0", "two\nlines", "back\\slash => $y^2$", " "]
    write_class_names(tmp_path / LABEL_FILE, labels)
    assert read_class_names(tmp_path) == labels
    assert read_class_names(str(tmp_path / LABEL_FILE)) == labels


def test_other_checkpoints_have_no_names(tmp_path):
    assert read_class_names({"weight": torch.ones(1)}) is None
    assert read_class_names(tmp_path) is None
    (tmp_path / "weights.pth").touch()
    assert read_class_names(tmp_path / "weights.pth") is None


@pytest.mark.parametrize(
    "content",
    [
        "'dog' => 0\n'cat' => 2\n",
        "'dog' => 1\n'cat' => 2\n",
        "'dog' => 0\n'cat' => 0\n",
        "'dog' => 0\n'dog' => 1\n",
        "'dog' => zero\n",
        "'dog\n",
        "[] => 0\n",
        "__import__('os').mkdir('ran') => 0\n",
        "\x80",
    ],
)
def test_a_damaged_file_of_names_is_refused(content, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    end = f"{'=' * 16}\n'starting_index' => 0\n"
    (tmp_path / LABEL_FILE).write_bytes((content + end).encode("latin-1"))
    with pytest.raises(CheckpointError, match=LABEL_FILE):
        read_class_names(tmp_path)
    assert not (tmp_path / "ran").exists()


def test_names_are_read_from_a_hub_folders_config(tmp_path):
    config = tmp_path / "config.json"
    config.write_text('{"id2label": {"1": "b, c", "0": "Speech"}}')
    assert read_class_names(tmp_path) == ["Speech", "b, c"]
    config.write_text('{"id2label": {"0": "LABEL_0", "1": "LABEL_1"}}')
    assert read_class_names(tmp_path) is None
    config.write_text('{"num_classes": 2}')
    assert read_class_names(tmp_path) is None
    config.write_text('{"id2label": {"1": "b, c", "0": "Speech"}}')
    (tmp_path / "model.pth").touch()
    assert read_class_names(tmp_path / "model.pth") == ["Speech", "b, c"]
    # Names that this package has written come first.
    write_names(tmp_path, ["dog"])
    assert read_class_names(tmp_path) == ["dog"]


@pytest.mark.parametrize(
    "content",
    [
        '{"id2label": {"0": "a", "2": "b"}}',
        '{"id2label": ["a", "b"]}',
        '{"id2label": 2}',
        '{"id2label": {"0": "a"',
        "[1]",
        "[" * 100_000,
    ],
)
def test_a_damaged_config_is_refused(content, tmp_path):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(CheckpointError, match="config.json"):
        read_class_names(tmp_path)


@pytest.mark.parametrize(
    "known, difference",
    [
        (["cat", "dog"], None),
        (
            ["dog", "cat"],
            "the same 2 classes in another order: class 0 is 'dog', not 'cat'",
        ),
        (["cat", "cow"], "class 1 is 'cow', not 'dog'"),
        (["cat"], "1 classes instead of 2"),
    ],
)
def test_differences_are_described(known, difference):
    assert label_difference(known, ["cat", "dog"]) == difference


@pytest.mark.parametrize(
    "names, labels, logged",
    [
        (["cat", "dog"], ["cat", "dog"], "loaded: its class names are the"),
        (None, ["cat", "dog"], "loaded: its classes are taken to be"),
        (["cat", "dog"], None, "loaded: its class names are not compared"),
        (["cat", "dog"], ["ant", "bee"], "class 0 is 'cat', not 'ant'"),
        (["cat", "dog"], ["dog", "cat"], "another order: class 0 is 'cat'"),
        (["cat", "dog"], ["cat", "dog", "cow"], "2 classes instead of 3"),
        (None, ["cat", "dog", "cow"], "its shapes are"),
    ],
)
def test_the_classifier_is_loaded_if_the_names_match(
    names, labels, logged, model, caplog
):
    folder, encoder, head = model
    if names is not None:
        write_names(folder, names)
    target = AudioMamba(n_frames=32, embed_dim=16, depth=1)
    classifier = torch.nn.Linear(16, len(labels or names))
    before = classifier.weight.clone()
    with caplog.at_level(logging.INFO):
        loaded = initialise(target, classifier, folder, labels=labels)
    assert loaded is logged.startswith("loaded")
    wanted = head.weight if loaded else before
    assert torch.equal(classifier.weight, wanted)
    assert torch.equal(target.cls_token, encoder.cls_token)
    lines = [line for line in caplog.messages if ": classifier " in line]
    assert len(lines) == 1
    assert ("classifier loaded" in lines[0]) is loaded and logged in lines[0]


def test_a_classifier_with_other_parameters_is_not_loaded(model):
    """SpeechBrain's has a weight of the same shape and no bias."""
    folder, *_ = model
    target = AudioMamba(n_frames=32, embed_dim=16, depth=1)
    classifier = torch.nn.Linear(16, 2, bias=False)
    assert not initialise(target, classifier, folder)


@pytest.mark.parametrize(
    "head",
    [
        Classifier(16, out_neurons=2),
        FrameClassifier(16, 2, pooling="attention"),
    ],
    ids=["angular margin", "attention"],
)
def test_a_model_with_another_head_starts_a_run(head, model):
    folder, encoder, _ = model
    torch.save(head.state_dict(), folder / "classifier.ckpt")
    target = AudioMamba(n_frames=32, embed_dim=16, depth=1)
    assert not initialise(target, torch.nn.Linear(16, 2), folder)
    assert torch.equal(target.cls_token, encoder.cls_token)
    same = copy.deepcopy(head)
    for parameter in same.parameters():
        torch.nn.init.zeros_(parameter)
    assert initialise(target, same, folder)
    for name, value in head.state_dict().items():
        assert torch.equal(same.state_dict()[name], value)


def test_names_are_downloaded_from_the_hub(monkeypatch, model):
    folder, *_ = model
    write_names(folder, ["cat", "dog"])
    asked = {}

    def download(repository, allow_patterns):
        asked[repository] = allow_patterns
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert read_class_names("owner/name") == ["cat", "dog"]
    assert LABEL_FILE in asked["owner/name"]
