"""CTC: losses that ignore the batch, batches by seconds, exact resumption."""

import io
import shutil
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import sentencepiece
import torch
from speechbrain.augment.time_domain import SpeedPerturb
from speechbrain.core import Stage
from speechbrain.dataio.dataset import DynamicItemDataset
from speechbrain.nnet.losses import ctc_loss
from speechbrain.processing.features import InputNormalization
from speechbrain.utils.epoch_loop import EpochCounter

from audiomamba.dataio.tokenizer import TokenEncoder
from audiomamba.lobes import (
    AudioMamba,
    CTCEncoder,
    KaldiFbank,
    Recognizer,
    SpectrogramNorm,
)
from audiomamba.lobes.augment import SpectrogramMask
from audiomamba.nnet.classifier import LinearClassifier
from audiomamba.pretrained.weights import CheckpointError
from audiomamba.training.checkpoints import AtomicCheckpointer
from audiomamba.training.optim import WarmupCosine
from audiomamba.training.results import EpochLog
from audiomamba.training.tasks.recognition import (
    ErrorRates,
    RecognitionBrain,
    Tokenizer,
)

RATE, MELS, WORDS, N_TOKENS = 8000, 16, ["ONE", "TWO", "SIX"], 11
NORMS = {
    "corpus": lambda: SpectrogramNorm(mean=-9.0, std=4.0),
    "sentence": lambda: InputNormalization(norm_type="sentence"),
}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([" ".join(WORDS)] * 9),
        model_writer=model,
        vocab_size=N_TOKENS,
        unk_id=0,
        bos_id=-1,
        eos_id=-1,
        pad_id=-1,
        minloglevel=2,
    )
    processor = sentencepiece.SentencePieceProcessor()
    processor.load_from_serialized_proto(model.getvalue())
    processor.file = str(tmp_path_factory.mktemp("tokenizer") / "m.model")
    with open(processor.file, "wb") as file:
        file.write(model.getvalue())
    return processor


def modules(scan="fo_bi", norm="corpus"):
    torch.manual_seed(0)
    encoder = AudioMamba(
        n_mels=MELS,
        n_frames=64,
        patch_size=(MELS, 4),
        stride=(MELS, 4),
        embed_dim=16,
        depth=2,
        scan=scan,
        cls_token=None,
    )
    return {
        "compute_features": KaldiFbank(sample_rate=RATE, n_mels=MELS),
        "mean_var_norm": NORMS[norm](),
        "embedding_model": CTCEncoder(encoder),
        "classifier": LinearClassifier(16, N_TOKENS),
    }


class Rows(dict):
    """The rows of a dataset, with ``columns`` beside them."""


def utterances(tokenizer, count):
    """Return a dataset of noise, 0.5 to 1.5 s, with one or two words."""
    generator = torch.Generator().manual_seed(0)
    data = {}
    for index in range(count):
        n = 4000 + int(torch.randint(8000, (1,), generator=generator))
        text = " ".join(WORDS[i] for i in {index % 3, index % 2})
        sig = 0.1 * torch.randn(n, generator=generator)
        data[f"u{index:02}"] = {
            "sig": sig,
            "label": text,
            "subset": "noise",
            "duration": n / RATE,
        }
    rows = Rows(data)
    rows.columns = {
        "duration": np.array([row["duration"] for row in data.values()])
    }
    dataset = DynamicItemDataset(rows)
    dataset.add_dynamic_item(TokenEncoder(tokenizer), *TokenEncoder.ITEM)
    dataset.set_output_keys(["id", "sig", "target", "label", "subset"])
    return dataset


@pytest.fixture
def make(tokenizer, tmp_path):
    """Make runs; those of the same name share a folder."""

    def make(name="run", brain_class=RecognitionBrain, run_opts=(), **options):
        own = modules(**{"scan": options.pop("scan", "fo_bi")})
        counter = EpochCounter(2)
        hparams = {
            "seed": 3,
            "head_lr_scale": 1.0,
            "lr_schedule": WarmupCosine(n_epochs=2, warmup_epochs=0),
            "metrics": ErrorRates(),
            "patience": None,
            "protocols": ["honest"],
            "average_from": None,
            "ema_decay": None,
            "freeze": None,
            "unfreeze_epoch": None,
            "layer_lr_decay": None,
            "gradient_checkpointing": False,
            "epoch_log": EpochLog(tmp_path / name),
            "compute_loss": lambda *args: ctc_loss(*args, blank_index=0),
            "tokenizer_file": tokenizer.file,
            "wav_augment": SpeedPerturb(RATE, [90, 100, 110]),
            "spec_augment": SpectrogramMask(4, 8, fill="mean"),
            "dynamic_batches": {
                "max_batch_length": 4.0,
                "num_buckets": 4,
                "max_batch_ex": 5,
            },
            "beam_size": None,
            "lm_file": None,
            "lm_weight": 0.5,
            "word_score": 1.5,
            **options,
        }
        recoverables = {
            "embedding_model": own["embedding_model"],
            "classifier": own["classifier"],
            "counter": counter,
        }
        folder = tmp_path / name / "save"
        brain = brain_class(
            own,
            lambda groups: torch.optim.AdamW(groups, lr=0.01),
            hparams,
            {"device": "cpu", "noprogressbar": True, **dict(run_opts)},
            AtomicCheckpointer(folder, recoverables),
        )
        train, valid = utterances(tokenizer, 18), utterances(tokenizer, 5)
        run = SimpleNamespace(brain=brain, modules=own, train=train)
        run.fit = lambda: brain.fit(
            counter,
            train,
            valid,
            train_loader_kwargs={"batch_size": 4, "shuffle": True},
            valid_loader_kwargs={"batch_size": 2},
        )
        return run

    return make


def losses(recognizer, batch):
    """Return the loss of each utterance of a batch."""
    log_probs, lengths = recognizer(*batch.sig)
    tokens, token_lengths = batch.target
    return ctc_loss(
        log_probs, tokens, lengths, token_lengths, 0, reduction="batch"
    )


@torch.no_grad()
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("scan", ["fo_fo", "fo_bi", "bi_bi"])
def test_an_utterance_has_one_loss_alone_and_in_dynamic_batches(
    make, tokenizer, scan, norm
):
    brain = make().brain
    dataset = utterances(tokenizer, 18)
    recognizer = Recognizer(*modules(scan, norm).values()).eval()
    together, sizes = {}, []
    for batch in brain.make_dataloader(dataset, Stage.TRAIN):
        together.update(zip(batch.id, losses(recognizer, batch)))
        sizes.append(len(batch.id))
    assert len(together) == 18 and len(set(sizes)) > 1
    alone = brain.make_dataloader(dataset, Stage.VALID, batch_size=1)
    for batch in alone:
        (loss,) = losses(recognizer, batch)
        torch.testing.assert_close(
            together[batch.id[0]], loss, rtol=1e-5, atol=1e-5
        )


@torch.no_grad()
def test_lengths_of_scores_are_those_of_whole_steps():
    """40 frames are 10 steps; SpeechBrain's rounding would often be wrong."""
    recognizer = Recognizer(*modules().values()).eval()
    for n_samples in range(400, 4000, 77):
        wavs = torch.randn(2, 4000)
        lengths = torch.tensor([1.0, n_samples / 4000])
        log_probs, lengths = recognizer(wavs, lengths)
        frames = max(1, 1 + (n_samples - 200) // 80)
        steps = (lengths * log_probs.shape[1]).round().long()
        assert steps.tolist()[1] == max(1, frames // 4)
        past = log_probs[1, steps[1] :]
        assert (past.argmax(-1) == 0).all() and (past[:, 0] == 0).all()


def test_dynamic_batches_depend_on_seed_and_epoch_alone(make):
    def drawn(seed, epoch):
        run = make(seed=seed)
        loader = run.brain.make_dataloader(run.train, Stage.TRAIN)
        run.brain.train_sampler.set_epoch(epoch)
        torch.rand(5)
        return [batch.id for batch in loader]

    first = drawn(3, 1)
    assert drawn(3, 1) == first
    assert drawn(3, 2) != first and drawn(4, 1) != first
    assert sorted(sum(first, [])) == sorted(sum(drawn(3, 2), []))


class Stopped(Exception):
    """The process is stopped here."""


class StoppingBrain(RecognitionBrain):
    def on_fit_batch_end(self, batch, outputs, loss, should_step):
        if (self.epoch, self.step) == (2, 3):
            raise Stopped


def test_a_stopped_run_ends_with_the_same_bits(make):
    options = {"run_opts": {"ckpt_interval_steps": 2}}
    whole = make("whole", **options)
    whole.fit()
    with pytest.raises(Stopped):
        make("cut", StoppingBrain, **options).fit()
    torch.rand(5)
    second = make("cut", **options)
    second.fit()
    assert second.brain.optimizer_step == whole.brain.optimizer_step > 6
    for name in ("embedding_model", "classifier"):
        resumed = second.modules[name].state_dict()
        for key, value in whole.modules[name].state_dict().items():
            assert torch.equal(value, resumed[key]), key


def test_an_epoch_goes_on_with_other_processes(make, tmp_path, caplog):
    """Two processes share what one has left of the second epoch."""
    heard = Counter()

    class Hearing(RecognitionBrain):
        def on_fit_batch_end(self, batch, *others):
            if (self.epoch, self.step) == (2, 5) and not self.rank_of_two:
                raise Stopped
            heard.update((self.epoch, name) for name in batch.id)

        rank_of_two = 0

    class Rank(Hearing):
        def _n_processes(self):
            return 2

    options = {"run_opts": {"ckpt_interval_steps": 1}}
    with pytest.raises(Stopped):
        make("0", Hearing, **options).fit()
    before = heard.total()
    for rank in (1, 2):
        shutil.copytree(tmp_path / "0", tmp_path / str(rank))
        run = make(str(rank), Rank, **options)
        run.brain.rank, run.brain.rank_of_two = rank - 1, rank
        run.fit()
    assert 18 < before < 36
    whole = {(e, f"u{i:02}") for e in (1, 2) for i in range(18)}
    assert set(heard) == whole
    # a batch is heard twice if their number is odd
    assert heard.total() <= len(whole) + 5
    assert "2 batches per step, not 1" in caplog.text


def test_gradients_reach_every_parameter(make):
    run = make()
    (batch, *_) = run.brain.make_dataloader(run.train, Stage.TRAIN)
    outputs = run.brain.compute_forward(batch, Stage.TRAIN)
    run.brain.compute_objectives(outputs, batch, Stage.TRAIN).backward()
    for name, parameter in run.brain.modules.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_augmentation_of_waveforms_gets_lengths_if_it_takes_them(make):
    heard = []

    class Augment(torch.nn.Module):
        def forward(self, waveforms, lengths):
            heard.append(lengths)
            return waveforms

    run = make(wav_augment=Augment())
    for batch in run.brain.make_dataloader(run.train, Stage.TRAIN):
        run.brain.compute_forward(batch, Stage.TRAIN)
        assert torch.equal(heard[-1], batch.sig.lengths)
    assert torch.cat(heard).min() < 1


def test_rates_of_subsets_and_of_the_whole():
    rates = ErrorRates()
    rates.append(["a", "b"], ["x", "y"], ["A B", ""], ["A B", "C D E"], 2.0)
    rates.append(["c"], ["y"], ["C D E F"], ["C D E"], 0.5)
    summary = rates.summarise()
    assert summary["WER"] == pytest.approx(4 / 8)
    assert (summary["WER_x"], summary["WER_y"]) == (0.0, pytest.approx(4 / 6))
    assert (summary["deletions"], summary["insertions"]) == (3, 1)
    assert (summary["words"], summary["loss"]) == (8, 1.5)
    table = rates.table().set_index("ID")
    assert table["errors"].to_dict() == {"a": 0, "b": 3, "c": 1}
    assert table.loc["c", "WER"] == pytest.approx(1 / 3)
    # of "C_D_E" with its spaces: "_F" is too much
    assert table.loc["c", "CER"] == pytest.approx(2 / 5)


def test_a_checkpoint_of_another_tokenizer_is_refused(tokenizer, tmp_path):
    Tokenizer(tokenizer).save(tmp_path / "tokenizer.ckpt")
    Tokenizer(tokenizer).load(tmp_path / "tokenizer.ckpt", True)
    (tmp_path / "tokenizer.ckpt").write_bytes(b"another")
    with pytest.raises(CheckpointError, match="another tokenizer"):
        Tokenizer(tokenizer).load(tmp_path / "tokenizer.ckpt", True)
