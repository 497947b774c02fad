"""Exported models reproduce the scores of the run's evaluation."""

import json
import re
import shutil

import pytest
import torch
from huggingface_hub import ModelCard
from speechbrain.inference.classifiers import EncoderClassifier
from speechbrain.inference.speaker import SpeakerRecognition
from speechbrain.utils.data_utils import batch_pad_right

from audiomamba.dataio.files import write_json
from audiomamba.dataio.manifest import inputs_key, write_labels
from audiomamba.inference import AudioTagger, export_run
from audiomamba.inference import SpeakerRecognition as OurSpeakerRecognition
from audiomamba.inference.embeddings import find_weights
from audiomamba.inference.export import ExportError
from audiomamba.inference.exported.classifier import read_recipe
from audiomamba.inference.exported.folder import new_folder
from audiomamba.pretrained.weights import read_tensors as read_weights
from audiomamba.pretrained.weights import write_class_names

from .conftest import LABELS

CPU = {"device": "cpu"}


def test_the_tagger_reproduces_the_scores(run):
    tagger = AudioTagger.from_hparams(run.exported, run_opts=CPU)
    torch.testing.assert_close(
        tagger.score_batch(run.paths), run.scores, atol=1e-5, rtol=0
    )
    assert tagger.labels == LABELS


def speechbrain(run, interface=EncoderClassifier):
    return interface.from_hparams(str(run.exported), run_opts=CPU)


def padded(waves):
    """Pad waveforms; lengths as SpeechBrain's batches have them."""
    return batch_pad_right([wave.float() for wave in waves])


def random_waves(count, seed):
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.randint(300, 9000, (count,), generator=generator).tolist()
    return [0.1 * torch.randn(size, generator=generator) for size in sizes]


def test_speechbrains_classifier_reproduces_the_scores(run):
    classifier = speechbrain(run)
    for path, scores in zip(run.paths, run.scores):
        posteriors, score, index, names = classifier.classify_file(str(path))
        torch.testing.assert_close(
            posteriors[0].exp(), scores, atol=1e-5, rtol=0
        )
        assert names == [LABELS[scores.argmax()]]
        assert score.exp() == pytest.approx(scores.max().item(), abs=1e-5)


def test_speechbrains_classifier_gives_a_clip_the_same_in_any_batch(run):
    classifier = speechbrain(run)
    tagger = AudioTagger.from_hparams(run.exported, run_opts=CPU)
    for seed in range(5):
        waves = random_waves(8, seed)
        wavs, lengths = padded(waves)
        found = [classifier.classify_batch(wavs, lengths)[0]]
        found.append(classifier.encode_batch(wavs, lengths).squeeze(1))
        for row, wave in enumerate(waves):
            alone = [classifier.classify_batch(wave)[0]]
            alone.append(classifier.encode_batch(wave).squeeze(1))
            for together, wanted in zip(found, alone):
                torch.testing.assert_close(
                    together[row], wanted[0], atol=1e-5, rtol=0
                )
        torch.testing.assert_close(
            found[0].exp(), tagger(wavs, lengths), atol=1e-5, rtol=0
        )


def test_speechbrains_speaker_recognition_compares_our_embeddings(run):
    verifier = speechbrain(run, SpeakerRecognition)
    tagger = AudioTagger.from_hparams(run.exported, run_opts=CPU)
    first, second = run.paths[:2]
    score, _ = verifier.verify_files(str(first), str(second))
    wanted = torch.cosine_similarity(*tagger.embed_batch([first, second]), 0)
    torch.testing.assert_close(score[0], wanted, atol=1e-5, rtol=0)


def test_speaker_recognition_gives_a_pair_the_same_score_in_any_batch(run):
    verifier = speechbrain(run, SpeakerRecognition)
    first, second = random_waves(12, seed=1), random_waves(12, seed=2)
    (wavs1, lengths1), (wavs2, lengths2) = padded(first), padded(second)
    scores, _ = verifier.verify_batch(wavs1, wavs2, lengths1, lengths2)
    alone = [verifier.verify_batch(*pair)[0] for pair in zip(first, second)]
    torch.testing.assert_close(scores, torch.cat(alone), atol=1e-5, rtol=0)


def write_verification(folder, threshold, weights):
    """Write what verify.py records."""
    record = {
        "weights_key": inputs_key({}, [weights]),
        "metric": {"split": "mine"},
        "trials": {"mine": {"cosine": {"EER_threshold": threshold}}},
    }
    write_json(folder / "verification" / "results.json", record)


def test_the_threshold_of_equal_errors_travels_with_the_model(
    run, tmp_path, caplog
):
    folder = shutil.copytree(run.folder, tmp_path / "run")
    weights = find_weights(folder).path
    files = [str(path) for path in run.paths[:2]]
    score = SpeakerRecognition.from_hparams(
        str(run.exported), run_opts=CPU
    ).verify_files(*files)[0]
    for name, threshold in (("below", score - 0.01), ("above", score + 0.01)):
        write_verification(folder, threshold.item(), weights)
        exported = export_run(folder, tmp_path / name, centred=False)
        verifier = OurSpeakerRecognition.from_hparams(exported, run_opts=CPU)
        assert verifier.verify_files(*files)[1].item() == (name == "below")
        assert "decides with this model" in (exported / "README.md").read_text()
    assert verifier.verify_batch(*random_waves(2, 0), threshold=-1)[1].item()
    write_verification(folder, 0.5, folder / "results.json")
    exported = export_run(folder, tmp_path / "other", centred=False)
    assert "is of other weights" in caplog.text
    verifier = OurSpeakerRecognition.from_hparams(exported, run_opts=CPU)
    with pytest.raises(ValueError, match="no threshold: give one, or"):
        verifier.verify_files(*files)


def test_embeddings_are_centred_with_the_mean_of_the_training_clips(run):
    classifier = speechbrain(run)
    tagger = AudioTagger.from_hparams(run.exported, run_opts=CPU)
    mean = tagger.embed_batch(run.paths).mean(0)
    (wave,) = random_waves(1, seed=0)
    centred = classifier.encode_batch(wave, normalize=True)
    torch.testing.assert_close(
        centred[0, 0], classifier.encode_batch(wave)[0, 0] - mean
    )


def test_without_the_training_clips_the_mean_is_not_made_up(
    run, tmp_path, caplog
):
    folder = shutil.copytree(run.folder, tmp_path / "run")
    recipe = folder / "hyperparams.yaml"
    text = re.sub("data_folder: .*", "data_folder: gone", recipe.read_text())
    recipe.write_text(text)
    exported = export_run(folder, tmp_path / "target")
    assert "gone" in caplog.text and "normalize=True" in caplog.text
    classifier = EncoderClassifier.from_hparams(str(exported), run_opts=CPU)
    with pytest.raises(ValueError, match="Leave out normalize"):
        classifier.encode_batch(torch.zeros(8000), normalize=True)


def test_nothing_is_left_in_the_working_folder(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    speechbrain(run).classify_file(str(run.paths[0]))
    assert not list(tmp_path.iterdir())


def test_an_exported_folder_can_initialise_a_model(run):
    state, _ = read_weights(run.exported)
    assert state["head.weight"].shape == (3, 16)
    assert state["patch_embed.proj.weight"].shape == (16, 1, 8, 10)


def test_card_and_record_are_exported_without_the_local_folder(run):
    record = json.loads((run.exported / "results.json").read_text())
    card = (run.exported / "README.md").read_text()
    assert "folder" not in record
    assert record["command"] in card and "library_name: speechbrain" in card
    assert f"| accuracy | {record['metrics']['accuracy']:.4g} |" in card


def test_the_hub_reads_licence_data_and_results_from_the_card(run, tmp_path):
    target = export_run(
        run.folder, tmp_path / "m", centred=False, licence="cc-by-4.0"
    )
    data = ModelCard.load(target / "README.md").data
    record = json.loads((target / "results.json").read_text())
    assert data.license == "cc-by-4.0" and data.datasets == ["Tones"]
    found = {r.metric_type: r.metric_value for r in data.eval_results}
    assert found["accuracy"] == record["metrics"]["accuracy"]
    assert {r.dataset_split for r in data.eval_results} == {"test"}
    card = (target / "README.md").read_text()
    assert "| data | Tones (" in card and "| licence | cc-by-4.0 |" in card
    assert ModelCard.load(run.exported / "README.md").data.license == "unknown"


def test_a_moved_run_finds_its_labels(run, tmp_path):
    moved = shutil.copytree(run.folder, tmp_path / "moved")
    exported = export_run(moved, tmp_path / "target")
    assert AudioTagger.from_hparams(exported, run_opts=CPU).labels == LABELS


@pytest.mark.parametrize("name", ["hyperparams.yaml", "results.json", "save"])
def test_an_unfinished_run_is_refused(run, tmp_path, name):
    folder = shutil.copytree(run.folder, tmp_path / "run")
    part = folder / name
    shutil.rmtree(part) if part.is_dir() else part.unlink()
    with pytest.raises(ExportError, match=f"no {name}"):
        export_run(folder, tmp_path / "target")


def test_results_of_another_epoch_are_refused(run, tmp_path):
    folder = shutil.copytree(run.folder, tmp_path / "run")
    record = json.loads((folder / "results.json").read_text())
    record["epoch"] = 77
    (folder / "results.json").write_text(json.dumps(record))
    with pytest.raises(ExportError, match="epoch 77.*train.py again"):
        export_run(folder, tmp_path / "target")


@pytest.mark.parametrize(
    "names, difference",
    [
        (["one", "two"], "3 classes instead of 2"),
        (LABELS[::-1], "the same 3 classes in another order"),
    ],
)
def test_other_labels_are_refused_and_leave_no_files(
    run, tmp_path, names, difference
):
    labels = tmp_path / "labels.csv"
    write_labels(labels, names)
    with pytest.raises(ExportError, match=difference):
        export_run(run.folder, tmp_path / "target", labels)
    assert list(tmp_path.iterdir()) == [labels]


def test_a_run_without_class_names_needs_a_label_file(run, tmp_path):
    """Checkpoints of the first version have none."""
    folder = shutil.copytree(run.folder, tmp_path / "run")
    for name in ("label_encoder.ckpt", "SHA256SUMS"):
        for path in folder.glob(f"save/*/{name}"):
            path.unlink()
    with pytest.raises(ExportError, match="no class names.*--labels"):
        export_run(folder, tmp_path / "target")
    labels = tmp_path / "labels.csv"
    write_labels(labels, LABELS)
    exported = export_run(folder, tmp_path / "target", labels)
    assert AudioTagger.from_hparams(exported, run_opts=CPU).labels == LABELS


def test_what_is_read_back_differently_is_no_export(run, tmp_path, monkeypatch):
    def write_others(path, labels):
        write_class_names(path, labels[::-1])

    monkeypatch.setattr(
        "audiomamba.inference.exported.classifier.write_class_names",
        write_others,
    )
    with pytest.raises(ExportError, match="labels is .* read back"):
        export_run(run.folder, tmp_path / "target")
    assert not list(tmp_path.iterdir())


def test_an_existing_target_is_kept(run, tmp_path):
    target = tmp_path / "target"
    target.mkdir()
    (target / "mine.txt").write_text("mine")
    with pytest.raises(ExportError, match="exists"):
        export_run(run.folder, target)
    assert (target / "mine.txt").read_text() == "mine"


def test_the_working_folder_is_a_target(tmp_path, monkeypatch):
    (tmp_path / "model").mkdir()
    monkeypatch.chdir(tmp_path / "model")
    with new_folder(".") as draft:
        (draft / "README.md").write_text("A model.")
    assert (tmp_path / "model" / "README.md").is_file()


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="export_pretrained"):
        AudioTagger.from_hparams(tmp_path)


def test_statistics_that_no_checkpoint_holds_are_refused(run, tmp_path):
    folder = shutil.copytree(run.folder, tmp_path / "run")
    recipe = folder / "hyperparams.yaml"
    text = recipe.read_text()
    norm = "audiomamba.lobes.normalization.SpectrogramNorm\n"
    start = text.index(norm)
    stop = text.index("embedding_model:", start)
    norm = "speechbrain.processing.features.InputNormalization {}\n"
    recipe.write_text(text[:start] + norm + text[stop:])
    with pytest.raises(ExportError, match="norm_type is global.*sentence"):
        AudioTagger.from_hparams(folder, run_opts=CPU)
    assert list(tmp_path.iterdir()) == [folder]


def test_the_recipes_way_to_read_clips_is_recorded():
    text = (
        "compute_features: !new:audiomamba.lobes.features.{features} {{}}\n"
        "mean_var_norm: {{}}\nembedding_model: {{}}\nclassifier: {{}}\n"
        "sample_rate: 24000\nmetrics: {{activation: softmax}}\n{more}"
    )
    found = [
        read_recipe(text.format(features=features, more=more), "a.yaml")[1]
        for features, more in (
            ("KaldiFbank", ""),
            ("LogMelSpectrogram", "max_duration: 10.0"),
            ("LogMelSpectrogram", "remove_mean: True"),
        )
    ]
    assert [entry["remove_mean"] for entry in found] == [True, False, True]
    assert [entry["keep"] for entry in found] == ["start", "centre", "centre"]
    assert [entry["max_duration"] for entry in found] == [None, 10.0, None]
