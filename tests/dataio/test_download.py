"""Downloads that resume, and archives that cannot be trusted."""

import hashlib
import io
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from audiomamba.dataio.corpora.download import download, unpack
from audiomamba.dataio.problems import PreparationError

CONTENT = bytes(range(256)) * 40
CHECKSUM = hashlib.sha256(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Serve CONTENT, whole or by ranges; the connection may break."""

    def do_GET(self):
        server, start = self.server, 0
        asked = self.headers["Range"]
        server.asked.append(asked)
        if asked and server.ranges:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            if start >= len(CONTENT):
                self.send_error(416)
                return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        self.wfile.write(CONTENT[start : server.breaks_at])

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked, server.ranges, server.breaks_at = [], True, None
    server.url = f"http://127.0.0.1:{server.server_port}/a.tar.gz"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("ranges", [True, False])
def test_an_interrupted_download_resumes(server, tmp_path, ranges):
    path = tmp_path / "data" / "a.tar.gz"
    server.ranges, server.breaks_at = ranges, 4000
    with pytest.raises(PreparationError, match="4000 of 10240 bytes arrived"):
        download(server.url, path, CHECKSUM)
    assert not path.exists()
    server.breaks_at = None
    download(server.url, path, CHECKSUM)
    assert path.read_bytes() == CONTENT
    assert server.asked == [None, "bytes=4000-"]
    assert [p.name for p in path.parent.iterdir()] == ["a.tar.gz"]
    download(server.url, path, CHECKSUM)
    assert len(server.asked) == 2


def test_a_complete_partial_file_is_only_verified(server, tmp_path):
    path = tmp_path / "a.tar.gz"
    path.with_name("a.tar.gz.part").write_bytes(CONTENT)
    download(server.url, path, CHECKSUM)
    assert path.read_bytes() == CONTENT


def test_a_damaged_file_is_downloaded_again(server, tmp_path):
    path = tmp_path / "a.tar.gz"
    path.with_name("a.tar.gz.part").write_bytes(b"not that")
    with pytest.raises(PreparationError, match="checksum"):
        download(server.url, path, CHECKSUM)
    download(server.url, path, CHECKSUM)
    assert path.read_bytes() == CONTENT


def test_an_unreachable_server_is_reported(server, tmp_path):
    url = server.url.replace(str(server.server_port), "1")
    with pytest.raises(PreparationError, match="could not be downloaded"):
        download(url, tmp_path / "a.tar.gz", CHECKSUM)


def pack(path, name, kind=tarfile.REGTYPE, target=""):
    with tarfile.open(path, "w:gz") as archive:
        good = tarfile.TarInfo("./good.txt")
        archive.addfile(good, io.BytesIO())
        entry = tarfile.TarInfo(name)
        entry.type, entry.linkname = kind, target
        archive.addfile(entry, io.BytesIO())


@pytest.mark.parametrize(
    "entry",
    [
        ("../outside.txt",),
        ("link", tarfile.SYMTYPE, "/etc"),
        ("pipe", tarfile.FIFOTYPE),
    ],
)
def test_archives_cannot_write_outside_their_folder(tmp_path, entry):
    pack(tmp_path / "a.tar.gz", *entry)
    with pytest.raises(PreparationError, match="cannot be unpacked"):
        unpack(tmp_path / "a.tar.gz", tmp_path / "a")
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar.gz"]


def test_a_damaged_archive_leaves_no_files(tmp_path):
    pack(tmp_path / "a.tar.gz", "b.txt")
    whole = (tmp_path / "a.tar.gz").read_bytes()
    (tmp_path / "a.tar.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "a.unpacking").mkdir()
    with pytest.raises(PreparationError, match="download it again"):
        unpack(tmp_path / "a.tar.gz", tmp_path / "a")
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar.gz"]


def test_a_half_unpacked_folder_is_named_before_anything_is_unpacked(tmp_path):
    pack(tmp_path / "a.tar.gz", "b.txt")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "half.wav").touch()
    with pytest.raises(PreparationError, match="a, which is there, but not"):
        unpack(tmp_path / "a.tar.gz", tmp_path / "a")
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["a", "a.tar.gz"]
    (tmp_path / "a" / "half.wav").unlink()
    unpack(tmp_path / "a.tar.gz", tmp_path / "a")
    assert (tmp_path / "a" / "good.txt").exists()


def test_an_interrupted_unpacking_leaves_no_draft(tmp_path, monkeypatch):
    pack(tmp_path / "a.tar.gz", "b.txt")

    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(tarfile.TarFile, "extractall", stop)
    with pytest.raises(KeyboardInterrupt):
        unpack(tmp_path / "a.tar.gz", tmp_path / "a")
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar.gz"]
