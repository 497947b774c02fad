"""Audio Mamba in SpeechBrain's recipes, called as in their scripts.

`test_speechbrain_checkout` runs the scripts themselves. The Brains below make
the calls of ``train_speaker_embeddings.py`` and
``speaker_verification_cosine.py`` (VoxCeleb/SpeakerRec), ``train.py``
(ESC50/classification) and ``train.py`` (LibriSpeech/ASR/CTC), with the same
arguments and the same use of the results.
"""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import speechbrain as sb
import torch
import torch.nn.functional as F
from hyperpyyaml import load_hyperpyyaml
from speechbrain.dataio.dataset import DynamicItemDataset
from speechbrain.decoders.ctc import CTCBeamSearcher
from speechbrain.utils.checkpoints import average_checkpoints
from speechbrain.utils.data_utils import batch_pad_right
from transformers import WavLMConfig, WavLMModel

from audiomamba.lobes.clip_encoder import encode

RECIPES = Path(__file__).parents[2] / "recipes"
SPEAKERS = "VoxCeleb/hparams/speechbrain/train_audio_mamba.yaml"
VERIFICATION = "VoxCeleb/hparams/speechbrain/verification_audio_mamba.yaml"
CLIPS = "ESC50/hparams/speechbrain/audio_mamba.yaml"
SPEECH = "LibriSpeech/hparams/speechbrain/audio_mamba_ctc.yaml"
CPU = {"device": "cpu", "noprogressbar": True}


def load(name, folder, **overrides):
    """Load a YAML with a narrow model of one layer."""
    text = (RECIPES / name).read_text()
    assert "depth: 24" in text and "384" in text
    text = text.replace("depth: 24", "depth: 1").replace("384", "32")
    overrides = {
        "data_folder": str(folder),
        "output_folder": str(folder),
        **overrides,
    }
    return load_hyperpyyaml(text, overrides)


def dataset(**items):
    """Make four noises of two lengths, and other items from their indices."""

    def sig(number):
        generator = torch.Generator().manual_seed(number)
        samples = 16000 if number % 2 else 8000
        return 0.1 * torch.randn(samples, generator=generator)

    rows = {f"clip{n}": {"number": n} for n in range(4)}
    made = DynamicItemDataset(rows)
    made.add_dynamic_item(sig, "number", "sig")
    for name, make in items.items():
        made.add_dynamic_item(make, "number", name)
    made.set_output_keys(["id", "sig", *items])
    return made


def encoded(n_classes):
    return lambda number: torch.tensor([number % n_classes])


class ErrorsBrain(sb.Brain):
    """What the speaker and clip scripts share."""

    def on_stage_start(self, stage, epoch=None):
        self.error_metrics = self.hparams.error_stats()

    def on_stage_end(self, stage, stage_loss, epoch=None):
        if stage == sb.Stage.VALID:
            _, new_lr = self.hparams.lr_annealing(epoch)
            sb.nnet.schedulers.update_learning_rate(self.optimizer, new_lr)
            error = self.error_metrics.summarize("average")
            assert 0 <= error <= 1
            self.checkpointer.save_and_keep_only(
                meta={"error": error}, min_keys=["error"]
            )


class SpeakerBrain(ErrorsBrain):
    def compute_forward(self, batch, stage):
        wavs, lens = batch.sig
        if stage == sb.Stage.TRAIN:
            wavs, lens = self.hparams.wav_augment(wavs, lens)
        feats = self.modules.compute_features(wavs)
        feats = self.modules.mean_var_norm(feats, lens)
        embeddings = self.modules.embedding_model(feats)
        assert embeddings.shape == (len(wavs), 1, 32)
        return self.modules.classifier(embeddings), lens

    def compute_objectives(self, predictions, batch, stage):
        outputs, lens = predictions
        speakers = batch.spk_id_encoded.data
        if stage == sb.Stage.TRAIN:
            speakers = self.hparams.wav_augment.replicate_labels(speakers)
            self.hparams.lr_annealing.on_batch_end(self.optimizer)
        else:
            self.error_metrics.append(batch.id, outputs, speakers, lens)
        return self.hparams.compute_cost(outputs, speakers, lens)


class ClipBrain(ErrorsBrain):
    def compute_forward(self, batch, stage):
        wavs, lens = batch.sig
        spectrum = sb.processing.features.spectral_magnitude(
            self.modules.compute_stft(wavs), power=self.hparams.spec_mag_power
        )
        net_input = torch.log1p(self.modules.compute_fbank(spectrum))
        # Otherwise the script takes it for a Hugging Face model
        assert not hasattr(self.modules.embedding_model, "config")
        embeddings = self.modules.embedding_model(net_input)
        assert isinstance(embeddings, torch.Tensor) and embeddings.ndim == 3
        return self.modules.classifier(embeddings), lens

    def compute_objectives(self, predictions, batch, stage):
        outputs, lens = predictions
        classes = batch.class_string_encoded.data
        target = F.one_hot(
            classes.squeeze(), num_classes=self.hparams.out_n_neurons
        )
        if stage != sb.Stage.TRAIN:
            self.error_metrics.append(batch.id, outputs, classes, lens)
        if stage != sb.Stage.TEST:
            self.hparams.lr_annealing.on_batch_end(self.optimizer)
        log_probs = F.log_softmax(outputs.squeeze(1), 1)
        return -(log_probs * target).sum(1).mean()


class SpeechBrainASR(sb.Brain):
    def compute_forward(self, batch, stage):
        wavs, wav_lens = batch.sig
        if stage == sb.Stage.TRAIN:
            wavs, wav_lens = self.hparams.wav_augment(wavs, wav_lens)
        feats = self.hparams.compute_features(wavs)
        epoch = self.hparams.epoch_counter.current
        feats = self.modules.normalize(feats, wav_lens, epoch=epoch)
        src = self.modules.CNN(feats)
        enc_out, _ = self.modules.Transformer(src, tgt=None, wav_len=wav_lens)
        assert enc_out.shape == (len(wavs), -(-feats.shape[1] // 4), 32)
        p_ctc = self.hparams.log_softmax(self.modules.ctc_lin(enc_out))
        if stage == sb.Stage.VALID:
            found = sb.decoders.ctc_greedy_decode(
                p_ctc, wav_lens, blank_id=self.hparams.blank_index
            )
            assert len(found) == len(wavs)
        elif stage == sb.Stage.TEST:
            best = self.searcher(p_ctc, wav_lens)
            assert all(isinstance(hyps[0].text, str) for hyps in best)
        return p_ctc, wav_lens

    def compute_objectives(self, predictions, batch, stage):
        p_ctc, wav_lens = predictions
        tokens, tokens_lens = batch.tokens
        if stage == sb.Stage.TRAIN:
            copies = self.hparams.wav_augment.replicate_labels
            tokens, tokens_lens = copies(tokens), copies(tokens_lens)
        return self.hparams.ctc_cost(p_ctc, tokens, wav_lens, tokens_lens)

    def on_fit_batch_end(self, batch, outputs, loss, should_step):
        if should_step:
            self.hparams.noam_annealing(self.optimizer)

    def on_stage_end(self, stage, stage_loss, epoch):
        if stage == sb.Stage.VALID:
            self.checkpointer.save_and_keep_only(
                meta={"WER": 50.0, "epoch": epoch},
                min_keys=["WER"],
                num_to_keep=self.hparams.avg_checkpoints,
            )


def train(brain_class, hparams, data, opt_class="opt_class"):
    """Train for one epoch; return the initial weights and the Brain."""
    brain = brain_class(
        modules=hparams["modules"],
        opt_class=hparams[opt_class],
        hparams=hparams,
        run_opts=CPU,
        checkpointer=hparams["checkpointer"],
    )
    before = [p.detach().clone() for p in brain.modules.parameters()]
    loader = {"batch_size": 2}
    brain.fit(
        hparams["epoch_counter"],
        data,
        data,
        train_loader_kwargs=loader,
        valid_loader_kwargs=loader,
    )
    moved = zip(before, brain.modules.parameters())
    assert all(bool((old != new).any()) for old, new in moved)
    return brain


@pytest.fixture
def noises(tmp_path):
    """Write the lists of noises and rooms that the script downloads."""
    (tmp_path / "save").mkdir()
    noise = np.random.default_rng(0).standard_normal(16000) * 0.1
    soundfile.write(tmp_path / "n.wav", noise, 16000)
    row = {"ID": ["n"], "duration": [1.0], "wav": [tmp_path / "n.wav"]}
    row |= {"wav_format": ["wav"], "wav_opts": [""]}
    for name in ("noise", "rir"):
        pd.DataFrame(row).to_csv(tmp_path / "save" / f"{name}.csv", index=False)
    return tmp_path


@torch.no_grad()
def embed(modules, wavs, wav_lens):
    """Compute embeddings as the verification script does."""
    feats = modules["compute_features"](wavs)
    feats = modules["mean_var_norm"](feats, wav_lens)
    return modules["embedding_model"](feats, wav_lens).squeeze(1)


def test_speaker_embeddings_and_verification(noises):
    """A file's embedding is the encoder's that was trained, in any batch."""
    hparams = load(
        SPEAKERS,
        noises,
        number_of_epochs=1,
        step_size=2,
        out_n_neurons=2,
        num_workers=0,
    )
    data = dataset(spk_id_encoded=encoded(2))
    brain = train(SpeakerBrain, hparams, data)

    (checkpoint,) = brain.checkpointer.list_checkpoints()
    assert (checkpoint.path / "embedding_model.ckpt").is_file()
    params = load(
        VERIFICATION,
        noises,
        output_folder=str(noises / "verification"),
        pretrain_path=str(checkpoint.path),
    )
    Path(params["save_folder"]).mkdir(parents=True)
    params["pretrainer"].collect_files()
    params["pretrainer"].load_collected()
    params["embedding_model"].eval()
    brain.modules.eval()
    wav = torch.randn(1, 16000)
    trained = embed(brain.modules, wav, torch.ones(1))
    assert trained.shape == (1, 32)
    torch.testing.assert_close(embed(params, wav, torch.ones(1)), trained)
    sizes = torch.randint(2000, 16000, (40,)).tolist()
    wavs = [torch.randn(size) for size in sizes]
    together = embed(params, *batch_pad_right(wavs))
    for wav, row in zip(wavs, together):
        alone = embed(params, wav[None], torch.ones(1))[0]
        torch.testing.assert_close(row, alone, atol=1e-5, rtol=0)


def test_clip_classification(tmp_path):
    hparams = load(
        CLIPS, tmp_path, number_of_epochs=1, step_size=2, out_n_neurons=3
    )
    data = dataset(class_string_encoded=encoded(3))
    train(ClipBrain, hparams, data)
    # A resumed run goes on with the learning rate where it was
    again = load(CLIPS, tmp_path, step_size=2, out_n_neurons=3)
    assert again["checkpointer"].recover_if_possible() is not None
    steps = hparams["lr_annealing"].clr_iterations
    assert again["lr_annealing"].clr_iterations == steps > 0


def test_speech_recognition(tmp_path):
    hparams = load(SPEECH, tmp_path, number_of_epochs=1)
    data = dataset(tokens=lambda n: torch.tensor([3, 4, 5 + n])[n % 2 :])
    brain = train(SpeechBrainASR, hparams, data, "model_opt_class")
    # The test uses averaged weights and beam search
    checkpoints = brain.checkpointer.find_checkpoints(min_key="WER")
    averaged = average_checkpoints(checkpoints, recoverable_name="model")
    hparams["model"].load_state_dict(averaged, strict=True)
    vocabulary = ["<unk>", "<s>", "</s>", "▁", *map(chr, range(97, 124))]
    assert len(vocabulary) == hparams["output_neurons"]
    brain.searcher = CTCBeamSearcher(
        **hparams["test_beam_search"], vocab_list=vocabulary
    )
    loss = brain.evaluate(data, test_loader_kwargs={"batch_size": 1})
    assert np.isfinite(loss)


def readme_blocks():
    """Return the YAML blocks of README.md's section for SpeechBrain."""
    text = (RECIPES.parent / "README.md").read_text()
    section = text.split("## Swap it into your pipeline")[1].split("\n## ")[0]
    return re.findall(r"```yaml\n(.*?)```", section, re.DOTALL)


@pytest.mark.parametrize("block", readme_blocks())
def test_the_blocks_of_the_readme_make_models(block, monkeypatch):
    small = {"hidden_size": 32, "intermediate_size": 32}
    config = WavLMConfig(num_hidden_layers=1, num_attention_heads=2, **small)
    monkeypatch.setattr(
        WavLMModel, "from_pretrained", lambda name: WavLMModel(config)
    )
    sizes = {"n_mels": 80, "out_n_neurons": 5, "output_neurons": 5}
    head = "".join(f"{key}: {value}\n" for key, value in sizes.items())
    block = block.replace("384", "32").replace(
        "[1024, 1024, 1024, 1024, 3072]", "[8, 8, 8, 8, 24]"
    )
    made = load_hyperpyyaml(head + block)
    feats, lengths = torch.randn(2, 64, 80), torch.tensor([1.0, 0.5])
    if "WavLM" in block:
        feats = torch.randn(2, 8000)
    if "Transformer" in made:
        steps, _ = made["Transformer"](made["CNN"](feats), wav_len=lengths)
        assert made["ctc_lin"](steps).shape == (2, 16, 5)
        return
    emb = encode(made["embedding_model"].eval(), feats, lengths)
    width = emb.shape[2]
    assert emb.shape == (2, 1, width) and width in (32, 144, 192)
    if "classifier" in made:
        assert made["classifier"](emb).shape == (2, 1, 5)
        alone = encode(made["embedding_model"], feats[1:, :32], lengths[:1])
        torch.testing.assert_close(emb[1:], alone, atol=1e-5, rtol=0)
