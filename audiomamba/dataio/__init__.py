"""Data: audio files, label files, preparation, manifests, reading pipelines.

Import the modules by their full path, for example
``from audiomamba.dataio.audio import read_audio``.
"""
