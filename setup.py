"""Packaging of Audio Mamba for SpeechBrain."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent

setup(
    name="audiomamba",
    version="0.1.0",
    description="Audio Mamba (AuM) recipes and encoder for SpeechBrain",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10,<3.14",
    packages=find_packages(include=["audiomamba", "audiomamba.*"]),
    install_requires=[
        "torch>=2.7.1",
        "torchaudio>=2.7.1",
        "speechbrain>=1.1.2",
        "hyperpyyaml>=1.2.3",
        "ruamel.yaml>=0.17.28",
        "numba>=0.60",
        "numpy>=1.26",
        "scipy>=1.10",
        "pandas>=2.0",
        "soundfile>=0.12",
        "scikit-learn>=1.3",
        "safetensors>=0.4",
        "huggingface_hub>=0.23",
        "h5py>=3.9",
        "tqdm>=4.65",
    ],
    extras_require={
        "gpu": ["mamba-ssm>=2.2", "causal-conv1d>=1.4"],
        "ast": ["transformers>=5.9,<6"],
        "plots": ["matplotlib>=3.7"],
        "onnx": ["onnx>=1.16", "onnxruntime>=1.18", "onnxscript>=0.1"],
        "dev": ["pytest>=8", "ruff>=0.5", "yamllint>=1.35"],
    },
    entry_points={
        "console_scripts": ["audiomamba-tag = audiomamba.inference.tag:main"]
    },
    classifiers=[
        "License :: OSI Approved :: Apache Software License",
        "Programming Language :: Python :: 3",
        "Topic :: Multimedia :: Sound/Audio :: Analysis",
    ],
)
