"""The page of audiomamba-demo; in Chromium, where it is installed."""

import csv

import pytest

from audiomamba.cli.demo import main
from audiomamba.inference import AudioTagger

from .test_website import browser as browser

pytestmark = pytest.mark.parametrize("run", [True], indirect=True)


@pytest.fixture
def demo(run):
    gradio = pytest.importorskip("gradio")
    pytest.importorskip("matplotlib")
    from audiomamba.inference.demo import build_demo

    tagger = AudioTagger.from_hparams(run.exported, run_opts={"device": "cpu"})
    return gradio, tagger, build_demo(tagger)


def test_an_answer_has_tags_picture_and_events(demo, run, tmp_path):
    gradio, tagger, page = demo
    answer = page.fns[0].fn
    path = str(run.paths[0])
    tags, picture, rows, table = answer(path, 0.3)
    assert tags == dict(tagger.tag_file(path))
    with open(picture, "rb") as file:
        assert file.read(4) == b"\x89PNG"
    with open(table) as file:
        written = list(csv.DictReader(file))
    assert [row["label"] for row in written] == [row[2] for row in rows]
    assert tagger.tag_file(path)[0][0] in [row[2] for row in rows]
    assert answer(None, 0.3) == (None, None, None, None)
    broken = tmp_path / "no_sound.wav"
    broken.write_text("text")
    with pytest.raises(gradio.Error, match="no_sound.wav: is not an audio"):
        answer(str(broken), 0.3)


def test_a_file_is_tagged_on_the_page(demo, run, browser):
    from selenium.webdriver.support.ui import WebDriverWait

    _, tagger, page = demo
    page.launch(prevent_thread_lock=True, quiet=True)
    try:
        browser.get(page.local_url)
        wait = WebDriverWait(browser, 120)
        chooser = ("css selector", "input[type=file]")
        wait.until(lambda b: b.find_elements(*chooser))
        browser.find_element(*chooser).send_keys(str(run.paths[0]))
        shown = ("css selector", "[data-testid=label-output-value]")
        wait.until(lambda b: b.find_elements(*shown))
        label, _ = tagger.tag_file(run.paths[0], 1)[0]
        assert browser.find_element(*shown).text == label
    finally:
        page.close()


def test_a_missing_package_is_named(run, monkeypatch):
    monkeypatch.setattr("audiomamba.cli.demo.find_spec", lambda name: None)
    with pytest.raises(SystemExit, match=r"gradio and .*audiomamba\[demo\]"):
        main(["--model", str(run.exported)])
