"""One list of clips is cut into folds that keep groups and classes."""

import pandas as pd
import pytest

from audiomamba.dataio.corpora.folds import Folds, with_folds
from audiomamba.dataio.problems import PreparationError


def clips(n=60, **columns):
    """Clips of three classes, the last of them rare."""
    labels = ["dog", "dog", "cat", "cat", "cat", "rain"]
    table = pd.DataFrame({"ID": [f"{i:02}" for i in range(n)]})
    table["wav"] = table["ID"] + ".wav"
    table["label"] = [labels[i % 6] for i in range(n)]
    return table.assign(**columns)


def test_every_clip_is_tested_once_and_validated_once():
    rows = clips()
    tested, validated = [], []
    for fold in range(1, 6):
        found = with_folds("a.csv", rows, Folds(fold))
        splits = found.groupby("split")["ID"].apply(list)
        tested += splits["test"]
        validated += splits["valid"]
        assert len(splits["train"]) == 36
        shares = found.groupby("split")["label"].value_counts().unstack()
        # about a fifth of each class, of the rare one too
        assert (shares.loc["test"] - [6, 4, 2]).abs().max() <= 1
    assert sorted(tested) == sorted(validated) == rows["ID"].tolist()


@pytest.mark.parametrize("of_wavs", [False, True])
def test_groups_and_parts_of_a_file_stay_together(of_wavs):
    groups = [str(i // 4) for i in range(60)]
    rows = clips(**{"wav" if of_wavs else "group": groups})
    found = with_folds("a.csv", rows, Folds(1))
    assert (found.groupby(groups)["fold"].nunique() == 1).all()


def test_folds_follow_from_the_seed_and_not_from_the_order_of_rows():
    rows = clips()
    first = with_folds("a.csv", rows, Folds(1))
    turned = with_folds("a.csv", rows[::-1].reset_index(drop=True), Folds(1))
    by_id = turned.set_index("ID")["fold"]
    assert by_id[first["ID"]].tolist() == first["fold"].tolist()
    other = with_folds("a.csv", rows, Folds(1, seed=2))
    assert other["fold"].tolist() != first["fold"].tolist()


def test_the_users_folds_count_more_than_ours():
    rows = clips(fold=[str(i // 6 % 4) for i in range(60)], group="all")
    found = with_folds("a.csv", rows, Folds(3, n_folds=9))
    assert set(found["fold"][found["split"] == "test"]) == {3}
    assert set(found["fold"][found["split"] == "valid"]) == {0}


@pytest.mark.parametrize(
    "columns, folds, complaint",
    [
        ({}, Folds(6), "no fold 6; choose from 1, 2, 3, 4, 5"),
        ({}, Folds(1, n_folds=2), "n_folds is 2; give 3 or more"),
        ({"fold": "a"}, Folds("a"), r"\['a'\] only; give 3 or more"),
        ({"fold": "../a"}, Folds(1), "'../a' is no name of a fold"),
        ({"group": "g"}, Folds(1), "1 groups or files are too few for 5"),
        (
            {"label": ["dog"] * 58 + ["owl", "owl"]},
            Folds(1),
            r"a.csv: 1 classes are in fewer than 3 folds.*'owl' \(in [12]\)",
        ),
    ],
)
def test_what_cannot_be_cut_is_refused(columns, folds, complaint):
    with pytest.raises(PreparationError, match=complaint):
        with_folds("a.csv", clips(**columns), folds)


def test_of_several_labels_the_rare_one_is_spread():
    labels = ["dog;owl" if i % 10 == 0 else "dog;cat" for i in range(60)]
    found = with_folds("a.csv", clips(label=labels), Folds(1))
    owls = found[found["label"] == "dog;owl"]
    assert owls["fold"].nunique() == 5
