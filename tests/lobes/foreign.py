"""Small encoders of SpeechBrain and transformers that give 16 wide frames."""

from audiomamba.lobes import MeanOverTime


def _transformer(kind):
    """SpeechBrain's encoder of its recogniser."""
    from speechbrain.lobes.models.transformer.TransformerASR import (
        EncoderWrapper,
        TransformerASR,
    )

    transformer = TransformerASR(
        tgt_vocab=1,
        input_size=16,
        d_model=16,
        nhead=2,
        num_encoder_layers=2,
        num_decoder_layers=0,
        d_ffn=32,
        encoder_module=kind,
        attention_type="RelPosMHAXL",
        positional_encoding=None,
        normalize_before=True,
        csgu_linear_units=32,
        kernel_size=5,
        causal=False,
    )
    return MeanOverTime(
        EncoderWrapper(transformer), blocks="transformer.encoder.layers"
    )


def _crdnn():
    """Convolutions, a pooling over pairs of frames, and an LSTM."""
    from speechbrain.lobes.models.CRDNN import CRDNN

    crdnn = CRDNN(
        input_size=16,
        cnn_blocks=1,
        cnn_channels=[4],
        rnn_neurons=8,
        rnn_layers=1,
        dnn_blocks=1,
        dnn_neurons=16,
        time_pooling=True,
        time_pooling_size=2,
    )
    return MeanOverTime(crdnn, hop=2, window=2)


def _waves(name, **options):
    """A model of transformers with two convolutions: 10 samples, 4 apart."""
    import transformers

    config = getattr(transformers, f"{name}Config")(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        conv_dim=(8, 8),
        conv_kernel=(4, 4),
        conv_stride=(2, 2),
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
        mask_time_prob=0.0,
        **options,
    )
    model = getattr(transformers, f"{name}Model")(config)
    return MeanOverTime(
        model,
        hop=4,
        window=10,
        masks_padding=config.feat_extract_norm == "layer",
        blocks="encoder.layers",
    )


LARGE = {"feat_extract_norm": "layer", "do_stable_layer_norm": True}
# Those with a w in their names take waveforms
ENCODERS = {
    "Conformer": lambda: _transformer("conformer"),
    "Branchformer": lambda: _transformer("branchformer"),
    "CRDNN": _crdnn,
    "WavLM": lambda: _waves("WavLM", **LARGE),
    "wav2vec2": lambda: _waves("Wav2Vec2"),
}
