"""The ``hyperparams.yaml`` of an exported model."""

import io

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq

PARTS = ("compute_features", "mean_var_norm", "embedding_model", "classifier")
EMB_MEAN = "mean_var_norm_emb"

_TEMPLATE = """\
# A model exported by audiomamba, for AudioTagger.from_hparams and SpeechBrain's
# EncoderClassifier.from_hparams.

{options}
{parts}
label_encoder: !new:speechbrain.dataio.encoder.CategoricalEncoder
audio_normalizer: !new:audiomamba.inference.waveforms.WaveformNormalizer
    sample_rate: !ref <sample_rate>
    max_duration: !ref <max_duration>
    remove_mean: !ref <remove_mean>
    keep: !ref <keep>
mean_var_norm_emb: {emb_mean}

# As SpeechBrain calls them: only the encoder gets the waveforms with their
# lengths, so it takes them itself; the classifier returns log-posteriors
waveforms: !new:audiomamba.lobes.Waveforms
modules:
    compute_features: !ref <waveforms>
    mean_var_norm: !ref <waveforms>
    embedding_model: !new:audiomamba.lobes.ClipEncoder
        compute_features: !ref <compute_features>
        mean_var_norm: !ref <mean_var_norm>
        embedding_model: !ref <embedding_model>
    mean_var_norm_emb: !ref <mean_var_norm_emb>
    classifier: !new:audiomamba.inference.interfaces.LogPosteriors
        classifier: !ref <classifier>
        activation: !ref <activation>

pretrainer: !new:speechbrain.utils.parameter_transfer.Pretrainer
    loadables:
{loadables}
        label_encoder: !ref <label_encoder>
"""
_KNOWN_MEAN = """\
!new:speechbrain.processing.features.InputNormalization
    norm_type: global
    std_norm: False"""
_UNKNOWN_MEAN = "!new:audiomamba.inference.interfaces.UnknownMean"


def plain(node):
    """Remove a node's comments and anchors, which refer to the recipe.

    Arguments
    ---------
    node : object
        Of ruamel; changed in place.

    Returns
    -------
    object
        The same.

    Example
    -------
    >>> from ruamel.yaml import YAML
    >>> node = YAML().load("a: 1  # one")
    >>> plain(node).ca.items
    {}
    """
    if isinstance(node, (CommentedMap, CommentedSeq)):
        children = node.values() if isinstance(node, dict) else node
        for child in children:
            plain(child)
        node.ca.comment = None
        node.ca.items.clear()
        node.yaml_set_anchor(None)
    return node


def new_node(class_name: str, arguments: dict) -> CommentedMap:
    """Return the YAML node of an object.

    Arguments
    ---------
    class_name : str
        Its class, with the module.
    arguments : dict
        Arguments of the constructor.

    Returns
    -------
    ruamel.yaml.comments.CommentedMap

    Example
    -------
    >>> node = new_node("torch.nn.Linear", {"in_features": 2})
    >>> print(dump({"layer": node}), end="")
    layer: !new:torch.nn.Linear
        in_features: 2
    """
    # Setting a tag differs between versions of ruamel, reading one does not
    node = YAML().load(f"!new:{class_name} {{}}")
    node.update(arguments)
    node.fa.set_block_style()
    return node


def dump(content: dict) -> str:
    """Return nodes and plain values as YAML text.

    Arguments
    ---------
    content : dict
        Key -> node or value.

    Returns
    -------
    str

    Example
    -------
    >>> print(dump({"lr": 0.1, "crop": None}), end="")
    lr: 0.1
    crop: null
    """
    yaml = YAML()
    yaml.indent(mapping=4, sequence=4, offset=2)
    # No line breaks; None is written as null, not as nothing
    yaml.width = 1 << 16
    yaml.representer.add_representer(
        type(None),
        lambda dumper, _: dumper.represent_scalar(
            "tag:yaml.org,2002:null", "null"
        ),
    )
    stream = io.StringIO()
    yaml.dump(content, stream)
    return stream.getvalue()


def model_yaml(parts: dict, options: dict, weights: list[str]) -> str:
    """Return the text of the file.

    Arguments
    ---------
    parts : dict
        ``PARTS`` -> YAML node.
    options : dict
        From `audiomamba.inference.exported.classifier.read_recipe`.
    weights : list of str
        What has a ``.ckpt`` file in the folder: ``embedding_model``,
        ``classifier`` and, if it is known, the mean embedding.

    Returns
    -------
    str
    """
    return _TEMPLATE.format(
        options=dump(options),
        parts="\n".join(dump({name: parts[name]}) for name in PARTS),
        emb_mean=_KNOWN_MEAN if EMB_MEAN in weights else _UNKNOWN_MEAN,
        loadables="\n".join(
            f"        {name}: !ref <{name}>" for name in weights
        ),
    )
