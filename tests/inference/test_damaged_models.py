"""A damaged file of an exported model is one clear error, never wrong tags."""

import shutil

import pytest

from audiomamba.dataio.files import SUMS
from audiomamba.inference import AudioTagger
from audiomamba.pretrained import CheckpointError, read_class_names
from audiomamba.pretrained.teachers import Teacher
from audiomamba.pretrained.weights import LABEL_FILE, read_tensors

CPU = {"device": "cpu"}
pytestmark = pytest.mark.parametrize("run", [True], indirect=True)


@pytest.fixture
def model(run, tmp_path):
    return shutil.copytree(run.exported, tmp_path / "model")


def flip_bit(path, place):
    content = bytearray(path.read_bytes())
    content[round(place * (len(content) - 1))] ^= 1
    path.write_bytes(content)


def cut(path, place):
    content = path.read_bytes()
    path.write_bytes(content[: round(place * len(content))])


def lose_line(path, place):
    lines = path.read_bytes().splitlines(keepends=True)
    del lines[round(place * (len(lines) - 1))]
    path.write_bytes(b"".join(lines))


DAMAGES = [
    (name, damage, place)
    for name in (LABEL_FILE, "hyperparams.yaml", "classifier.ckpt")
    for damage in (flip_bit, cut, lose_line)
    for place in (0, 0.4, 0.9)
]


def test_no_damage_goes_unseen(model):
    for name, damage, place in DAMAGES:
        whole = (model / name).read_bytes()
        damage(model / name, place)
        with pytest.raises(CheckpointError) as error:
            AudioTagger.from_hparams(model, run_opts=CPU)
        assert str(model / name) in str(error.value)
        assert "download the model again" in str(error.value)
        (model / name).write_bytes(whole)
    AudioTagger.from_hparams(model, run_opts=CPU)


@pytest.mark.parametrize(
    "name", ["embedding_model.ckpt", "classifier.ckpt", LABEL_FILE]
)
def test_a_lost_file_is_named(name, model):
    (model / name).unlink()
    with pytest.raises(CheckpointError, match=name):
        AudioTagger.from_hparams(model, run_opts=CPU)


def test_damage_is_seen_by_fine_tuning_and_teaching(model):
    lose_line(model / LABEL_FILE, 0)
    flip_bit(model / "classifier.ckpt", 0.5)
    for read, name in (
        (read_class_names, LABEL_FILE),
        (read_tensors, "classifier.ckpt"),
        (Teacher, LABEL_FILE),
    ):
        with pytest.raises(CheckpointError, match=name):
            read(model)


def test_the_card_may_be_edited_and_files_may_be_added(model):
    (model / "README.md").write_text("My model.")
    (model / ".gitattributes").touch()
    AudioTagger.from_hparams(model, run_opts=CPU)


def test_a_change_that_is_meant_needs_its_line_deleted(model):
    path = model / "hyperparams.yaml"
    path.write_text(path.read_text().replace("mean: -6.0", "mean: -5.0"))
    with pytest.raises(CheckpointError, match="delete the file's line"):
        AudioTagger.from_hparams(model, run_opts=CPU)
    sums = (model / SUMS).read_text().splitlines(keepends=True)
    (model / SUMS).write_text("".join(x for x in sums if path.name not in x))
    tagger = AudioTagger.from_hparams(model, run_opts=CPU)
    assert tagger.mods.mean_var_norm.mean == -5.0
    lose_line(model / LABEL_FILE, 0)
    with pytest.raises(CheckpointError, match=LABEL_FILE):
        AudioTagger.from_hparams(model, run_opts=CPU)


@pytest.mark.parametrize(
    "name, damage, place, words",
    [
        (LABEL_FILE, lose_line, 0, "does not number its classes"),
        (LABEL_FILE, cut, 0, "label_encoder.ckpt is not a whole"),
        (LABEL_FILE, cut, 0.1, "label_encoder.ckpt is not a whole file"),
        ("classifier.ckpt", cut, 0.5, "classifier.ckpt is not a complete"),
        ("hyperparams.yaml", cut, 0.5, "hyperparams.yaml does not fit"),
        ("hyperparams.yaml", cut, 0.99, "hyperparams.yaml does not fit"),
    ],
)
def test_models_of_older_versions_load_and_their_labels_are_checked(
    name, damage, place, words, model
):
    (model / SUMS).unlink()
    AudioTagger.from_hparams(model, run_opts=CPU)
    damage(model / name, place)
    with pytest.raises(ValueError, match=words):
        AudioTagger.from_hparams(model, run_opts=CPU)


def test_labels_of_another_model_are_refused(model):
    (model / SUMS).unlink()
    path = model / LABEL_FILE
    path.write_text(path.read_text().replace("'noise' => 2\n", ""))
    with pytest.raises(ValueError, match="3 outputs, and there are 2"):
        AudioTagger.from_hparams(model, run_opts=CPU)
