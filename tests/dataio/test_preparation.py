"""The steps that all preparations share, on a made-up corpus."""

import re
from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest
import soundfile

from audiomamba.dataio.audio import AudioError
from audiomamba.dataio.corpora.preparation import Corpus, Inputs, by_split
from audiomamba.dataio.manifest import read_labels, read_manifest
from audiomamba.dataio.problems import PreparationError, Problems


@dataclass
class Tones(Corpus):
    """Clips in <split>/<label>_<take>.wav."""

    option: int = 0

    name = "Tones"
    source = "Get it with: wget x.org -P {data_folder}"
    tree = "<split>/<label>_<take>.wav"
    recipe = __file__
    sample_rate = 8000

    def find(self):
        self.require(self.data_folder / "list.txt")
        options = {"option": self.option}
        audio = self.list_audio()
        return Inputs([self.data_folder / "list.txt"], audio, options)

    def parse(self, inputs):
        names = inputs.audio["wav"].str.extract(r"(?P<split>\w+)/(?P<label>.)")
        rows = inputs.audio.join(names).assign(ID=inputs.audio["wav"])
        return rows, Counter(rows["split"])

    def finish(self, rows):
        return by_split(rows), sorted(set(rows["label"]))


@pytest.fixture
def corpus(tmp_path):
    folder = tmp_path / "data"
    for split in ("train", "valid", "test"):
        (folder / split).mkdir(parents=True)
        for name in ("b_0", "a_0", "a_1"):
            path = folder / split / f"{name}.wav"
            soundfile.write(path, np.zeros(800), 8000)
    (folder / "list.txt").write_text("1")
    return folder


def test_manifests_and_labels_are_written_and_reused(corpus, tmp_path, caplog):
    save = tmp_path / "save"
    Tones(corpus, save).prepare()
    table = read_manifest(save / "test.csv")
    assert table["ID"].tolist() == [
        "test/a_0.wav", "test/a_1.wav", "test/b_0.wav",
    ]  # fmt: skip
    assert table["label"].tolist() == ["a", "a", "b"]
    assert list(table) == ["ID", "duration", "wav", "label"]
    assert read_labels(save / "labels.csv") == ["a", "b"]
    caplog.set_level("INFO")

    def is_reused(option=0, **arguments):
        caplog.clear()
        Tones(corpus, save, option).prepare(**arguments)
        return "Nothing has changed" in caplog.text

    assert is_reused()
    assert not is_reused(option=1) and is_reused(option=1)
    assert not is_reused(allow_missing=True)
    (corpus / "list.txt").write_text("2")
    assert not is_reused(allow_missing=True)


def test_skip_prep_needs_no_corpus(tmp_path):
    Tones(tmp_path / "none", tmp_path / "save").prepare(skip_prep=True)
    assert not (tmp_path / "save").exists()


def test_unusable_files_are_reported_or_left_out(corpus, tmp_path):
    (corpus / "train" / "a_0.wav").write_bytes(b"")
    soundfile.write(corpus / "train" / "a_1.wav", np.zeros(100), 16000)
    with pytest.raises(PreparationError, match="2 problems") as caught:
        Tones(corpus, tmp_path / "save").prepare()
    assert "a_0.wav: is empty" in str(caught.value)
    assert "a_1.wav: has 16000 Hz instead of 8000 Hz" in str(caught.value)
    with pytest.raises(PreparationError, match="train lacks 66.7%"):
        Tones(corpus, tmp_path / "save").prepare(
            allow_missing=True, max_missing=0.5
        )
    Tones(corpus, tmp_path / "save").prepare(allow_missing=True)
    assert len(read_manifest(tmp_path / "save" / "train.csv")) == 1
    named = (tmp_path / "save" / "problems.txt").read_text()
    assert len(named.splitlines()) == 2


def test_a_missing_corpus_is_explained(corpus, tmp_path):
    def message(folder):
        with pytest.raises(PreparationError) as caught:
            Tones(folder, tmp_path / "save").prepare()
        return str(caught.value).splitlines()

    none = tmp_path / "none"
    first, source, _, *tree = message(none)
    assert first == f"Tones was not found: there is no folder {none}."
    assert source == f"Get it with: wget x.org -P {none}"
    assert tree[:2] == [f"  {none}/", "    <split>/<label>_<take>.wav"]
    assert tree[-1].endswith(f"make_mini_corpus.py Tones {none}")
    for path in corpus.rglob("*.wav"):
        path.unlink()
    assert "there is no .wav file in it" in message(corpus)[0]
    (corpus / "list.txt").unlink()
    assert f"there is no file {corpus / 'list.txt'}." in message(corpus)[0]


def test_the_miniature_is_never_put_into_a_folder_in_use(corpus, tmp_path):
    def proposed(folder):
        with pytest.raises(PreparationError) as caught:
            Tones(folder, tmp_path / "save").prepare()
        return str(caught.value).splitlines()

    (corpus / "list.txt").unlink()
    *_, command, option = proposed(corpus)
    assert command.endswith(f"make_mini_corpus.py Tones {corpus}_mini")
    assert option == f"and pass --data_folder {corpus}_mini"
    (tmp_path / "data_mini" / "other").mkdir(parents=True)
    assert proposed(corpus)[-1].endswith("data_mini2")
    (tmp_path / "empty").mkdir()
    assert proposed(tmp_path / "empty")[-1].endswith(f"Tones {tmp_path}/empty")


def test_audio_in_other_formats_is_named_with_the_command(
    corpus, tmp_path, caplog
):
    for split in ("valid", "test"):
        for path in (corpus / split).glob("*.wav"):
            path.rename(path.with_suffix(".m4a"))
    with pytest.raises(PreparationError):
        Tones(corpus, tmp_path / "save").prepare()
    assert f"{corpus} has 6 .m4a files" in caplog.text
    command = (
        f"find {corpus} -name '*.m4a' -exec sh -c 'ffmpeg -i \"$1\" -ar 8000"
    )
    assert command in caplog.text
    for path in corpus.rglob("*.wav"):
        path.unlink()
    complaint = "no .wav file in it.*6 .m4a files.*ffmpeg"
    with pytest.raises(PreparationError, match=complaint):
        Tones(corpus, tmp_path / "save").prepare()


def test_problems_found_before_are_shown_when_a_later_step_gives_up(
    corpus, tmp_path
):
    for path in (corpus / "train").glob("*.wav"):
        path.write_bytes(b"")
    with pytest.raises(PreparationError) as caught:
        Tones(corpus, tmp_path / "save").prepare(allow_missing=True)
    message = str(caught.value)
    assert "train: none of its rows can be used" in message
    assert "3 problems" in message and "a_0.wav: is empty" in message


def test_problems_are_in_the_order_of_lines(tmp_path):
    problems = Problems()
    for line in (10, 9, 100):
        problems.add(f"list.txt, line {line}: is wrong; delete it")
    with pytest.raises(PreparationError) as caught:
        problems.settle(tmp_path / "problems.txt")
    lines = [int(n) for n in re.findall(r"line (\d+)", str(caught.value))]
    assert lines == [9, 10, 100]


def test_an_unusable_file_of_all_clips_ends_the_preparation_in_words(
    corpus, tmp_path
):
    class Packed(Tones):
        def measure(self, rows):
            self.problems.add("list.txt, line 7: has no label; correct it")
            raise AudioError("clips.hdf5: is damaged; download it again")

    with pytest.raises(PreparationError) as caught:
        Packed(corpus, tmp_path / "save").prepare()
    assert str(caught.value).startswith("clips.hdf5: is damaged")
    assert "line 7: has no label" in str(caught.value)


def test_classes_that_lose_all_clips_are_named(corpus, tmp_path, caplog):
    @dataclass
    class Listed(Tones):
        def parse(self, inputs):
            rows, totals = super().parse(inputs)
            self.listed = rows
            return rows, totals

    (corpus / "train" / "a_0.wav").write_bytes(b"")
    (corpus / "test" / "b_0.wav").write_bytes(b"")
    Listed(corpus, tmp_path / "save").prepare(allow_missing=True)
    warning = "no clip is left in test of: b (1)"
    assert warning in caplog.text and "train of" not in caplog.text
    caplog.clear()
    Listed(corpus, tmp_path / "save").prepare(allow_missing=True)
    assert warning in caplog.text


def test_lists_are_never_overwritten_by_manifests(corpus):
    before = sorted(corpus.rglob("*"))
    with pytest.raises(PreparationError, match="list.txt.*--output_folder"):
        Tones(corpus, corpus / "train" / "..").prepare()
    assert sorted(corpus.rglob("*")) == before


def test_what_the_system_refuses_is_explained(corpus, tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(PreparationError, match="file.*another folder"):
        Tones(corpus, tmp_path / "file" / "save").prepare()


@pytest.mark.parametrize("max_missing", [-0.1, 1.1, float("nan")])
def test_a_share_is_between_0_and_1(corpus, tmp_path, max_missing):
    with pytest.raises(PreparationError, match=r"max_missing.*\[0, 1\]"):
        Tones(corpus, tmp_path / "save").prepare(max_missing=max_missing)


def test_decoding_finds_what_headers_hide_once(corpus, tmp_path, caplog):
    noise = np.random.default_rng(1).uniform(-0.5, 0.5, 8000)
    for wav in corpus.rglob("*.wav"):
        soundfile.write(wav, noise, 8000)
    cut = corpus / "train" / "a_0.wav"
    soundfile.write(cut, noise, 8000, format="SDS", subtype="PCM_16")
    cut.write_bytes(cut.read_bytes()[:4000])
    soundfile.write(corpus / "test" / "b_0.wav", np.full(800, 0.25), 8000)
    Tones(corpus, tmp_path / "save").prepare()
    assert not caplog.messages
    with pytest.raises(PreparationError, match="a_0.wav: truncated"):
        Tones(corpus, tmp_path / "save").prepare(check_audio="decode")
    (warning,) = caplog.messages
    assert warning.startswith("1 file is silent throughout: test/b_0.wav;")
    decode = {"check_audio": "decode", "allow_missing": True}
    Tones(corpus, tmp_path / "save").prepare(**decode)
    assert len(read_manifest(tmp_path / "save" / "train.csv")) == 2
    caplog.set_level("INFO")
    caplog.clear()
    Tones(corpus, tmp_path / "save").prepare(**decode)
    assert caplog.messages[0].startswith("Nothing has changed")


def test_an_unknown_check_is_refused(corpus, tmp_path):
    with pytest.raises(PreparationError, match="check_audio is all"):
        Tones(corpus, tmp_path / "save").prepare(check_audio="all")
