"""The command that exports a run; other tests check what it writes."""

from types import SimpleNamespace

import pytest


@pytest.fixture
def tool(monkeypatch, tmp_path):
    """Replace the export by one that only creates the folder."""
    import export_pretrained

    def export_run(output_folder, target, labels, licence):
        target.mkdir()
        (target / "hyperparams.yaml").write_text(f"{output_folder} {labels}")
        return target

    monkeypatch.setattr(export_pretrained, "export_run", export_run)
    return export_pretrained.main


def test_a_folder_without_a_run_is_refused(tmp_path):
    from export_pretrained import main

    with pytest.raises(SystemExit, match="no hyperparams.yaml.*train.py"):
        main([str(tmp_path), str(tmp_path / "target")])


def test_push_uploads_the_export(tool, tmp_path, monkeypatch, capsys):
    calls = []
    hub = SimpleNamespace(
        create_repo=lambda *a, **k: calls.append((a, k)) or "https://hub/o/n",
        upload_folder=lambda **k: calls.append(k),
    )
    monkeypatch.setattr("huggingface_hub.HfApi", lambda: hub)
    target = tmp_path / "target"
    tool(["run", str(target), "--push", "o/n", "--private"])
    created, uploaded = calls
    assert created == (("o/n",), {"private": True, "exist_ok": True})
    assert (uploaded["repo_id"], uploaded["folder_path"]) == ("o/n", target)
    assert "https://hub/o/n" in capsys.readouterr().out


def test_a_failed_push_keeps_the_export(tool, tmp_path, monkeypatch):
    def refuse(*arguments, **options):
        raise OSError("no connection")

    hub = SimpleNamespace(create_repo=refuse)
    monkeypatch.setattr("huggingface_hub.HfApi", lambda: hub)
    target = tmp_path / "target"
    with pytest.raises(SystemExit, match="no connection\n.*hf upload o/n"):
        tool(["run", str(target), "--push", "o/n"])
    assert (target / "hyperparams.yaml").is_file()
