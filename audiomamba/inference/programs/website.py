"""A page that runs a model in the browser, for any static host."""

import hashlib
import json
import shutil
import subprocess
import tarfile
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory

from audiomamba.inference.exported.folder import ExportError
from audiomamba.inference.programs.onnx import export_onnx, metadata
from audiomamba.inference.tagger import AudioTagger

# Becomes part of the page, which loads nothing from elsewhere
RUNTIME = "onnxruntime-web@1.30.0"
RUNTIME_FILES = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm")


def export_website(tagger: AudioTagger, folder: str | Path) -> Path:
    """Write a page that tags files and the microphone in the browser.

    Arguments
    ---------
    tagger : AudioTagger
        The model; see `audiomamba.inference.export_onnx`.
    folder : str or Path
        The folder to write; must be empty or not exist.

    Returns
    -------
    Path
        ``folder``.  All addresses in it are relative.

    Raises
    ------
    ExportError
        If the folder is not empty, or onnxruntime-web cannot be fetched.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ExportError(
            f"{folder} exists: remove it, or choose another folder."
        )
    with TemporaryDirectory() as place:
        draft = Path(place) / "site"
        web = files("audiomamba.inference.programs") / "web"
        shutil.copytree(str(web), draft)
        fetch_runtime(draft)
        export_onnx(tagger, draft / "model.onnx")
        settings = {k: json.loads(v) for k, v in metadata(tagger).items()}
        (draft / "settings.json").write_text(
            json.dumps(settings, ensure_ascii=False), encoding="utf-8"
        )
        _list_files(draft)
        shutil.copytree(draft, folder, dirs_exist_ok=True)
    return folder


def fetch_runtime(folder: Path) -> None:
    """Fetch onnxruntime-web with npm.

    Arguments
    ---------
    folder : Path
        Where to put its files.

    Raises
    ------
    ExportError
        If npm is missing or fails.
    """
    with TemporaryDirectory() as place:
        command = ["npm", "pack", "--silent", RUNTIME]
        try:
            subprocess.run(
                command, cwd=place, check=True, capture_output=True, text=True
            )
        except FileNotFoundError as error:
            raise ExportError(
                f"--web fetches {RUNTIME} with npm, which is not installed: "
                "install Node.js (Debian: apt install npm)."
            ) from error
        except subprocess.CalledProcessError as error:
            raise ExportError(
                f"{' '.join(command)} failed: {error.stderr.strip()}"
            ) from error
        (package,) = Path(place).glob("*.tgz")
        names = [f"package/dist/{name}" for name in RUNTIME_FILES]
        with tarfile.open(package) as archive:
            members = [archive.getmember(name) for name in names]
            archive.extractall(place, members, filter="data")
        for name in names:
            shutil.copy(Path(place) / name, folder)


def _list_files(folder):
    """Tell the page's service worker which files to keep."""
    paths = sorted(folder.iterdir())
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.read_bytes())
    worker = folder / "offline.js"
    text = worker.read_text(encoding="utf-8")
    kept = ["./", *(path.name for path in paths if path != worker)]
    version = f"audiomamba-{digest.hexdigest()[:16]}"
    for name, value in (("FILES", kept), ("VERSION", version)):
        line = next(
            line
            for line in text.splitlines()
            if line.startswith(f"const {name} =")
        )
        text = text.replace(line, f"const {name} = {json.dumps(value)};")
    worker.write_text(text, encoding="utf-8")
