"""The runs of a table: what is listed, skipped and refused."""

import subprocess
from types import SimpleNamespace

import pytest


def listed(capsys, *arguments):
    from run_table import main

    main(["--dry_run", *arguments])
    return capsys.readouterr().out.splitlines()


def test_table_2_has_nine_designs_on_two_corpora(capsys):
    lines = listed(capsys, "2")
    assert len(lines) == len(set(lines)) == 2 * 9 * 3
    folders = {line.split("--output_folder=")[-1] for line in lines}
    assert len(folders) == len(lines)
    wanted = "hparams/aum_base.yaml --scan=fo_fo --cls_token=front --seed=2"
    assert sum(wanted in line for line in lines) == 1


def test_corpora_and_seeds_can_be_chosen(capsys):
    lines = listed(
        capsys,
        "2",
        "--corpus=VGGSound",
        "--seeds=7",
        "--data_folder=VGGSound=/d",
        "--",
        "--precision",
        "bf16",
    )
    assert len(lines) == 9
    for line in lines:
        assert "--data_folder=/d" in line and "--seed=7" in line
        assert line.endswith("--precision bf16)")


def test_the_small_tables_repeat_folds_or_seeds(capsys):
    lines = listed(capsys, "small")
    folds = [line for line in lines if "run_folds.py" in line]
    assert folds and all("--seed=1 " in line for line in folds)
    orders = [line for line in lines if "data/coffee" in line]
    assert len(orders) == 4 * 3 and "--seed=3" in orders[-1]


def test_embeddings_are_tested_on_trials_after_training(capsys):
    lines = listed(capsys, "verification", "--seeds=2", "--", "--debug")
    assert len(lines) == 4
    training, trials = lines[0].split(" && ")[1:]
    folder = training.split("--output_folder=")[1].split()[0]
    assert "train_embeddings.py" in training and "--debug" in training
    assert "verify.py hparams/verify.yaml --data_folder=" in trials
    assert f"--model_folder={folder} " in trials and "--debug" not in trials


def test_options_may_name_the_seed_of_the_run(capsys):
    lines = listed(capsys, "transfer", "--seeds=2")
    (taught,) = [line for line in lines if "--teachers" in line]
    assert "--teachers=[results/ecapa_tiny_esc10_96_72_8_10/2/fold<" in taught
    assert "results/aum_tiny_esc10_96_8_10_fo_bi_teacher/2" in taught


@pytest.mark.parametrize(
    "arguments",
    [
        ["2", "--corpus", "VoxCeleb"],
        ["1", "--data_folder", "Nothing=/d"],
        ["3", "--init_from", "aum_base=/w"],
        ["1", "--data_folder", "AudioSet"],
        ["5"],
    ],
)
def test_unknown_names_are_refused(arguments, capsys):
    from run_table import main

    with pytest.raises(SystemExit):
        main([*arguments, "--dry_run"])
    assert "choose from" in (error := capsys.readouterr().err) or (
        "is not NAME=PATH" in error
    )


def test_paths_are_those_of_the_caller(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "vim.pth").touch()
    (tmp_path / "audio").mkdir()
    lines = listed(
        capsys,
        *("3", "--seeds=1", "--corpus=VGGSound"),
        *("--data_folder=VGGSound=audio",),
        *("--init_from", "aum_small_imagenet=vim.pth"),
        "ast_small_imagenet=owner/name",
    )
    assert all(f"--data_folder={tmp_path / 'audio'}" in line for line in lines)
    weights = ("--init_from=owner/name", f"--init_from={tmp_path / 'vim.pth'}")
    assert all(any(w in line for line in lines) for w in weights)


def test_missing_weights_stop_before_the_first_run():
    from run_table import main

    with pytest.raises(SystemExit, match="--init_from ast_small_imagenet="):
        main(["3"])


def test_finished_runs_are_skipped(tmp_path, monkeypatch, capsys):
    import run_table

    started = []

    def run(command, cwd):
        started.append((cwd, command[1:]))
        folder = cwd / [w for w in command if "output_folder" in w][0][16:]
        folder.mkdir(parents=True)
        (folder / "results.json").write_text("{}")
        failing = len(started) == 4
        return subprocess.CompletedProcess(command, int(failing))

    rows = [r for r in run_table.read_rows() if r.table == "2"][:3]
    monkeypatch.setattr(run_table, "ROOT", tmp_path)
    monkeypatch.setattr(run_table, "read_rows", lambda: rows)
    monkeypatch.setattr(run_table, "subprocess", SimpleNamespace(run=run))
    run_table.main(["2", "--seeds", "1"])
    assert len(started) == 3
    run_table.main(["2", "--seeds", "1"])
    assert len(started) == 3
    assert "nothing is left" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="ended with status 1"):
        run_table.main(["2", "--seeds", "2"])
    assert len(started) == 4
