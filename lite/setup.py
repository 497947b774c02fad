"""Packaging of ``audiomamba-lite``: the runner without PyTorch.

    pip install ./lite                # from a clone
    python -m build --wheel lite      # for a release

Its modules are those of the whole package that need no PyTorch, so that the two
cannot differ.  Only one of them is installed at a time.
"""

import re
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).resolve().parent.parent
INIT = (ROOT / "audiomamba" / "__init__.py").read_text(encoding="utf-8")

setup(
    name="audiomamba-lite",
    version=re.search(r'^__version__ = "(.+)"$', INIT, re.MULTILINE)[1],
    description="Tag sound with Audio Mamba models in ONNX, without PyTorch",
    long_description=(ROOT / "lite" / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    package_dir={"": ".."},
    packages=["audiomamba"],
    package_data={"audiomamba": ["__init__.pyi", "py.typed"]},
    py_modules=[
        "audiomamba.cli.__init__",
        "audiomamba.cli.ending",
        "audiomamba.cli.events",
        "audiomamba.cli.listing",
        "audiomamba.cli.live",
        "audiomamba.cli.model",
        "audiomamba.cli.tag",
        "audiomamba.dataio.__init__",
        "audiomamba.dataio.codecs.__init__",
        "audiomamba.dataio.codecs.decoder",
        "audiomamba.dataio.codecs.formats",
        "audiomamba.dataio.codecs.members",
        "audiomamba.dataio.codecs.opening",
        "audiomamba.dataio.seals",
    ],
    install_requires=[
        "lazy_loader>=0.4",
        "numpy>=1.26",
        "onnxruntime>=1.18",
        "soundfile>=0.12",
        "tqdm>=4.65",
    ],
    entry_points={
        "console_scripts": ["audiomamba-tag = audiomamba.cli.tag:main"]
    },
)
