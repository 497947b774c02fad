"""Data: preparation, manifests, audio files, reading pipelines.

Import modules by their full path, for example
``from audiomamba.dataio.audio import read_audio``.
"""
