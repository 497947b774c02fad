"""Layers of the encoders: mixer, block, patch and positional embedding.

Parameters have the names of the authors' code, so that the tensors of a
released checkpoint have the same names here.
"""
