"""SpeechBrain's own scripts with the YAMLs that are written for them.

The keys that each script reads are listed here.  Where the environment variable
SPEECHBRAIN_RECIPES names the folder ``recipes`` of a checkout of SpeechBrain,
the lists are compared with its scripts, and the scripts run on miniature
corpora.
"""

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from ruamel.yaml import YAML
from speechbrain.utils.run_opts import RunOptions

RECIPES = Path(__file__).parents[2] / "recipes"
CHECKOUT = os.environ.get("SPEECHBRAIN_RECIPES")
needs_checkout = pytest.mark.skipif(
    not CHECKOUT, reason="SPEECHBRAIN_RECIPES names no checkout"
)
SPEAKERS = "VoxCeleb/hparams/speechbrain/train_audio_mamba.yaml"
VERIFICATION = "VoxCeleb/hparams/speechbrain/verification_audio_mamba.yaml"
CLIPS = "ESC50/hparams/speechbrain/audio_mamba.yaml"
SPEECH = "LibriSpeech/hparams/speechbrain/audio_mamba_ctc.yaml"
SCRIPTS = {
    SPEAKERS: "VoxCeleb/SpeakerRec/train_speaker_embeddings.py",
    VERIFICATION: "VoxCeleb/SpeakerRec/speaker_verification_cosine.py",
    CLIPS: "ESC50/classification/train.py",
    SPEECH: "LibriSpeech/ASR/CTC/train.py",
}
# The YAMLs of SpeechBrain that they are made from
THEIRS = {
    SPEAKERS: "train_ecapa_tdnn.yaml",
    VERIFICATION: "verification_ecapa.yaml",
    CLIPS: "cnn14.yaml",
    SPEECH: "conformer_large.yaml",
}
ALL_TRAIN = (
    "checkpointer data_folder epoch_counter modules output_folder save_folder "
    "train_logger"
)
READ = {
    SPEAKERS: f"{ALL_TRAIN} compute_cost compute_features dataloader_options "
    "error_stats lr_annealing opt_class prepare_noise_data prepare_rir_data "
    "random_chunk sample_rate sentence_len skip_prep split_ratio "
    "train_annotation valid_annotation verification_file wav_augment",
    VERIFICATION: "cohort_size compute_features data_folder embedding_model "
    "enrol_data enrol_dataloader_opts mean_var_norm n_train_snts "
    "output_folder pretrainer save_folder score_norm skip_prep split_ratio "
    "test_data test_dataloader_opts train_data train_dataloader_opts "
    "verification_file",
    CLIPS: f"{ALL_TRAIN} add_wham_noise audio_data_folder dataloader_options "
    "embedding_model error_stats lr_annealing opt_class out_n_neurons "
    "sample_rate signal_length_s skip_manifest_creation spec_mag_power "
    "tensorboard_logs_folder test_annotation test_fold_nums test_only "
    "train_annotation train_fold_nums use_log1p_mel use_melspectra "
    "use_pretrained use_tensorboard valid_annotation valid_fold_nums "
    "wham_audio_folder wham_folder",
    SPEECH: f"{ALL_TRAIN} avg_checkpoints blank_index bos_index cer_computer "
    "character_coverage compute_features ctc_cost dev_splits "
    "dynamic_batch_sampler_train dynamic_batch_sampler_val dynamic_batching "
    "eos_index log_softmax model model_opt_class noam_annealing num_workers "
    "output_neurons skip_prep sorting speed_perturb test_beam_search test_csv "
    "test_dataloader_opts test_splits token_type train_csv "
    "train_dataloader_opts train_splits valid_csv valid_dataloader_opts "
    "valid_search_interval wav_augment wer_computer wer_file",
}
# Read only where a YAML has them, and absent from those here
ABSENT = {
    "augmentation",
    "pretrained_encoder",
    "use_tacotron2_mel_spec",
    "voxceleb_source",
}
SMALL = {"embed_dim": 32, "depth": 1, "number_of_epochs": 1}


def plain_keys(text):
    """Return top-level keys with their values, or with an object's class."""
    content = YAML().load(text)
    return {
        key: value.tag.value if isinstance(value, dict) else str(value)
        for key, value in content.items()
    }


def top_level(text):
    """Return the top-level keys of a YAML."""
    return set(re.findall(r"^(\w+):", text, re.MULTILINE))


@pytest.mark.parametrize("name", READ)
def test_a_yaml_has_every_key_that_its_script_reads_and_no_other(name):
    text = (RECIPES / name).read_text()
    keys, read = top_level(text), set(READ[name].split())
    assert not read - keys
    referenced = set(re.findall(r"<(\w+)>", text))
    run_options = {"seed", "__set_seed", *RunOptions().as_dict()}
    assert not keys - read - referenced - run_options


@needs_checkout
@pytest.mark.parametrize("name", READ)
def test_the_listed_keys_are_those_that_the_script_reads(name):
    code = Path(CHECKOUT, SCRIPTS[name]).read_text()
    code = re.sub(r"^ *#.*", "", code, flags=re.MULTILINE)
    found = re.findall(r'params\["(\w+)"\]|\.hparams\.(\w+)', code)
    found = {key for pair in found for key in pair if key}
    written = set(re.findall(r'params\["(\w+)"\] = ', code))
    assert found - written - ABSENT == set(READ[name].split())


@needs_checkout
@pytest.mark.parametrize("name", READ)
def test_the_header_names_all_that_differs(name):
    """Values of keys, and classes of objects, of SpeechBrain's own YAML."""
    path = Path(CHECKOUT, SCRIPTS[name]).with_name("hparams") / THEIRS[name]
    text = (RECIPES / name).read_text()
    header = text[: text.index("\nseed:")]
    assert THEIRS[name] in header
    ours, theirs = plain_keys(text), plain_keys(path.read_text())
    for key in set(ours) & set(theirs):
        if ours[key] != theirs[key]:
            assert re.search(rf"\b{key}\b", header), key


# ------------------------------------------------------------ running them


def run(name, folder, environment=None, **overrides):
    """Run a script on the CPU with its YAML; return what it printed."""
    script = Path(CHECKOUT, SCRIPTS[name])
    options = {"output_folder": folder, "device": "cpu", **overrides}
    flags = [f"--{key}={value}" for key, value in options.items()]
    done = subprocess.run(
        [sys.executable, script.name, RECIPES / name, *flags],
        cwd=script.parent,
        env={**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


@pytest.fixture
def archives(tmp_path):
    """Write the archives of noises and rooms that the script downloads."""
    generator = np.random.default_rng(0)
    paths = {}
    for kind in ("noise", "rir"):
        wav, path = tmp_path / f"{kind}.wav", tmp_path / f"{kind}.zip"
        soundfile.write(wav, 0.1 * generator.standard_normal(16000), 16000)
        with zipfile.ZipFile(path, "w") as archive:
            archive.write(wav, f"{kind}s/{kind}.wav")
        paths[kind] = path
    return paths


@needs_checkout
def test_speaker_embeddings_and_verification(make_corpus, archives, tmp_path):
    corpus = make_corpus("VoxCeleb", n_utterances=8).folder
    common = {
        "data_folder": corpus,
        "verification_file": corpus / "veri_test2.txt",
        "embed_dim": 32,
        "depth": 1,
    }
    run(
        SPEAKERS,
        tmp_path / "run",
        **common,
        number_of_epochs=1,
        NOISE_DATASET_URL=archives["noise"],
        RIR_DATASET_URL=archives["rir"],
        sentence_len=1.5,
        batch_size=4,
        out_n_neurons=4,
        num_workers=0,
    )
    log = (tmp_path / "run" / "train_log.txt").read_text()
    assert "valid ErrorRate" in log
    (checkpoint,) = (tmp_path / "run" / "save").glob("CKPT+*")
    scores = []
    for batch_size in (1, 8):
        folder = tmp_path / f"verification{batch_size}"
        printed = run(
            VERIFICATION,
            folder,
            **common,
            pretrain_path=checkpoint,
            cohort_size=8,
            batch_size=batch_size,
        )
        assert "EER(%)=" in printed and "minDCF=" in printed
        scores.append(np.loadtxt(folder / "scores.txt", usecols=3))
    assert len(scores[0]) > 10
    np.testing.assert_allclose(*scores, atol=1e-4)


@needs_checkout
def test_clip_classification(make_corpus, tmp_path):
    pytest.importorskip("torchvision", reason="the script imports torchvision")
    corpus = make_corpus("ESC50", n_clips=1, seconds=1.0).folder
    labels = (corpus / "meta" / "esc50.csv").read_text().splitlines()[1:]
    n_classes = len({line.split(",")[3] for line in labels})
    run(
        CLIPS,
        tmp_path,
        data_folder=corpus,
        batch_size=10,
        out_n_neurons=n_classes,
        **SMALL,
    )
    assert "test error" in (tmp_path / "train_log.txt").read_text()


@pytest.fixture
def librispeech(tmp_path):
    """Write a miniature LibriSpeech of noise, with all letters in its text."""
    generator = np.random.default_rng(0)
    words = "THE QUICK BROWN FOX JUMPS OVER THE LAZY DOG'S BACK"
    for split in ("train-clean-100", "dev-clean", "test-clean"):
        folder = tmp_path / "LibriSpeech" / split / "1" / "2"
        folder.mkdir(parents=True)
        ids = [f"1-2-{number:04}" for number in range(4)]
        for number, name in enumerate(ids):
            samples = generator.standard_normal(16000 * (2 + number % 2))
            soundfile.write(folder / f"{name}.flac", 0.1 * samples, 16000)
        lines = [f"{name} {words}\n" for name in ids]
        (folder / "1-2.trans.txt").write_text("".join(lines))
    return tmp_path / "LibriSpeech"


@needs_checkout
def test_speech_recognition(librispeech, tmp_path):
    folder = tmp_path / "run"
    run(
        SPEECH,
        folder,
        data_folder=librispeech,
        train_splits="[train-clean-100]",
        test_splits="[test-clean]",
        test_csv=f"[{folder}/test-clean.csv]",
        num_workers=0,
        **SMALL,
    )
    log = (folder / "train_log.txt").read_text()
    assert "valid WER" in log and "test WER" in log
