"""Metrics equal scikit-learn's, also with ties and empty classes."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import (
    average_precision_score,
    roc_auc_score,
    top_k_accuracy_score,
)

from audiomamba.dataio.problems import PreparationError
from audiomamba.pictures import confusion_picture
from audiomamba.training.losses import (
    binary_cross_entropy,
    classification_loss,
    cross_entropy,
)
from audiomamba.training.measures import (
    areas_under_curve,
    average_precisions,
    d_prime,
    top_k_accuracy,
)
from audiomamba.training.metrics import ClassificationMetrics


def collected(scores, targets, names, activation="sigmoid"):
    metrics = ClassificationMetrics(names, activation)
    half = len(scores) // 2
    for part in (slice(0, half), slice(half, None)):
        ids = [str(index) for index in range(len(scores))][part]
        logits = torch.from_numpy(scores[part])
        metrics.append(ids, logits, torch.from_numpy(targets[part]), 1.0)
    return metrics


@pytest.mark.parametrize("ties", [False, True])
def test_macro_metrics_equal_scikit_learn(ties):
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(60, 7))
    if ties:
        scores = scores.round()
    rows = (rng.random((60, 7)) < 0.2).astype(np.float32)
    names = ["mAP", "mAUC", "d_prime"]
    summary = collected(scores, rows, names).summarise()
    expected = average_precision_score(rows, scores, average="macro")
    area = roc_auc_score(rows, scores, average="macro")
    assert summary["mAP"] == pytest.approx(expected, abs=1e-6)
    assert summary["mAUC"] == pytest.approx(area, abs=1e-6)
    assert summary["d_prime"] == pytest.approx(d_prime(area), abs=1e-6)
    assert summary["n_classes_scored"] == 7


def test_classes_without_positives_are_left_out():
    rng = np.random.default_rng(1)
    scores = rng.normal(size=(30, 4))
    rows = (rng.random((30, 4)) < 0.5).astype(np.float32)
    rows[:, 1], rows[:, 2] = 0, 1
    summary = collected(scores, rows, ["mAP", "mAUC"]).summarise()
    with_positives, mixed = [0, 2, 3], [0, 3]
    assert summary["mAP"] == pytest.approx(
        average_precision_score(
            rows[:, with_positives], scores[:, with_positives]
        )
    )
    assert summary["mAUC"] == pytest.approx(
        roc_auc_score(rows[:, mixed], scores[:, mixed])
    )
    assert summary["n_classes_scored"] == 3
    assert np.isnan(average_precisions(scores, rows)[1])
    assert np.isnan(areas_under_curve(scores, rows)[[1, 2]]).all()


def test_accuracy_equals_scikit_learn():
    rng = np.random.default_rng(2)
    scores = rng.normal(size=(50, 9))
    targets = rng.integers(0, 9, 50)
    for k in (1, 5):
        expected = top_k_accuracy_score(
            targets, scores, k=k, labels=np.arange(9)
        )
        assert top_k_accuracy(scores, targets, k) == pytest.approx(expected)
    summary = collected(scores, targets, ["top5"], "softmax").summarise()
    assert set(summary) == {"top5", "loss"}


def test_top5_of_three_classes_is_always_1():
    assert top_k_accuracy(np.zeros((4, 3)), np.array([0, 1, 2, 2]), 5) == 1.0
    assert top_k_accuracy(np.zeros((4, 3)), np.array([0, 1, 2, 2]), 1) == 0.25


def test_loss_is_weighted_by_clips():
    metrics = ClassificationMetrics(["accuracy"])
    targets = torch.tensor([0, 0, 0])
    metrics.append(["a", "b", "c"], torch.zeros(3, 2), targets, 1.0)
    metrics.append(["d"], torch.zeros(1, 2), targets[:1], 5.0)
    assert metrics.summarise()["loss"] == 2.0


def test_accuracy_needs_one_label_per_clip():
    scores = np.eye(3)
    assert (
        collected(scores, np.eye(3), ["accuracy"]).summarise()["accuracy"]
        == 1.0
    )
    with pytest.raises(ValueError, match="one label per clip"):
        collected(scores, np.ones((3, 3)), ["accuracy"]).summarise()


def test_scores_that_are_not_finite_are_named():
    scores = np.zeros((4, 3))
    scores[2, 1] = np.nan
    with pytest.raises(ValueError, match="the first is '2'"):
        collected(scores, np.zeros(4, int), ["accuracy"]).summarise()


def test_empty_split_and_wrong_names_are_refused():
    with pytest.raises(ValueError, match="empty"):
        ClassificationMetrics(["accuracy"]).summarise()
    with pytest.raises(ValueError, match="top5"):
        ClassificationMetrics(["precision"])
    with pytest.raises(ValueError, match="softmax"):
        ClassificationMetrics(["mAP"], "relu")


def test_d_prime_of_a_perfect_area_is_infinite():
    assert d_prime(1.0) == math.inf
    assert d_prime(0.0) == -math.inf
    assert d_prime(0.9) == pytest.approx(1.8123, abs=1e-4)


def test_the_table_of_classes_and_the_confusion_matrix_are_written(tmp_path):
    pytest.importorskip("matplotlib")
    targets = np.array([0, 1, 1, 2])
    scores = np.eye(4)[[0, 1, 2, 2]]
    metrics = collected(scores, targets, ["accuracy"], "softmax")
    table = metrics.class_table(["a", "b", "c", "never"])
    assert table["clips"].tolist() == [1, 2, 1, 0]
    assert table["recall"].tolist()[:3] == [1.0, 0.5, 1.0]
    assert table["precision"].tolist()[:3] == [1.0, 1.0, 0.5]
    assert np.isnan(table["recall"][3])
    picture = tmp_path / "confusion.png"
    assert metrics.plot_confusion(list("abcd"), picture)
    assert picture.read_bytes()[:4] == b"\x89PNG"
    several = collected(np.eye(2), np.ones((2, 2)), ["mAP"])
    assert not several.plot_confusion(["a", "b"], tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


NAMES = ["$x^{$", r"\frac{", "a_b^c", "日本", "x" * 80]


def test_names_are_text_in_pictures(tmp_path):
    pytest.importorskip("matplotlib")
    metrics = collected(np.eye(5), np.arange(5), ["accuracy"], "softmax")
    metrics.write_reports(tmp_path, NAMES)
    assert (tmp_path / "confusion.png").exists()
    table = pd.read_csv(tmp_path / "classes.csv")
    assert table["label"].tolist() == NAMES


def drawn(tmp_path, monkeypatch, n_classes, names=None):
    """Draw a matrix without clips of the last class; return its figure."""
    figure = pytest.importorskip("matplotlib.figure").Figure
    figures, init = [], figure.__init__

    def remember(self, *arguments, **options):
        init(self, *arguments, **options)
        figures.append(self)

    monkeypatch.setattr(figure, "__init__", remember)
    targets = np.arange(n_classes - 1).repeat(3)
    found = targets.copy()
    found[0] = 1
    names = names or [f"class of number {n}" for n in range(n_classes)]
    path = tmp_path / "confusion.png"
    confusion_picture(path, targets, found, names, "accuracy 90 %, 9 clips")
    return figures[0]


@pytest.mark.parametrize("n_classes", [3, 60, 61, 527])
def test_a_confusion_matrix_can_be_read(tmp_path, monkeypatch, n_classes):
    figure = drawn(tmp_path, monkeypatch, n_classes)
    matrix, bar = figure.axes
    assert "accuracy 90 %, 9 clips" in matrix.get_title("left")
    assert f"1 of {n_classes} classes without" in matrix.get_title("left")
    box, beside = (axes.get_window_extent() for axes in (matrix, bar))
    assert (box.y0, box.y1) == (beside.y0, beside.y1)
    names = [text.get_text() for text in matrix.get_yticklabels()]
    if n_classes <= 200:
        assert names[0] == "class of number 0 (3)"
        assert names[-1].endswith("(no clips)")
        heights = [
            t.get_window_extent().height for t in matrix.get_yticklabels()
        ]
        assert n_classes * max(heights) <= box.height
    else:
        assert matrix.get_ylabel() == "index of class"
    numbers = [text.get_text() for text in matrix.texts]
    assert numbers[:2] == (["67", "33"] if n_classes <= 60 else [])


def test_names_that_no_font_has_are_numbered(tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO")
    names = ["dog", "\U0010fffd", "cat"]
    matrix = drawn(tmp_path, monkeypatch, 3, names).axes[0]
    shown = [text.get_text() for text in matrix.get_xticklabels()]
    assert shown == ["dog", "class 1", "cat"]
    assert "no installed font has" in caplog.text


def test_a_picture_that_cannot_be_drawn_does_not_stop_a_run(
    tmp_path, monkeypatch
):
    def fail(*arguments):
        raise ValueError("no picture today")

    monkeypatch.setattr("audiomamba.training.metrics.confusion_picture", fail)
    metrics = collected(np.eye(2), np.arange(2), ["accuracy"], "softmax")
    metrics.write_reports(tmp_path, ["a", "b"])
    assert (tmp_path / "classes.csv").exists()


def test_scores_of_every_clip_are_written_before_pictures(
    tmp_path, monkeypatch
):
    def fail(*arguments):
        assert (tmp_path / "scores.csv").exists()
        raise ValueError("no picture today")

    monkeypatch.setattr("audiomamba.training.metrics.confusion_picture", fail)
    metrics = ClassificationMetrics(test_scores="csv")
    ids = ["b", 'ID, "a"', "=1+1"]
    logits = torch.log(torch.tensor([[0.1, 0.2, 0.7]] * 3))
    metrics.append(ids, logits, torch.tensor([2, 0, 1]), 1.0)
    names = ["ID", 'a "b", $c', "x\ny"]
    metrics.write_reports(tmp_path, names)
    table = pd.read_csv(tmp_path / "scores.csv")
    assert list(table) == ["ID", "target", *(f"score:{n}" for n in names)]
    assert table["ID"].tolist() == sorted(ids)
    targets = dict(zip(table["ID"], table["target"]))
    assert targets == dict(zip(ids, ["x\ny", "ID", 'a "b", $c']))
    np.testing.assert_allclose(table.iloc[:, 2:], [[0.1, 0.2, 0.7]] * 3)


def test_scores_as_parquet_are_those_of_the_csv(tmp_path):
    pytest.importorskip("pyarrow")
    for form in ("csv", "parquet"):
        metrics = ClassificationMetrics(multi_label=True, test_scores=form)
        rows = torch.tensor([[1.0, 1.0], [0.0, 0.0]])
        metrics.append(["a", "b"], torch.zeros(2, 2), rows, 1.0)
        metrics.write_reports(tmp_path, ["dog", "rain"])
    table = pd.read_parquet(tmp_path / "scores.parquet")
    assert table["target"].tolist() == ["dog;rain", ""]
    same = pd.read_csv(tmp_path / "scores.csv", keep_default_na=False)
    pd.testing.assert_frame_equal(table, same, check_dtype=False)


def test_a_format_of_scores_is_checked_before_training(monkeypatch):
    with pytest.raises(PreparationError, match="'xlsx'.*csv or parquet"):
        ClassificationMetrics(test_scores="xlsx")
    monkeypatch.setattr("audiomamba.dataio.tables.find_spec", lambda name: None)
    with pytest.raises(PreparationError, match="pip install.*choose csv"):
        ClassificationMetrics(test_scores="parquet")


def test_one_switch_sets_names_activation_and_loss():
    rows = torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    logits = torch.tensor([[4.0, 3.0, -3.0], [-5.0, -4.0, 2.0]])
    metrics = ClassificationMetrics(multi_label=True)
    metrics.append(["a", "b"], logits, rows, 1.0)
    assert metrics.headline == "mAP" and metrics.summarise()["mAP"] == 1.0
    assert metrics.arrays()[1] == pytest.approx(logits.sigmoid().numpy())
    single = ClassificationMetrics()
    assert single.names == ["accuracy", "top5"]
    assert single.activation == "softmax"
    for multi_label, loss in (
        (True, binary_cross_entropy),
        (False, cross_entropy),
    ):
        found = classification_loss(logits, rows, multi_label)
        assert found == loss(logits, rows)
