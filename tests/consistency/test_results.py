"""The results pages agree with their CSV, and the CSV with the records."""

import json
import re
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True, scope="module")
def tools_on_path():
    """Import the tools as scripts do, whose folder is on the path."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "tools")
        yield


@pytest.fixture
def copy(tmp_path):
    """Copy the results, for tests that damage them."""
    from result_tables.rows import read_rows

    for name in ("egs_results.csv", "egs_results.md"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "egs_records", tmp_path / "egs_records")
    (tmp_path / "docs").mkdir()
    shutil.copy(ROOT / "docs" / "models.md", tmp_path / "docs")
    for recipe in {row.recipe for row in read_rows()}:
        target = tmp_path / "recipes" / recipe
        target.mkdir(parents=True)
        shutil.copy(ROOT / "recipes" / recipe / "README.md", target)
    return tmp_path


def test_pages_csv_and_records_agree():
    from collect_results import problems

    assert problems(ROOT) == []


def test_an_unchanged_copy_passes(copy):
    from collect_results import problems

    assert problems(copy) == []


def test_an_altered_figure_on_the_page_is_found(copy):
    from collect_results import problems

    page = copy / "egs_results.md"
    text = page.read_text()
    page.write_text(text.replace("32.43±0.31", "32.44±0.31", 1))
    assert problems(copy) == ["egs_results.md is not what the tables give"]


def test_an_altered_figure_of_a_checkpoint_is_found(copy):
    from collect_results import problems

    page = copy / "docs" / "models.md"
    page.write_text(page.read_text().replace("50.1 mAP", "51.1 mAP", 1))
    assert problems(copy) == ["docs/models.md is not what the tables give"]


def test_the_recipes_name_the_files_that_the_page_lists():
    listed = (ROOT / "docs" / "models.md").read_text()
    named = set()
    for path in (ROOT / "recipes").rglob("*.yaml"):
        text = path.read_text()
        named |= set(re.findall(r"v(?:im|ssm)\w+\.pth", text))
        named |= set(re.findall(r"saurabhati/[\w.]+\w", text))
    assert len(named) >= 4
    assert [name for name in named if name not in listed] == []


def test_an_altered_figure_in_the_csv_is_found(copy):
    from collect_results import problems

    csv = copy / "egs_results.csv"
    text = csv.read_text()
    csv.write_text(re.sub(r"accuracy,[\d.]+", "accuracy,12.5", text, count=1))
    found = problems(copy)
    assert any("egs_records/ gives" in line for line in found)
    assert any(line.startswith("egs_results.md") for line in found)


def test_a_measured_row_without_its_record_is_found(copy):
    from collect_results import problems

    lost = min(copy.glob("egs_records/*/*.json"))
    lost.unlink()
    found = problems(copy)
    name = lost.relative_to(copy).as_posix()
    assert f"egs_results.csv has a run whose record is lost: {name}" in found


def test_records_are_complete_and_contain_no_absolute_path():
    for path in ROOT.glob("egs_records/*/*.json"):
        record = json.loads(path.read_text())
        assert record["commit"] and "dirty" not in record["commit"], path
        curves = (
            record.get("curves")  # of folds
            or record.get("curve")
            or record["training"]["curve"]
        )
        assert curves and record["hardware"]["name"], path
        assert not re.search(r"[= ]/", record["command"]), path
        assert "folder" not in record, path


def test_counted_parameters_and_operations_match_the_yamls():
    from result_tables.models import COUNTED, figures_of, read_models
    from result_tables.rows import read_rows

    models = read_models()
    wanted = {
        (row.table, row.corpus.corpus, row.hparams): row for row in read_rows()
    }
    for table, corpus, hparams in (
        ("1", "AudioSet", "aum_base.yaml"),
        ("2", "VGGSound", "aum_base.yaml"),
        ("3", "SpeechCommands", "ast_small_imagenet.yaml"),
        ("comparison", "FSDD, speakers", "compare_aum_tiny.yaml"),
    ):
        row = wanted[table, corpus, hparams]
        counted = figures_of(row)
        for key in COUNTED:
            assert models[row][key] == pytest.approx(counted[key]), (row, key)


def test_the_page_opens_with_what_was_measured():
    page = (ROOT / "egs_results.md").read_text()
    assert page.index("| FSDD") < page.index("| AudioSet |")
    paper = page.index("## The paper's tables")
    assert page.index("docs/efficiency") < paper < page.index("### Table 1")


def test_every_paper_yaml_has_a_row_and_every_row_a_yaml():
    from result_tables.rows import read_rows

    rows = {(row.recipe, row.hparams) for row in read_rows()}
    yamls = {
        (path.parts[-3], path.name)
        for path in ROOT.glob("recipes/*/hparams/*.yaml")
        # Pre-training has no score
        if path.parts[-3] != "Pretraining"
        and re.match(
            r"(as20k_)?(ast|aum|dass)_(base|small|medium)|compare_|digits_",
            path.name,
        )
    }
    assert rows >= yamls
    for recipe, name in rows:
        assert (ROOT / "recipes" / recipe / "hparams" / name).is_file(), name


def test_compared_models_share_their_training_and_their_size():
    from result_tables.models import figures_of
    from result_tables.rows import read_rows

    own = "output_folder scan cls_token depth patch_size stride embed_dim "
    own += "widths depths width channels embedding_model"
    rows = [row for row in read_rows() if row.table == "comparison"]
    for corpus in dict.fromkeys(row.corpus for row in rows):
        compared = [row for row in rows if row.corpus == corpus]
        sizes = [figures_of(row)["parameters"] for row in compared]
        assert len(sizes) == 4 and max(sizes) < 1.04 * min(sizes)
        texts = []
        for row in compared:
            text = row.path.read_text()
            parts = re.split(
                r"^(\w+):", text[text.index("# Seed") :], flags=re.M
            )
            texts.append(dict(zip(parts[1::2], parts[2::2])))
        keys = set().union(*texts)
        differing = {k for k in keys if len({t.get(k) for t in texts}) > 1}
        assert differing <= set(own.split()), differing
