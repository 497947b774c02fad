"""Packaging of Audio Mamba for SpeechBrain."""

import re
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).parent
RECIPE = HERE / "recipes" / "Custom" / "hparams" / "aum_tiny.yaml"
INIT = (HERE / "audiomamba" / "__init__.py").read_text(encoding="utf-8")


class BuildWithRecipe(build_py):
    """Adds the YAML that ``audiomamba-train`` fills in, a recipe's own."""

    def run(self):
        """Copy the modules, and the YAML beside the command."""
        super().run()
        if not self.editable_mode:
            target = Path(self.build_lib, "audiomamba", "cli", "train.yaml")
            self.copy_file(str(RECIPE), str(target))


setup(
    name="audiomamba",
    version=re.search(r'^__version__ = "(.+)"$', INIT, re.MULTILINE)[1],
    description="Audio Mamba (AuM) recipes and encoder for SpeechBrain",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["audiomamba", "audiomamba.*"]),
    package_data={
        "": ["*.pyi", "py.typed"],
        "audiomamba.inference.programs": ["web/*"],
    },
    cmdclass={"build_py": BuildWithRecipe},
    install_requires=[
        "torch>=2.7.1",
        "torchaudio>=2.7.1",
        "speechbrain>=1.1.2",
        "hyperpyyaml>=1.2.3",
        "ruamel.yaml>=0.17.28",
        "lazy_loader>=0.4",
        "numba>=0.60",
        "numpy>=1.26",
        "scipy>=1.10",
        "pandas>=2.0",
        "soundfile>=0.12",
        "scikit-learn>=1.3",
        "safetensors>=0.4",
        "sentencepiece>=0.2",
        "huggingface_hub>=0.23",
        "filelock>=3.13",
        "h5py>=3.9",
        "tqdm>=4.65",
    ],
    extras_require={
        "gpu": ["mamba-ssm>=2.2", "causal-conv1d>=1.4"],
        "av": ["av>=12"],
        "ast": ["transformers>=5.9,<6"],
        "microphone": ["sounddevice>=0.4.6"],
        "lm": ["kenlm>=0.2", "pygtrie>=2.5"],
        "plots": ["matplotlib>=3.7"],
        "parquet": ["pyarrow>=17"],
        "onnx": [
            "onnx>=1.16",
            "onnx-ir>=1.1",
            "onnxruntime>=1.18",
            "onnxscript>=0.7",
        ],
        "demo": ["gradio>=6", "matplotlib>=3.7"],
        "dev": [
            "build>=1.2",
            "mypy>=1.15",
            "pytest>=8",
            "pytest-xdist>=3.6",
            "ruff>=0.5",
            "sed_scores_eval>=0.0.4",
            # not with PyTorch's CPU-only wheels
            "triton>=3.3; sys_platform == 'linux'",
            "yamllint>=1.35",
        ],
    },
    entry_points={
        "console_scripts": [
            "audiomamba-demo = audiomamba.cli.demo:main",
            "audiomamba-embed = audiomamba.cli.embed:main",
            "audiomamba-export = audiomamba.cli.export:main",
            "audiomamba-tag = audiomamba.cli.tag:main",
            "audiomamba-train = audiomamba.cli.train:main",
            "audiomamba-transcribe = audiomamba.cli.transcribe:main",
        ]
    },
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Programming Language :: Python :: 3.14",
        "Topic :: Multimedia :: Sound/Audio :: Analysis",
        "Typing :: Typed",
    ],
)
