"""Which row a record belongs to, and what the tables show of it."""

import json

import pandas as pd
import pytest

RECORD = {
    "dataset": "SpeechCommands",
    "hparams_file": "hparams/aum_base.yaml",
    "metric": {"name": "accuracy", "value": 0.91, "split": "test"},
    "protocol": "honest",
    "protocols": {"honest": {"test": {"accuracy": 0.91}}},
    "epoch": 3,
    "seed": 1,
    "n_classes": 35,
    "clips": {"train": 84843, "valid": 9981, "test": 11005},
    "parameters": 91385123,
    "flops_per_clip": {"forward": 12.25e9, "training": 37.2e9},
    "wall_time_s": 3600.0,
    "hardware": {
        "device": "cuda:0",
        "name": "A GPU",
        "processes": 1,
        "cpu_threads": 8,
    },
    "commit": "0123456789abcdef",
    "command": "python train.py hparams/aum_base.yaml --seed=1",
    "folder": "/somewhere",
}


@pytest.fixture
def rows():
    """Return the rows that a changed record belongs to."""
    from result_tables.records import rows_of

    def tables(**changes):
        found = rows_of({**RECORD, **changes})
        return [(row.table, row.corpus.corpus, row.model) for row in found]

    return tables


def command(options):
    return f"python train.py hparams/aum_base.yaml {options}"


def test_a_run_on_the_whole_corpus_belongs_to_a_row(rows):
    assert rows() == [("1", "SpeechCommands", "AuM-B/16 (Fo-Bi)")]


@pytest.mark.parametrize(
    "options",
    [
        "--data_folder /data --num_workers=8 --noprogressbar",
        "--output_folder=out --precision bf16 --device cuda:1",
    ],
)
def test_paths_workers_and_devices_do_not_matter(rows, options):
    assert len(rows(command=command(options))) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"command": command("--lr 1e-3")},
        {"command": command("--number_of_epochs=2 --seed=1")},
        {"command": command("--debug")},
        {"command": command("--init_from vim_s.pth")},
        {"command": "torchrun --nproc_per_node=4 train.py hparams/x.yaml"},
        {"n_classes": 10},
        {"clips": {"train": 100, "valid": 10, "test": 10}},
        {"clips": None},
        {"hparams_file": "hparams/aum_tiny.yaml"},
    ],
)
def test_a_run_with_other_settings_belongs_to_no_row(rows, changes):
    assert rows(**changes) == []


def test_a_single_process_under_torchrun_belongs_to_a_row(rows):
    line = "torchrun --nproc_per_node=1 train.py hparams/aum_base.yaml"
    assert len(rows(command=line)) == 1


def test_a_row_accepts_initial_weights_from_any_path(rows):
    found = rows(
        hparams_file="hparams/aum_small_imagenet.yaml",
        command="python train.py hparams/aum_small_imagenet.yaml "
        "--init_from=/weights/vim_s.pth",
    )
    assert [table for table, _, _ in found] == ["3"]


def test_rows_of_table_2_differ_in_overrides(rows):
    vggsound = dict(dataset="VGGSound", n_classes=309, clips={"test": 15000})
    found = rows(**vggsound, command=command("--scan bi_bi --cls_token=end"))
    assert found == [("2", "VGGSound", "AuM-B/16, Bi-Bi, end")]
    found = rows(**vggsound, command=command("--seed 2"))
    assert [table for table, _, _ in found] == ["1", "2"]
    assert rows(**vggsound, command=command("--scan fo_fo --lr 1")) == []


def test_records_are_copied_and_averaged(tmp_path):
    from collect_results import keep
    from result_tables.models import read_models
    from result_tables.page import line_of
    from result_tables.records import rows_of, table_of

    for seed, value in ((1, 0.91), (2, 0.93)):
        record = {**RECORD, "seed": seed}
        record["metric"] = {**RECORD["metric"], "value": value}
        path = tmp_path / "results" / str(seed) / "results.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(record))
    records = tmp_path / "egs_records"
    kept = keep([tmp_path / "results"], records)
    assert [path.name for path in kept] == [
        "aum_base-seed1.json",
        "aum_base-seed2.json",
    ]
    assert "folder" not in json.loads(kept[0].read_text())
    line = line_of(rows_of(RECORD)[0], table_of(records), read_models())
    assert line["ours"] == "92.00±1.41" and line["seeds"] == "1, 2"
    assert line["difference"] == "+0.42"
    assert line["hardware"] == "1 x A GPU" and line["hours"] == "1.00"
    assert line["commit"] == "01234567"
    none = table_of(records)[:0]
    line = line_of(rows_of(RECORD)[0], none, read_models())
    assert line["ours"] == "not run" and "seeds" not in line


def test_other_runs_are_listed_separately():
    from result_tables.page import further_runs
    from result_tables.records import COLUMNS, describe

    record = {**RECORD, "command": command("--lr=1e-3 --seed 1")}
    table = pd.DataFrame([describe(record, "a.json")], columns=COLUMNS)
    assert "aum_base.yaml lr=1e-3 | 91.00" in further_runs(table)
    assert further_runs(table[:0]) == ""


def test_an_unusable_record_is_named(tmp_path):
    from collect_results import keep
    from result_tables.records import RecordError

    with pytest.raises(RecordError, match="no results.json below"):
        keep([tmp_path], tmp_path / "records")
    (tmp_path / "results.json").write_text('{"dataset": "X"}')
    with pytest.raises(RecordError, match="has no hparams_file, metric"):
        keep([tmp_path], tmp_path / "records")
    (tmp_path / "results.json").write_text('{"dataset": ')
    with pytest.raises(RecordError, match="cannot be read"):
        keep([tmp_path], tmp_path / "records")
