"""What a run starts from, and command lines that say what is wrong."""

import pytest
import torch

from audiomamba import AudioMamba
from audiomamba.dataio.problems import PreparationError
from audiomamba.lobes.weights import CheckpointError
from audiomamba.nnet.classifier import LinearClassifier
from audiomamba.training.checkpoints import AtomicCheckpointer
from audiomamba.training.hparams import load_hparams
from audiomamba.training.initial import load_initial_weights
from audiomamba.training.session import parse_arguments


@pytest.fixture
def hparams(tmp_path):
    """A run of 3 classes that starts from weights for 2."""
    encoder = AudioMamba(n_frames=32, embed_dim=16, depth=1)
    state = {k: v + 1 for k, v in encoder.state_dict().items()}
    state.update({"head.weight": torch.ones(2, 16), "head.bias": torch.ones(2)})
    torch.save(state, tmp_path / "given.pth")
    return {
        "init_from": str(tmp_path / "given.pth"),
        "n_classes": 3,
        "embedding_model": encoder,
        "classifier": LinearClassifier(16, 3),
        "checkpointer": AtomicCheckpointer(
            tmp_path / "save", {"encoder": encoder}
        ),
    }


def test_training_begins_with_the_encoder_alone(hparams):
    before = hparams["embedding_model"].cls_token.clone()
    load_initial_weights(hparams, {"test_only": False})
    after = hparams["embedding_model"].cls_token
    assert torch.equal(after, before + 1)


def test_nobody_tests_a_head_of_chance(hparams):
    with pytest.raises(CheckpointError, match="no classifier for the 3"):
        load_initial_weights(hparams, {"test_only": True})


def test_what_was_trained_from_them_is_tested(hparams):
    hparams["checkpointer"].save_checkpoint()
    load_initial_weights(hparams, {"test_only": True})


@pytest.mark.parametrize("form", [["=model"], ["", "model"]])
def test_a_pretrained_folder_is_what_a_run_starts_from(form):
    flag = f"--pretrained_folder{form[0]}"
    found = parse_arguments(["a.yaml", flag, *form[1:], "--seed", "2"])
    assert found[0] == "a.yaml"
    assert set(found[2].split("\n")) == {"init_from: model", "seed: 2"}


def test_an_unknown_key_is_named_with_its_likely_meaning(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("data_folder: x\nseed: 1\n")
    with pytest.raises(PreparationError, match="meant: data_folder"):
        load_hparams(str(path), "data_foler: y")
    with pytest.raises(PreparationError, match="it has .*data_folder.*seed"):
        load_hparams(str(path), {"zzz": 1})


def test_a_missing_yaml_names_those_that_are_there(tmp_path):
    (tmp_path / "aum_tiny.yaml").touch()
    with pytest.raises(PreparationError, match=r"are .*aum_tiny\.yaml"):
        load_hparams(str(tmp_path / "aum_base.yaml"))
    with pytest.raises(PreparationError, match="is no YAML"):
        load_hparams(str(tmp_path / "nowhere" / "aum_base.yaml"))
