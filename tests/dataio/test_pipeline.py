"""From a manifest to batches of waveforms and targets."""

import multiprocessing
import pickle

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from speechbrain.dataio.batch import PaddedBatch
from speechbrain.dataio.dataloader import SaveableDataLoader

from audiomamba.dataio.audio import AudioError
from audiomamba.dataio.packed import PackedStrings
from audiomamba.dataio.pipeline import ClipDataset, LabelEncoder, RandomCrop
from audiomamba.dataio.reader import AudioReader
from audiomamba.dataio.rows import ManifestRows

RATE = 8000


def ramp(n_samples):
    """Return samples whose values give their positions."""
    return np.arange(n_samples) / 32768


@pytest.fixture
def folder(tmp_path):
    """Write three clips of 0.5, 1 and 2 s, and their manifest."""
    table = pd.DataFrame({"ID": ["c", "a", "b"], "duration": [2.0, 0.5, 1.0]})
    table["wav"] = table["ID"] + ".wav"
    table["label"] = ["yes", "no", "yes"]
    for row in table.itertuples():
        n_samples = int(row.duration * RATE)
        soundfile.write(tmp_path / row.wav, ramp(n_samples), RATE)
    table.to_csv(tmp_path / "train.csv", index=False)
    return tmp_path


def make_dataset(folder, **options):
    reader = AudioReader(folder, RATE, **options)
    encoder = LabelEncoder(["no", "yes"])
    return ClipDataset(folder / "train.csv", reader, encoder)


def test_batches_have_waveforms_lengths_and_targets(folder):
    loader = SaveableDataLoader(
        make_dataset(folder), batch_size=3, collate_fn=PaddedBatch
    )
    batch = next(iter(loader))
    assert batch.id == ["a", "b", "c"]
    assert batch.sig.data.shape == (3, 2 * RATE)
    assert batch.sig.lengths.tolist() == [0.25, 0.5, 1.0]
    assert batch.target.data.tolist() == [[0], [1], [1]]


def test_columns_of_the_user_do_not_replace_waveforms_and_targets(folder):
    """Once SpeechBrain took them, and 'target' ended in an AttributeError."""
    path = folder / "train.csv"
    table = pd.read_csv(path)
    table[["id", "sig", "target"]] = "7"
    table.to_csv(path, index=False)
    item = make_dataset(folder)[0]
    assert item["id"] == "a" and item["target"].tolist() == [0]
    assert len(item["sig"]) == RATE // 2


def test_the_first_seconds_are_kept_and_the_mean_is_removed(folder):
    whole = make_dataset(folder, remove_mean=False)[2]["sig"]
    np.testing.assert_allclose(whole, ramp(2 * RATE), atol=1e-6)
    first = make_dataset(folder, max_duration=0.75, remove_mean=False)
    assert [len(item["sig"]) for item in first] == [4000, 6000, 6000]
    assert torch.equal(first[2]["sig"], whole[:6000])
    centred = make_dataset(folder, max_duration=0.75)[2]["sig"]
    torch.testing.assert_close(centred, whole[:6000] - whole[:6000].mean())


@pytest.mark.parametrize("file_rate", [8000, 11025, 44100, 48000])
def test_the_kept_duration_is_exact_at_any_rate(tmp_path, file_rate):
    soundfile.write(tmp_path / "a.wav", np.zeros(file_rate), file_rate)
    reader = AudioReader(tmp_path, 16000, max_duration=0.3333)
    assert len(reader("a", "a.wav", 0, -1)) == round(0.3333 * 16000)


def test_segments_are_read_and_crops_stay_inside_them(folder):
    table = pd.read_csv(folder / "train.csv").assign(start=100, stop=2100)
    table.to_csv(folder / "train.csv", index=False)
    options = {"remove_mean": False}
    np.testing.assert_allclose(
        make_dataset(folder, **options)[2]["sig"], ramp(RATE)[100:2100]
    )
    crop = RandomCrop(seed=0)
    options.update(max_duration=0.1, crop=crop)
    dataset = make_dataset(folder, **options)
    starts = set()
    for epoch in range(40):
        crop.set_epoch(epoch)
        sig = dataset[2]["sig"]
        start = round(sig[0].item() * 32768)
        np.testing.assert_allclose(sig, ramp(RATE)[start : start + 800])
        assert 100 <= start <= 1300
        starts.add(start)
    assert len(starts) > 30


def cropped(folder, crop):
    # without its mean, a crop of a ramp does not tell where it starts
    return make_dataset(folder, max_duration=0.25, crop=crop, remove_mean=False)


def crops(folder, epoch, crop=None, **loader_options):
    crop = crop or RandomCrop(seed=3)
    crop.set_epoch(epoch)
    loader = SaveableDataLoader(
        cropped(folder, crop),
        batch_size=1,
        collate_fn=PaddedBatch,
        **loader_options,
    )
    return [batch.sig.data for batch in loader]


def test_crops_depend_on_seed_epoch_and_id_alone(folder):
    expected = crops(folder, epoch=5)
    again = crops(folder, epoch=5, num_workers=2)
    assert all(map(torch.equal, expected, again))
    assert not all(map(torch.equal, expected, crops(folder, epoch=6)))
    other = crops(folder, epoch=5, crop=RandomCrop(seed=4))
    assert not all(map(torch.equal, expected, other))


def test_persistent_workers_see_the_next_epoch(folder):
    crop = RandomCrop(seed=3)
    loader = SaveableDataLoader(
        cropped(folder, crop),
        batch_size=1,
        collate_fn=PaddedBatch,
        num_workers=1,
        persistent_workers=True,
    )
    for epoch in (1, 2):
        crop.set_epoch(epoch)
        found = [batch.sig.data for batch in loader]
        assert all(map(torch.equal, found, crops(folder, epoch)))


def test_filtered_datasets_share_the_epoch(folder):
    crop = RandomCrop(seed=3)
    dataset = cropped(folder, crop)
    longest = dataset.filtered_sorted(key_min_value={"duration": 2.0})
    longest.set_output_keys(["sig"])
    assert len(longest) == 1
    first = longest[0]["sig"]
    crop.set_epoch(2)
    assert not torch.equal(first, longest[0]["sig"])


def test_crops_are_spread_evenly():
    crop = RandomCrop(seed=0)
    offsets = [crop.offset(f"clip{i}", 9) for i in range(10000)]
    counts = np.bincount(offsets, minlength=10)
    # 1000 each, standard deviation 30
    assert len(counts) == 10 and abs(counts - 1000).max() < 150
    assert crop.offset("short clip", 0) == 0


def test_items_can_be_sent_to_spawned_workers(folder):
    reader = AudioReader(folder, RATE, max_duration=0.1, crop=RandomCrop(1))
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        sig = pool.apply(reader, ("c", "c.wav", 0, -1))
    assert torch.equal(sig, reader("c", "c.wav", 0, -1))
    encoder = pickle.loads(pickle.dumps(LabelEncoder(["no"])))
    assert encoder("a", "no").tolist() == [0]


def test_an_unreadable_clip_in_a_worker_is_named(folder):
    (folder / "b.wav").write_bytes(b"")
    loader = SaveableDataLoader(
        make_dataset(folder), collate_fn=PaddedBatch, num_workers=1
    )
    with pytest.raises(AudioError, match="b.wav: is empty"):
        list(loader)


def test_labels_missing_from_the_label_file_are_named():
    with pytest.raises(ValueError, match="clip7.*'maybe'.*2 classes"):
        LabelEncoder(["no", "yes"])("clip7", "maybe")


def test_several_labels_become_a_multi_hot_row():
    encoder = LabelEncoder(["/m/a", "/m/b", "/m/c"], multi_label=True)
    assert encoder("x", "/m/c;/m/a").tolist() == [1.0, 0.0, 1.0]
    assert encoder("x", "").tolist() == [0.0, 0.0, 0.0]


def test_a_crop_without_a_length_is_refused(tmp_path):
    with pytest.raises(ValueError, match="max_duration"):
        AudioReader(tmp_path, crop=RandomCrop(seed=0))


def test_a_manifest_without_rows_is_refused(tmp_path):
    (tmp_path / "train.csv").write_text("ID,duration,wav,label\n")
    with pytest.raises(ValueError, match="no row to use"):
        ClipDataset(tmp_path / "train.csv", AudioReader(tmp_path))


def test_rows_are_found_by_their_exact_ids():
    ids = ["-x", "A", "a", "aa", "ä", "ö"]
    rows = ManifestRows(
        PackedStrings(ids),
        {"label": PackedStrings(ids[::-1]), "start": np.arange(6)},
    )
    assert list(rows) == ids and len(rows) == 6
    for index, item_id in enumerate(ids):
        expected = {"label": ids[5 - index], "start": index}
        assert rows[item_id] == expected
    for absent in ("", "b", "zz", "öö"):
        with pytest.raises(KeyError):
            rows[absent]
    assert [*PackedStrings(["", "é", ""])] == ["", "é", ""]


def test_a_dataset_stores_its_ids_once(folder):
    dataset = make_dataset(folder)
    assert dataset.data_ids is dataset.data.ids
    assert [*dataset.data_ids] == ["a", "b", "c"]


def test_the_dataset_passes_the_epoch_on_to_its_crops(folder):
    crop = RandomCrop(seed=0)
    make_dataset(folder, max_duration=0.25, crop=crop).set_epoch(7)
    assert crop.epoch.item() == 7
    make_dataset(folder).set_epoch(7)  # without crops there is nothing to do
