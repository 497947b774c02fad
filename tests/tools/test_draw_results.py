"""Pictures of the small tables, from records."""

import pandas as pd
import pytest

from .test_collect_results import nested, save, verified


def test_curves_of_folds_and_of_a_single_run():
    from draw_results import curves_of

    one = [{"epoch": 1, "test_accuracy": 0.5}, {"test_accuracy": 0.75}]
    assert curves_of({"curve": one}) == [[50, 75]]
    assert curves_of({"curves": {"1": one, "2": one[::-1]}}) == [
        [50, 75],
        [75, 50],
    ]
    trained = verified()["training"] | {"curve": [{"train_loss": 1.0}]}
    assert curves_of(verified(training=trained)) == []


def test_rows_that_were_run_have_bars_and_curves(tmp_path):
    from draw_results import panels_of
    from result_tables.records import describe

    options = "subset=esc10 embed_dim=96 batch_size=8 number_of_epochs=10"
    command = "python run_folds.py x.yaml --" + options.replace(" ", " --")
    record = nested(
        dataset="ESC10",
        hparams_file="hparams/ast_tiny.yaml",
        n_classes=10,
        clips={"test": 80},
        command=command,
        metric__std=0.04,
        curves={"1": [{"test_accuracy": 0.5}], "2": [{"test_accuracy": 0.6}]},
    )
    save(tmp_path / "r.json", record)
    table = pd.DataFrame([describe(record, "r.json")])
    curves, scores = panels_of(table, tmp_path)
    assert scores == {"ESC-10": {"AST, 3 layers": (91, 4)}}
    (runs,) = curves["ESC-10: test"].values()
    assert runs == [[50], [60]]


@pytest.mark.parametrize("target", ["b", "c"])
def test_a_confusion_matrix_is_drawn_of_known_classes(target, tmp_path):
    from draw_results import draw_confusion

    scores = tmp_path / "scores.csv"
    scores.write_text(
        f"ID,target,score:a,score:b\n1,a,0.9,0.1\n2,{target},1,0\n"
    )
    if target == "c":
        with pytest.raises(ValueError, match="c"):
            draw_confusion(scores, tmp_path / "c.png")
        return
    draw_confusion(scores, tmp_path / "c.png")
    assert (tmp_path / "c.png").stat().st_size > 1000


@pytest.mark.parametrize("scores", ["mine=scores.csv", "esc10", "esc10="])
def test_a_confusion_matrix_has_a_name_and_a_file(scores, capsys):
    from draw_results import main

    with pytest.raises(SystemExit):
        main(["--scores", scores])
    assert "names are ['esc10'" in capsys.readouterr().err
