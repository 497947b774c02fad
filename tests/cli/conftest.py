"""The commands are tested on the run that inference is tested on."""

from ..inference.conftest import clips as clips
from ..inference.conftest import run as run
