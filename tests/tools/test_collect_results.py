"""Which row a record belongs to, and which records are collected."""

import copy
import json
import shutil

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


def verified(**changes):
    """Return a record of trials, tested after a training."""
    options = (
        "--held_out=[trials.txt] --valid_share=0 --protocols=[last] "
        "--wav_augment=null --embed_dim=96 --depth=4 --number_of_epochs=15"
    )
    training = {
        "hparams_file": "hparams/aum_embeddings_tiny.yaml",
        "seed": 2,
        "command": f"python train_embeddings.py x.yaml {options} --seed=2",
        "wall_time_s": 300.0,
        "clips": {"train": 703, "test": 223},
    }
    return {
        **RECORD,
        "dataset": "VoxCeleb",
        "hparams_file": "hparams/verify.yaml",
        "metric": {"name": "EER", "value": 0.12, "split": "trials"},
        "metrics": {"EER": 0.12, "minDCF": 0.9},
        "protocol": "cosine",
        "protocols": {"cosine": {"test": {"EER": 0.12, "minDCF": 0.9}}},
        "n_classes": 251,
        "clips": {"test": 2250},
        "training": training,
        **changes,
    }


def test_trials_count_for_the_row_of_their_training(rows, tmp_path):
    from result_tables.records import describe, place_of, read_record

    found = [table for table, _, _ in rows(**verified())]
    assert found == ["verification", "transfer"]
    record = read_record(save(tmp_path / "results.json", verified()))
    assert place_of(record).name.startswith("aum_embeddings_tiny_trials.txt")
    assert place_of(record).name.endswith("-seed2.json")
    line = describe(record, "r.json")
    assert (line["value"], line["honest"], line["minDCF"]) == (12, 12, 0.9)
    assert (line["seed"], line["hours"]) == (2, round(300 / 3600, 4))


def test_a_row_may_start_from_the_weights_of_its_seed(rows):
    start = "../Pretraining/results/aum_tiny_librispeech"
    training = verified()["training"]
    for seed, tables in ((2, ["transfer"]), (1, [])):
        command = f"{training['command']} --init_from={start}/{seed}"
        found = rows(**verified(training={**training, "command": command}))
        assert [table for table, _, _ in found] == tables


@pytest.mark.parametrize(
    "changes",
    [{"training": {"seed": 2}}, {"training": 3}, {"metrics": {"EER": 0.1}}],
)
def test_trials_of_an_unknown_training_are_refused(changes, tmp_path):
    from result_tables.records import read_record
    from result_tables.schema import RecordError

    path = save(tmp_path / "results.json", verified(**changes))
    with pytest.raises(RecordError, match="training|metrics"):
        read_record(path)


def test_two_runs_of_one_row_and_seed_are_refused(tmp_path):
    from collect_results import collect
    from result_tables.schema import RecordError

    paths = [tmp_path / name / "results.json" for name in ("new", "old")]
    for path in paths:
        save(path, RECORD)
    with pytest.raises(RecordError, match="new.*and.*old.*one row and seed"):
        collect([tmp_path], tmp_path / "records")
    assert len(collect([paths[0], paths[0]], tmp_path / "records")) == 1


def test_a_training_is_kept_with_its_trials_only(tmp_path):
    from collect_results import find

    run = tmp_path / "1"
    save(run / "results.json", RECORD)
    save(run / "verification" / "results.json", verified())
    assert find(tmp_path) == [run / "verification" / "results.json"]


def test_folds_and_what_was_exported_of_them_count_as_one_run(tmp_path):
    from collect_results import find

    run = tmp_path / "folders" / "1"
    for where in (".", "fold1", "fold1/teacher", "fold2"):
        save(run / where / "results.json", RECORD)
    assert find(tmp_path) == [run / "results.json"]


def test_a_later_test_of_a_run_is_no_run(tmp_path):
    from collect_results import find

    for where in ("1", "1/test_only", "1/debug", "given"):
        save(tmp_path / where / "results.json", RECORD)
    found = [path.parent.name for path in find(tmp_path)]
    assert found == ["1", "given"]


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


def nested(**changes):
    """Return RECORD with values changed: ``a__b`` is the key b of a."""
    record = copy.deepcopy(RECORD)
    for path, value in changes.items():
        *parents, key = path.split("__")
        place = record
        for parent in parents:
            place = place[parent]
        place[key] = value
    return record


def save(path, record):
    """Write a record, and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record))
    return path


def test_records_are_collected_and_averaged(tmp_path):
    from collect_results import collect
    from result_tables.models import read_models
    from result_tables.page import line_of
    from result_tables.records import rows_of, table_of

    for seed, value in ((1, 0.91), (2, 0.93)):
        record = nested(
            seed=seed,
            metric__value=value,
            protocols__honest__test__accuracy=value,
        )
        save(tmp_path / "results" / str(seed) / "results.json", record)
    records = tmp_path / "egs_records"
    kept = collect([tmp_path / "results"], records)
    assert [path.name for path in kept] == [
        "aum_base-seed1.json",
        "aum_base-seed2.json",
    ]
    assert all("folder" not in record for record in kept.values())
    table = table_of(records, kept)
    line = line_of(rows_of(RECORD)[0], table, read_models())
    assert line["ours"] == "92.00±1.41" and line["seeds"] == "1, 2"
    assert line["difference"] == "+0.42"
    assert line["hardware"] == "1 x A GPU" and line["hours"] == "1.00"
    assert line["commit"] == "01234567"
    line = line_of(rows_of(RECORD)[0], table[:0], read_models())
    assert line["ours"] == "not run" and "seeds" not in line


@pytest.fixture
def root(tmp_path):
    """Return a copy of everything that collecting writes."""
    from result_tables.rows import ROOT, read_rows

    for name in ("egs_results.csv", "egs_results.md", "docs/models.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "egs_records", tmp_path / "egs_records")
    for recipe in {row.recipe for row in read_rows()}:
        target = tmp_path / "recipes" / recipe
        target.mkdir(parents=True)
        shutil.copy(ROOT / "recipes" / recipe / "README.md", target)
    return tmp_path


def contents(root):
    return {p: p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_a_record_of_others_is_kept(root, tmp_path_factory):
    from collect_results import problems, write

    path = save(tmp_path_factory.mktemp("sent") / "mine.json", RECORD)
    write([path], root=root)
    kept = root / "egs_records" / "SpeechCommands" / "aum_base-seed1.json"
    wanted = {k: v for k, v in RECORD.items() if k != "folder"}
    assert json.loads(kept.read_text()) == wanted
    assert problems(root) == []
    assert "91.00" in (root / "egs_results.md").read_text()


# Changes of a record -> the key and what else its refusal names
BAD = [
    ({"dataset": "../../escaped"}, "dataset is '../../escaped'"),
    ({"dataset": "/tmp/escaped"}, "dataset is '/tmp/escaped'"),
    ({"dataset": ".."}, "dataset is '..'"),
    ({"dataset": 5}, "dataset is 5"),
    ({"hparams_file": "aum.yaml\n"}, "hparams_file is"),
    ({"hparams_file": "x/.yaml"}, "hparams_file is"),
    ({"seed": "1"}, "seed is '1'"),
    ({"seed": -1}, "seed is -1"),
    ({"seed": True}, "seed is True"),
    ({"metric": 0.9}, "metric is 0.9"),
    ({"metric__name": "luck"}, "metric.name is 'luck'"),
    ({"metric__value": 91.0}, "metric.value is 91.0; .* from 0 to 1"),
    ({"metric__value": None}, "metric.value is None"),
    ({"metric__value": 0.99}, "metric.value is 0.99; it must be 0.91"),
    ({"protocol": "best"}, "protocol is 'best'"),
    ({"protocols__honest": {}}, "has no protocols.honest.test"),
    ({"protocols__last": {"test": {}}}, "protocols.last.test.accuracy is None"),
    ({"protocols__a|b": {"test": {"accuracy": 1}}}, "a key of protocols is"),
    ({"epoch": 1.5}, "epoch is 1.5"),
    ({"n_classes": 0}, "n_classes is 0"),
    ({"clips": None}, "clips is None"),
    ({"clips__test": -3}, "clips.test is -3"),
    ({"clips__test": 12000}, "clips.test is 12000; .* at most 11005"),
    ({"parameters": "many"}, "parameters is 'many'"),
    ({"flops_per_clip": {"forward": "1"}}, "flops_per_clip is"),
    ({"f1": {"one_half": {}}}, "has no f1.thresholds"),
    ({"wall_time_s": -1.0}, "wall_time_s is -1.0"),
    ({"hardware__processes": 0}, "hardware.processes is 0"),
    ({"hardware__name": "A\nB"}, "hardware.name is"),
    ({"commit": "$(reboot)"}, "commit is '\\$\\(reboot"),
    ({"command": "python 'train.py"}, "command is"),
    ({"command": ""}, "command is ''"),
]


@pytest.mark.parametrize("changes, named", BAD)
def test_a_bad_record_is_refused_and_nothing_changes(
    root, tmp_path_factory, changes, named
):
    from collect_results import write
    from result_tables.records import RecordError

    sent = tmp_path_factory.mktemp("sent")
    good = save(sent / "1-good.json", RECORD)
    bad = save(sent / "2-bad.json", nested(**changes))
    before = contents(root)
    with pytest.raises(RecordError, match=f"2-bad.json:? .*{named}"):
        write([good, bad], root=root)
    assert contents(root) == before


def test_a_metric_that_does_not_judge_the_row_is_refused(tmp_path):
    from result_tables.records import RecordError, read_record

    record = nested(metric__name="mAP", protocols__honest__test={"mAP": 0.91})
    path = save(tmp_path / "a.json", record)
    with pytest.raises(RecordError, match="metric.name is 'mAP'.*accuracy"):
        read_record(path)


@pytest.mark.parametrize(
    "text, fault",
    [
        ('{"dataset": ', "cannot be read"),
        ("[" * 100_000, "cannot be read"),
        (json.dumps(RECORD).replace("3600.0", "NaN"), "NaN is no number"),
        ("[]", r"it is \[\]"),
        ('{"dataset": "X"}', "has no hparams_file, metric"),
        ("\xff", "has no|cannot be read"),
    ],
)
def test_an_unusable_record_is_named(tmp_path, text, fault):
    from collect_results import collect
    from result_tables.records import RecordError

    with pytest.raises(RecordError, match="no results.json below"):
        collect([tmp_path], tmp_path / "records")
    (tmp_path / "results.json").write_text(text, encoding="latin-1")
    with pytest.raises(RecordError, match=f"results.json.*({fault})"):
        collect([tmp_path], tmp_path / "records")


def test_a_bad_record_among_those_kept_is_named(root, capsys, monkeypatch):
    import collect_results

    save(root / "egs_records" / "Custom" / "old.json", nested(seed="one"))
    with pytest.raises(ValueError, match="old.json: seed is 'one'"):
        collect_results.write([], root=root)
    monkeypatch.setattr(
        collect_results, "problems", lambda: collect_results.kept_records(root)
    )
    with pytest.raises(SystemExit, match="old.json: seed is 'one'"):
        collect_results.main(["--check"])


def test_long_commands_get_short_file_names():
    from result_tables.records import place_of

    options = " ".join(f"--key{number}=1" for number in range(100))
    places = {
        place_of(nested(command=command(f"{options} --lr={lr}"))).name
        for lr in (1, 2)
    }
    assert len(places) == 2 and max(map(len, places)) < 200
