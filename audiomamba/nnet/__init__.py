"""Layers of Audio Mamba: patch and position embedding, tokens, mixer, block.

Parameter names are those of the authors' code, so that a released checkpoint
and a model here name the same tensor the same way.
"""
