"""Teachers: what they hear, what they know, and the loss they add."""

import h5py
import numpy as np
import pytest
import torch

from audiomamba.dataio.scores import ScoreError, ScoreFile
from audiomamba.inference.export import write_model
from audiomamba.inference.exported.model_yaml import new_node
from audiomamba.lobes import AudioMamba, KaldiFbank, SpectrogramNorm
from audiomamba.lobes.clip_encoder import ClipEncoder
from audiomamba.nnet.classifier import LinearClassifier
from audiomamba.pretrained import CheckpointError
from audiomamba.pretrained.distillation import Distillation, Taught

LABELS = ["cat", "dog", "rain"]
MELS = 32
ENCODER = {
    "n_mels": MELS,
    "n_frames": 64,
    "embed_dim": 16,
    "depth": 1,
    "mask_padding": True,
}


def export(
    target, seed, n_frames=64, labels=LABELS, sample_rate=16000, **further
):
    """Write an exported model; return it as modules."""
    encoder = {**ENCODER, **further}
    torch.manual_seed(seed)
    fbank = {"n_mels": MELS, "n_frames": n_frames}
    norm = {"mean": -6.0, "std": 4.0}
    classifier = {"input_size": 16, "n_classes": len(labels)}
    modules = {
        "compute_features": KaldiFbank(**fbank),
        "mean_var_norm": SpectrogramNorm(**norm),
        "embedding_model": AudioMamba(**encoder),
        "classifier": LinearClassifier(**classifier),
    }
    names = {
        "compute_features": ("lobes.features.KaldiFbank", fbank),
        "mean_var_norm": ("lobes.normalization.SpectrogramNorm", norm),
        "embedding_model": ("lobes.audio_mamba.AudioMamba", encoder),
        "classifier": ("nnet.classifier.LinearClassifier", classifier),
    }
    write_model(
        target,
        {
            part: new_node(f"audiomamba.{name}", arguments)
            for part, (name, arguments) in names.items()
        },
        {
            "sample_rate": sample_rate,
            "max_duration": None,
            "remove_mean": True,
            "keep": "start",
            "activation": "softmax",
        },
        {
            name: modules[name].state_dict()
            for name in ("embedding_model", "classifier")
        },
        labels,
        title="A teacher",
        origin="A test.",
    )
    return torch.nn.ModuleDict(modules).eval()


@pytest.fixture(scope="module")
def teachers(tmp_path_factory):
    """Two exported teachers: folders, and their modules."""
    folder = tmp_path_factory.mktemp("teachers")
    return {
        folder / name: export(folder / name, seed)
        for seed, name in enumerate(("one", "two"))
    }


@pytest.fixture(scope="module")
def clip_encoder(teachers):
    """The student's way to features, which are those of the teachers."""
    (modules, *_) = teachers.values()
    return ClipEncoder(
        modules["compute_features"],
        modules["mean_var_norm"],
        modules["embedding_model"],
    )


@pytest.fixture
def heard(clip_encoder):
    """A batch whose last clip was mixed; its features are masked."""
    generator = torch.Generator().manual_seed(3)
    clips = 0.1 * torch.randn(3, 9000, generator=generator)
    wavs, lengths = clips.clone(), torch.tensor([1.0, 0.6, 0.8])
    wavs[2] += 0.1 * torch.randn(9000, generator=generator)

    def mask(feats, lengths):
        return feats.clone().index_fill_(2, torch.arange(5, 12), 0.0)

    feats, n_frames = clip_encoder.features(wavs, lengths, mask)
    return ["a", "b", "c"], clips, wavs, lengths, feats, n_frames


def prepared(clip_encoder, labels=LABELS, ids=("a", "b", "c"), **options):
    distillation = Distillation(**options)
    distillation.prepare(clip_encoder, labels, 16000, ids, "cpu")
    return distillation


def logits_of(modules, feats, lengths):
    emb = modules["embedding_model"](feats, lengths)
    return modules["classifier"](emb).squeeze(1)


def test_teachers_get_the_masked_features_and_are_averaged(
    teachers, clip_encoder, heard
):
    folders, (one, two) = list(teachers), teachers.values()
    feats, lengths = heard[-2:]
    taught = prepared(clip_encoder, teachers=folders, temperature=2.0).ask(
        *heard
    )
    expected = [
        (logits_of(modules, feats, lengths) / 2).softmax(-1)
        for modules in (one, two)
    ]
    torch.testing.assert_close(taught.probabilities, sum(expected) / 2)
    assert (expected[0] - expected[1]).abs().max() > 1e-3
    assert taught.known.tolist() == [1, 1, 1]
    assert not taught.probabilities.requires_grad


def test_a_teacher_with_other_features_hears_the_mixed_waveform(
    teachers, heard
):
    (folder, modules), *_ = teachers.items()
    ids, clips, wavs, lengths, _, _ = heard
    other = ClipEncoder(
        KaldiFbank(n_mels=MELS),
        SpectrogramNorm(mean=0.0, std=1.0),
        modules["embedding_model"],
    )
    feats, n_frames = other.features(wavs, lengths)
    taught = prepared(other, teachers=[folder]).ask(
        ids, clips, wavs, lengths, feats, n_frames
    )
    own, own_lengths = KaldiFbank(n_mels=MELS)(wavs, lengths)
    own = SpectrogramNorm(mean=-6.0, std=4.0)(own)
    expected = logits_of(modules, own, own_lengths).softmax(-1)
    torch.testing.assert_close(taught.probabilities, expected)
    wrong = logits_of(modules, feats, n_frames).softmax(-1)
    assert (wrong - expected).abs().max() > 1e-3


def test_the_loss_is_that_of_the_paper():
    torch.manual_seed(0)
    logits = torch.randn(4, 5, requires_grad=True)
    p = torch.randn(4, 5).softmax(-1)
    base = logits.square().mean()
    distillation = Distillation(["any"], weight=0.3)
    total = distillation(base, logits, Taught(p, torch.ones(4)))
    q = logits.softmax(-1)
    divergence = (p * (p.log() - q.log())).sum(-1)
    expected = 0.7 * base + 0.3 * divergence.mean()
    torch.testing.assert_close(total, expected)
    # clips without a score: only the loss of the labels
    known = torch.tensor([1.0, 0, 0, 1])
    total = distillation(base, logits, Taught(p, known))
    expected = 0.85 * base + 0.3 * (divergence[0] + divergence[3]) / 4
    torch.testing.assert_close(total, expected)


@pytest.fixture
def stored(tmp_path):
    scores = ScoreFile.create(tmp_path / "s.h5", ["c", "b", "a"], LABELS, "m")
    scores.write([0, 2], torch.tensor([[1.0, 2.0, 3.0], [0.5, 0.0, -0.5]]))
    return scores


def test_stored_scores_teach_the_clips_that_are_unchanged(
    stored, clip_encoder, heard
):
    stored.write([1], torch.zeros(1, 3))
    distillation = prepared(clip_encoder, scores=stored.path)
    taught = distillation.ask(*heard)
    assert taught.known.tolist() == [1, 1, 0]
    expected = torch.tensor([0.5, 0.0, -0.5]).softmax(-1)
    torch.testing.assert_close(taught.probabilities[0], expected)
    assert distillation.taught_share() == pytest.approx(2 / 3)


def test_scores_that_never_count_end_the_epoch(stored, clip_encoder, heard):
    stored.write([1], torch.zeros(1, 3))
    distillation = prepared(clip_encoder, scores=stored.path)
    ids, clips, wavs, *others = heard
    distillation.ask(ids, clips, wavs + 1, *others)
    with pytest.raises(ValueError, match="used for no clip"):
        distillation.taught_share()
    # what was heard before the run resumed is not known
    distillation.ask(ids, clips, wavs + 1, *others)
    assert distillation.taught_share(whole=False) == 0


def test_a_file_of_scores_says_what_it_lacks(stored, clip_encoder):
    assert stored.pending().tolist() == [1]
    with pytest.raises(CheckpointError, match="lacks .* 1 training.*'b'"):
        prepared(clip_encoder, scores=stored.path)
    stored.write([1], torch.zeros(1, 3))
    with pytest.raises(CheckpointError, match="class 0 is 'cat', not 'ant'"):
        prepared(clip_encoder, ["ant", "dog", "rain"], scores=stored.path)
    assert stored.read(["a", "c", "a"])[:, 0].tolist() == [0.5, 1.0, 0.5]


def test_bad_scores_are_refused(stored, tmp_path, clip_encoder):
    with pytest.raises(ScoreError, match="not finite"):
        stored.write([1], torch.tensor([[0.0, np.nan, 0.0]]))
    with pytest.raises(ScoreError, match="There is no"):
        prepared(clip_encoder, scores=tmp_path / "none.h5")
    (tmp_path / "text.h5").write_text("no HDF5")
    with pytest.raises(ScoreError, match="text.h5 is no whole file"):
        ScoreFile(tmp_path / "text.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = [1]
    with pytest.raises(ScoreError, match="other.h5 is no whole file"):
        ScoreFile(tmp_path / "other.h5")


@pytest.mark.parametrize(
    "options, message",
    [
        ({"weight": 0.0}, "weight is 0.0"),
        ({"weight": 1.5}, "weight is 1.5"),
        ({"temperature": 0.0}, "temperature is 0.0"),
        ({"temperature": float("inf")}, "temperature is inf"),
        ({"scores": "s.h5"}, "give one of the two"),
    ],
)
def test_arguments_without_meaning_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Distillation(**{"teachers": ["one"], **options})


def test_without_a_teacher_it_is_off():
    assert not Distillation()
    assert Distillation("one").teachers == ["one"]
    assert Distillation(["one"]) and Distillation(scores="s.h5")


def test_a_teacher_of_other_classes_is_refused(teachers, clip_encoder):
    folder = next(iter(teachers))
    for labels, difference in (
        (["dog", "cat", "rain"], "in another order"),
        (["cat", "dog"], "3 classes instead of 2"),
    ):
        with pytest.raises(CheckpointError, match=difference):
            prepared(clip_encoder, labels, teachers=[folder])


def test_a_teacher_of_another_rate_is_refused(tmp_path, clip_encoder):
    export(tmp_path / "t", 0, sample_rate=32000)
    with pytest.raises(CheckpointError, match="hears 32000 Hz"):
        prepared(clip_encoder, teachers=[tmp_path / "t"])


def publish(path):
    """Write weights as the authors' code does; return encoder and head."""
    torch.manual_seed(5)
    model = AudioMamba(n_frames=64, embed_dim=16, depth=1).eval()
    head = torch.nn.Linear(16, 3)
    state = {**model.state_dict(), **head.state_dict(prefix="head.")}
    torch.save(state, path)
    return model, head


@pytest.mark.parametrize("n_frames", [None, 100])
def test_a_published_checkpoint_hears_padding_of_a_fixed_length(
    n_frames, tmp_path
):
    model, head = publish(tmp_path / "official.pth")
    fbank = KaldiFbank(n_frames=n_frames)
    student = ClipEncoder(fbank, SpectrogramNorm(0.0, 1.0), model)
    wavs, lengths = torch.randn(2, 9000), torch.tensor([1.0, 0.5])
    feats, n = student.features(wavs, lengths)
    distillation = prepared(student, teachers=[tmp_path / "official.pth"])
    taught = distillation.ask(["a", "b"], wavs, wavs, lengths, feats, n)
    model.mask_padding = n_frames is None
    expected = head(model(feats, n)).squeeze(1).softmax(-1)
    torch.testing.assert_close(taught.probabilities, expected)


def test_a_teacher_that_hears_padding_keeps_its_own_number_of_frames(tmp_path):
    modules = export(tmp_path / "model", 1, n_frames=120, mask_padding=False)
    student = ClipEncoder(
        KaldiFbank(n_mels=MELS),
        modules["mean_var_norm"],
        modules["embedding_model"],
    )
    wavs, lengths = 0.1 * torch.randn(2, 9000), torch.tensor([1.0, 0.5])
    taught = prepared(student, teachers=[tmp_path / "model"]).ask(
        ["a", "b"], wavs, wavs, lengths, *student.features(wavs, lengths)
    )
    own = ClipEncoder(*list(modules.values())[:3])
    for row, wav, length in zip(taught.probabilities, wavs, (9000, 4500)):
        emb = own(wav[None, :length], torch.ones(1))
        expected = modules["classifier"](emb).flatten().softmax(-1)
        torch.testing.assert_close(row, expected)


def test_a_published_checkpoint_gets_the_students_features(
    tmp_path, clip_encoder
):
    model, head = publish(tmp_path / "official.pth")
    with pytest.raises(CheckpointError, match="2 classes|instead of 2"):
        prepared(clip_encoder, ["a", "b"], teachers=[tmp_path / "official.pth"])
    with pytest.raises(CheckpointError, match="features with 128 mel bins"):
        prepared(clip_encoder, teachers=[tmp_path / "official.pth"])
    student = ClipEncoder(KaldiFbank(), SpectrogramNorm(0.0, 1.0), model)
    wavs, lengths = torch.randn(1, 9000), torch.ones(1)
    feats, n_frames = student.features(wavs, lengths)
    taught = prepared(student, teachers=[tmp_path / "official.pth"]).ask(
        ["a"], wavs, wavs, lengths, feats, n_frames
    )
    expected = head(model(feats)).squeeze(1).softmax(-1)
    torch.testing.assert_close(taught.probabilities, expected)


def test_weights_without_a_classifier_cannot_teach(tmp_path, clip_encoder):
    model = AudioMamba(n_mels=MELS, n_frames=64, embed_dim=16, depth=1)
    torch.save(model.state_dict(), tmp_path / "encoder.pth")
    with pytest.raises(CheckpointError, match="no classifier"):
        prepared(clip_encoder, teachers=[tmp_path / "encoder.pth"])


def test_a_run_has_to_be_exported_to_teach(tmp_path, clip_encoder):
    (tmp_path / "save").mkdir()
    (tmp_path / "hyperparams.yaml").write_text("seed: 1")
    with pytest.raises(CheckpointError, match="export_pretrained.py"):
        prepared(clip_encoder, teachers=[tmp_path])
