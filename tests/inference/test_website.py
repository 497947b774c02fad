"""The page of audiomamba-export --web; in Chromium, where it is installed."""

import functools
import http.server
import json
import re
import shutil
import subprocess
import threading

import numpy as np
import pytest

from audiomamba.inference import AudioTagger
from audiomamba.inference.export import ExportError
from audiomamba.inference.programs import website
from audiomamba.inference.programs.onnx import metadata
from audiomamba.inference.programs.website import RUNTIME_FILES, export_website

from .test_onnx import make_tagger

PROGRAMS = ("chromium", "chromedriver", "npm")


@pytest.fixture
def without_network(monkeypatch):
    def fetch(folder):
        for name in RUNTIME_FILES:
            (folder / name).write_text("runtime")

    monkeypatch.setattr(website, "fetch_runtime", fetch)
    monkeypatch.setattr(
        website, "export_onnx", lambda tagger, path: path.write_text("model")
    )


def test_a_page_has_all_it_needs(without_network, tmp_path):
    tagger = make_tagger()
    site = export_website(tagger, tmp_path / "new" / "site")
    settings = json.loads((site / "settings.json").read_text())
    assert settings == {k: json.loads(v) for k, v in metadata(tagger).items()}
    worker = (site / "offline.js").read_text()
    kept = json.loads(re.search(r"const FILES = (\[.*\]);", worker)[1])
    names = {path.name for path in site.iterdir()}
    assert set(kept) == names - {"offline.js"} | {"./"}
    assert re.search(r'const VERSION = "audiomamba-[0-9a-f]{16}";', worker)
    # What the pages name is there, and nothing is elsewhere
    for page in site.glob("*.*"):
        text = page.read_text()
        assert "://" not in text, page
        for name in re.findall(
            r'(?:href|src|from|Module\()[="( ]+\.?/?'
            r'([\w.-]+\.(?:css|mjs|js))"',
            text,
        ):
            assert name in names, f"{page}: {name}"


def test_a_page_of_another_model_replaces_what_the_browser_keeps(
    without_network, tmp_path
):
    versions = set()
    for name, activation in (("a", "softmax"), ("b", "sigmoid")):
        site = export_website(
            make_tagger(activation=activation), tmp_path / name
        )
        text = (site / "offline.js").read_text()
        versions.add(re.search(r"VERSION = (.+);", text)[1])
    assert len(versions) == 2


def test_nothing_is_overwritten(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ExportError, match="choose another folder"):
        export_website(make_tagger(), tmp_path)


def test_a_runtime_that_cannot_be_fetched_is_explained(tmp_path, monkeypatch):
    def fail(command, **options):
        raise subprocess.CalledProcessError(1, command, stderr="no network")

    monkeypatch.setattr(subprocess, "run", fail)
    with pytest.raises(ExportError, match="npm pack .* failed: no network"):
        website.fetch_runtime(tmp_path)
    monkeypatch.undo()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ExportError, match="Node.js"):
        website.fetch_runtime(tmp_path)


class _Silent(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture
def browser():
    selenium = pytest.importorskip("selenium.webdriver")
    for program in PROGRAMS:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    options = selenium.ChromeOptions()
    for argument in ("headless=new", "no-sandbox", "disable-dev-shm-usage"):
        options.add_argument(f"--{argument}")
    service = selenium.ChromeService(shutil.which("chromedriver"))
    driver = selenium.Chrome(options, service)
    driver.set_script_timeout(120)
    yield driver
    driver.quit()


def tag_in_browser(browser, path):
    """Open a file on the page; return the labels and shares shown."""
    from selenium.webdriver.support.ui import WebDriverWait

    wait = WebDriverWait(browser, 120)
    status = ("css selector", "#status")
    wait.until(lambda b: b.find_element(*status).text == "Ready.")
    browser.find_element("css selector", "#file").send_keys(str(path))
    shown = "#tags li em"
    wait.until(
        lambda b: b.find_element("css selector", "#name").text == path.name
    )
    wait.until(lambda b: b.find_element(*status).text == "Ready.")
    texts = [e.text for e in browser.find_elements("css selector", shown)]
    return dict(zip(texts[::2], texts[1::2]))


@pytest.mark.parametrize("run", [True], indirect=True)
def test_a_file_is_tagged_in_the_browser_without_a_network(
    run, browser, tmp_path
):
    pytest.importorskip("onnxscript")
    tagger = AudioTagger.from_hparams(run.exported, run_opts={"device": "cpu"})
    site = export_website(tagger, tmp_path / "site")
    handler = functools.partial(_Silent, directory=site)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}/"
    try:
        browser.get(address)
        found = tag_in_browser(browser, run.paths[0])
        wanted = dict(tagger.tag_file(run.paths[0]))
        assert list(found) == list(wanted)
        shares = [float(share.removesuffix(" %")) for share in found.values()]
        # 16 kHz as the model's: nothing is resampled
        np.testing.assert_allclose(
            shares, 100 * np.array(list(wanted.values())), atol=0.06
        )
        browser.execute_async_script(
            "navigator.serviceWorker.ready.then(arguments[0])"
        )
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    browser.get(address)
    assert tag_in_browser(browser, run.paths[0]) == found
