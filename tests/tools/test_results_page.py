"""What the tables show of the records."""

import pandas as pd

from .test_collect_results import RECORD, command, nested, save


def test_the_deviation_over_folds_is_shown(tmp_path):
    from result_tables.page import headline
    from result_tables.records import describe, read_record

    record = nested(metric__std=0.04)
    line = describe(read_record(save(tmp_path / "r.json", record)), "r.json")
    assert headline(pd.DataFrame([line])) == "91.00±4.00"


def test_f1_with_thresholds_is_beside_that_at_one_half(tmp_path):
    from result_tables.page import measured
    from result_tables.records import describe, read_record

    way = {"macro": 0.4, "micro": 0.6}
    half = {"macro": None, "micro": 0.25}
    record = {**RECORD, "f1": {"thresholds": way, "one_half": half}}
    line = describe(read_record(save(tmp_path / "r.json", record)), "r.json")
    shown = measured(pd.DataFrame([line]))
    assert (shown["macro_f1"], shown["micro_f1"]) == ("40.00", "60.00")
    assert shown["micro_f1_half"] == "25.00" and "macro_f1_half" not in shown
    assert "micro_f1" not in measured(pd.DataFrame([describe(RECORD, "r")]))


def test_an_honest_score_is_shown_beside_that_of_the_paper():
    from result_tables.page import measured
    from result_tables.records import describe

    assert "honest" not in measured(pd.DataFrame([describe(RECORD, "r")]))
    record = nested(protocol="paper", metric__value=0.95)
    shown = measured(pd.DataFrame([describe(record, "r")]))
    assert (shown["ours"], shown["honest"]) == ("95.00", "91.00")


def test_other_runs_are_listed_separately():
    from result_tables.page import further_runs
    from result_tables.records import COLUMNS, describe

    record = {**RECORD, "command": command("--lr=1e-3 --seed 1")}
    table = pd.DataFrame([describe(record, "a.json")], columns=COLUMNS)
    assert "aum_base.yaml lr=1e-3 | 91.00" in further_runs(table)
    assert further_runs(table[:0]) == ""


def test_bars_do_not_break_a_table():
    from result_tables.page import markdown

    assert markdown([{"a": "x | y"}], {"a": "A"}).splitlines()[-1] == (
        r"| x \| y |"
    )
