"""Miniature corpora of synthetic sounds; see ``tools/make_mini_corpus.py``.

``voices`` and ``textures`` make the sounds, ``files`` writes good and bad
files, and each corpus has a module with

- ``OPTIONS``: option -> (default, help),
- ``make(folder, seed, broken, **options)``, which writes the corpus and
  returns a line about each bad entry.
"""
