from .official import initialise, load_official
from .sources import CheckpointError
from .weights import label_difference, read_class_names

__all__ = [
    "CheckpointError",
    "initialise",
    "label_difference",
    "load_official",
    "read_class_names",
]
