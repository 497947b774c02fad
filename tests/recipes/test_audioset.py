"""AudioSet from its files to results, as a user runs it."""

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from audiomamba import DASS
from audiomamba.dataio.manifest import read_labels, read_manifest
from audiomamba.dataio.problems import PreparationError, Problems

LABELS = Path(__file__).parents[2] / "recipes" / "AudioSet" / "labels.csv"
SPEECH, DOG = "/m/09x0r", "/m/0bt9lr"


@pytest.fixture(scope="module")
def corpus(make_corpus):
    return make_corpus(
        "AudioSet", n_balanced=3, n_eval=2, n_unbalanced=3, seconds=1.0
    ).folder


@pytest.fixture(scope="module")
def start(make_start, corpus):
    return make_start(
        "AudioSet",
        corpus,
        lr_schedule="{warmup_steps: 0}",
        n_frames=128,
        precision="fp32",
        valid_share=0.2,
    )


def test_manifests_hold_the_lists(trained, corpus):
    tables = {
        split: read_manifest(trained[0] / "manifests" / f"{split}.csv")
        for split in ("train", "valid", "test")
    }
    listed = {
        name: {
            line.split(", ")[0]: line.split('"')[1].replace(",", ";")
            for line in (corpus / f"{name}_segments.csv")
            .read_text()
            .splitlines()[3:]
        }
        for name in ("balanced_train", "unbalanced_train", "eval")
    }
    train = pd.concat([tables["train"], tables["valid"]])
    wanted = {**listed["balanced_train"], **listed["unbalanced_train"]}
    assert dict(zip(train["ID"], train["label"])) == wanted
    test = tables["test"]
    assert dict(zip(test["ID"], test["label"])) == listed["eval"]
    assert len(tables["valid"]) == round(0.2 * len(train))
    for table in tables.values():
        assert all((corpus / wav).is_file() for wav in table["wav"])
        stems = [Path(wav).stem for wav in table["wav"]]
        assert all(i in stem for i, stem in zip(table["ID"], stems))
        assert (table["duration"] == 1.0).all()
    # the three ways to name files, and IDs that look like options
    wavs = [wav for table in tables.values() for wav in table["wav"]]
    forms = Counter(len(Path(wav).stem) for wav in wavs)
    assert forms[11] and forms[12] and sum(forms.values()) > forms[11] * 1.5
    assert any(
        table["ID"].str.startswith("-").any() for table in tables.values()
    )


def test_the_loss_falls_and_both_protocols_are_recorded(trained, read_results):
    results = read_results(trained[0])
    losses = [row["train_loss"] for row in results["curve"]]
    assert len(losses) == 2 and losses[1] < losses[0]
    assert results["dataset"] == "AudioSet"
    assert results["metric"]["name"] == "mAP"
    assert results["n_classes"] == 527
    assert list(results["protocols"]) == ["paper", "honest"]
    for record in results["protocols"].values():
        metrics = record["test"]
        assert {"mAP", "mAUC", "d_prime", "loss"} <= set(metrics)
        assert 0 < metrics["n_classes_scored"] < 20
    table = pd.read_csv(trained[0] / "classes.csv")
    assert table["label"].tolist() == read_labels(LABELS)
    scored = table["average_precision"].dropna()
    assert scored.mean() == pytest.approx(results["metric"]["value"])


def test_manifests_are_reused_and_independent_of_the_seed(check_second_start):
    check_second_start(
        "aum_base", "train", "valid", "test", protocols="[paper]"
    )


def test_a_balanced_list_with_a_header_line_and_nothing_held_out(
    make_corpus, start, read_results, tmp_path
):
    corpus = make_corpus(
        "AudioSet",
        n_balanced=2,
        n_eval=1,
        n_unbalanced=1,
        seconds=1.0,
        header_line=True,
    ).folder
    start(
        tmp_path,
        "as20k_aum_base",
        data_folder=corpus,
        number_of_epochs=1,
        valid_share=0,
        protocols="[paper]",
    )
    manifests = tmp_path / "manifests"
    assert len(read_manifest(manifests / "train.csv")) == 16
    assert len(read_manifest(manifests / "test.csv")) == 8
    assert not (manifests / "valid.csv").exists()
    assert list(read_results(tmp_path)["protocols"]) == ["paper"]


def test_dass_starts_from_imagenet_weights(start, read_results, tmp_path):
    source = DASS(widths=[8, 16], depths=[1, 1]).state_dict()
    kernel = source["patch_embed.first.conv.weight"]
    source["patch_embed.first.conv.weight"] = kernel.expand(-1, 3, -1, -1)
    torch.save({"model": source}, tmp_path / "vmamba.pth")
    options = {
        "init_from": tmp_path / "vmamba.pth",
        "embed_dim": 16,
        "widths": "[8, 16]",
        "depths": "[1, 1]",
        "embedding_model": "{drop_path: 0.1}",
        "classifier": "{in_features: 16}",
        "teachers": "[]",
        "average_from": 1,
    }
    output = start(tmp_path / "run", "as20k_dass_small", **options)
    assert "vmamba.pth" in output
    results = read_results(tmp_path / "run")
    assert list(results["protocols"]) == ["average", "paper", "honest"]
    losses = [row["train_loss"] for row in results["curve"]]
    assert len(losses) == 2 and losses[1] < losses[0]


def test_bad_entries_are_named(make_corpus, start, tmp_path):
    made = make_corpus(
        "AudioSet", n_balanced=2, n_eval=2, n_unbalanced=1, seconds=1.0,
        broken=True,
    )  # fmt: skip
    options = {"data_folder": made.folder}
    output = start(tmp_path, "aum_base", **options, fails=True)
    assert "Traceback" not in output
    assert "eval lacks 33.3% of its rows, more than max_missing" in output
    options |= {"number_of_epochs": 1, "max_missing": 0.6}
    output = start(tmp_path, "aum_base", **options)
    assert "left out: 8 of 24 balanced_train, 8 of 24 eval, 8 of 16" in output
    assert "eval: 16 of 23 (69.6 %) clips usable; by class from" in output
    named = (tmp_path / "manifests" / "problems.txt").read_text()
    entries = [entry.split(": ") for entry in made.broken]
    complaints = [
        where.split("/")[-1] for where, *_ in entries if "audio/" in where
    ] + [what for where, what, *_ in entries if "_segments.csv" in where]
    assert len(complaints) == 24
    assert [name for name in complaints if name not in named] == []
    assert len(named.splitlines()) == 24
    coverage = pd.read_csv(tmp_path / "manifests" / "coverage.csv")
    speech = coverage[coverage["label"] == SPEECH].set_index("split")
    lost = speech["listed"] - speech["usable"]
    assert lost.to_dict() == {
        "balanced_train": 7, "eval": 7, "unbalanced_train": 7,
    }  # fmt: skip


def test_a_missing_corpus_is_explained(run_without_corpus, tmp_path):
    output = run_without_corpus("AudioSet", tmp_path / "none")
    assert "AudioSet was not found: there is no folder" in output


def test_the_honest_protocol_needs_a_held_out_share(run_recipe, tmp_path):
    output = run_recipe(
        "AudioSet",
        "hparams/aum_base.yaml",
        valid_share=0,
        output_folder=tmp_path,
        fails=True,
    )
    assert "give a share, or protocols: [paper] or [last]" in output


# ------------------------------------------------------- lists and file names


@pytest.fixture(scope="module")
def prepare(load_script):
    return load_script("AudioSet", "audioset_prepare")


def read(prepare, path, text):
    path.write_text(text)
    problems = Problems()
    mids = set(read_labels(LABELS, "mid"))
    return prepare.read_segments(path, "eval", mids, problems), problems


ROWS = [
    ("-0DdlOuIFUI", "50.000", f"{SPEECH},{DOG}"),
    ("_abc-def_12", "0.000", SPEECH),
    ("Y0123456789", "21.500", DOG),
]


@pytest.mark.parametrize("variant", ["comments", "header", "windows"])
def test_variants_of_the_segment_list(prepare, tmp_path, variant):
    gap = "," if variant == "header" else ", "
    lines = ["# Segments", "# num_ytids=3", "# YTID, start_seconds, ..."]
    if variant == "header":
        lines = ["YTID,start_seconds,end_seconds,positive_labels"]
    lines += [
        gap.join([name, start, f"{float(start) + 10:.3f}", f'"{labels}"'])
        for name, start, labels in ROWS
    ]
    end = "\r\n" if variant == "windows" else "\n"
    text = ("\ufeff" if variant == "windows" else "") + end.join(lines) + end
    rows, problems = read(prepare, tmp_path / "eval_segments.csv", text)
    assert problems.messages == []
    assert rows.drop(columns="split").values.tolist() == [
        [name, float(start), labels.replace(",", ";")]
        for name, start, labels in ROWS
    ]


def test_bad_lines_of_a_list_are_named(prepare, tmp_path):
    text = (
        f'0123456789a, 0.000, 10.000, "{SPEECH}"\n'
        f'too_short, 0.000, 10.000, "{SPEECH}"\n'
        f'0123456789b, zero, 10.000, "{SPEECH}"\n'
        f'0123456789c, 0.000, 10.000, "/m/none,{SPEECH}"\n'
        "0123456789d, 0.000, 10.000\n"
        f'../..0123456, 0.000, 10.000, "{SPEECH}"\n'
    )
    rows, problems = read(prepare, tmp_path / "list.csv", text)
    assert rows["ID"].tolist() == ["0123456789a"]
    assert problems.lost == {"eval": 5}
    for line, message in zip((2, 3, 4, 5, 6), problems.messages):
        assert f"list.csv, line {line}: " in message
        assert "; correct or delete" in message
    with pytest.raises(PreparationError, match="no usable line"):
        read(prepare, tmp_path / "list.csv", "<html>not found</html>\n")


NAMES = {
    "-0DdlOuIFUI": [
        "-0DdlOuIFUI.wav",
        "Y-0DdlOuIFUI.wav",
        "-0DdlOuIFUI_50.flac",
        "-0DdlOuIFUI_50000.flac",
        "-0DdlOuIFUI_50000_60000.flac",
        "Y-0DdlOuIFUI_50.000_60.000.WAV",
    ],
    "_abc-def_12": [
        "_abc-def_12.wav",
        "Y_abc-def_12.flac",
        "_abc-def_12_0.wav",
    ],
    "Y0123456789": [
        "Y0123456789.wav",
        "YY0123456789.wav",
        "Y0123456789_21.wav",
        "Y0123456789_21.5.flac",
        "Y0123456789_21500.flac",
    ],
}


def write_corpus(folder, files):
    """Write the lists of the three rows, and silent clips."""
    lines = [
        f'{name}, {start}, {float(start) + 10:.3f}, "{labels}"'
        for name, start, labels in ROWS
    ]
    (folder / "eval_segments.csv").write_text("\n".join(lines[:1]))
    (folder / "balanced_train_segments.csv").write_text("\n".join(lines[1:]))
    for file in files:
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        form = "WAV" if path.suffix.lower() == ".wav" else "FLAC"
        soundfile.write(path, np.zeros(160), 16000, format=form)


def wavs_by_id(folder, save, prepare, **options):
    prepare.prepare_audioset(
        folder, save, LABELS, ["balanced_train"], valid_share=0, **options
    )
    tables = [read_manifest(save / f"{name}.csv") for name in ("train", "test")]
    return {row.ID: row.wav for table in tables for row in table.itertuples()}


@pytest.mark.parametrize("column", range(6))
@pytest.mark.parametrize("shards", [False, True])
def test_clips_are_found_under_any_name(prepare, tmp_path, column, shards):
    files = {
        name: f"part{index % 2}/x/{forms[column % len(forms)]}"
        if shards
        else forms[column % len(forms)]
        for index, (name, forms) in enumerate(NAMES.items())
    }
    write_corpus(tmp_path, files.values())
    assert wavs_by_id(tmp_path, tmp_path / "save", prepare) == files


def test_a_clip_with_another_start_is_not_used(prepare, tmp_path, caplog):
    files = ["-0DdlOuIFUI_30.wav", "_abc-def_12.wav", "Y0123456789.wav"]
    write_corpus(tmp_path, files)
    with pytest.raises(PreparationError, match="eval lacks 100.0%"):
        wavs_by_id(tmp_path, tmp_path / "save", prepare)
    assert "-0DdlOuIFUI_30.wav, listed from 50 s" in caplog.text


def test_a_file_of_nearly_the_listed_name_is_hinted_at(prepare, tmp_path):
    files = ["x/-0ddlouifui.wav", "_abc-def_12.wav", "Y0123456789.wav"]
    write_corpus(tmp_path, files)
    with pytest.raises(PreparationError, match="is it x/-0ddlouifui.wav"):
        wavs_by_id(tmp_path, tmp_path / "save", prepare)


def test_a_test_clip_that_is_listed_twice_is_not_trained_on(prepare, tmp_path):
    files = [forms[0] for forms in NAMES.values()]
    write_corpus(tmp_path, files)
    with open(tmp_path / "balanced_train_segments.csv", "a") as file:
        file.write(f'\n-0DdlOuIFUI, 50.000, 60.000, "{SPEECH}"\n')
    found = wavs_by_id(tmp_path, tmp_path / "save", prepare, max_missing=1.0)
    assert len(found) == 3
    test = read_manifest(tmp_path / "save" / "test.csv")
    assert test["ID"].tolist() == ["-0DdlOuIFUI"]
    named = (tmp_path / "save" / "problems.txt").read_text()
    assert "-0DdlOuIFUI: is listed more than once (balanced_train" in named
