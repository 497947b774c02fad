"""Given weights on every fold of ESC-50, without training."""

import pytest

TINY = {
    "embed_dim": 32,
    "depth": 1,
    "batch_size": 8,
    "num_workers": 0,
    "n_frames": 96,
    "max_duration": 1.0,
}


def test_given_weights_are_tested_on_every_fold(
    make_corpus, run_recipe, read_results, tmp_path
):
    """Once ended in a KeyError: without training there is no curve."""
    corpus = make_corpus("ESC50", n_clips=1, seconds=1.0).folder

    def start(script, folder, *flags, **overrides):
        run_recipe(
            "ESC50",
            "hparams/aum_tiny.yaml",
            *flags,
            script=script,
            **TINY,
            data_folder=corpus,
            output_folder=tmp_path / folder,
            **overrides,
        )
        return read_results(tmp_path / folder)

    start("train.py", "fold1", fold=1, number_of_epochs=1)
    given = next((tmp_path / "fold1" / "save").glob("CKPT*"))
    folds = ("--folds", 1, 3, "--test_only")
    record = start("run_folds.py", "given", *folds, init_from=given)
    each = [read_results(tmp_path / "given" / f"fold{fold}") for fold in (1, 3)]
    accuracies = [fold["metric"]["value"] for fold in each]
    assert record["metric"]["value"] == pytest.approx(sum(accuracies) / 2)
    assert record["protocols"]["init_from"]["folds"] == {
        str(fold): value for fold, value in zip((1, 3), accuracies)
    }
    assert record["dataset"] == "ESC50"
