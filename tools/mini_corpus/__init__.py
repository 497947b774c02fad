"""Miniature corpora of synthetic sounds; see ``tools/make_mini_corpus.py``.

``voices`` and ``textures`` synthesise sounds, ``files`` writes good and bad
files, and each corpus has a module with

- ``OPTIONS``: option -> (default, help);
- ``make(folder, seed, broken, **options)``: writes the corpus to ``folder`` and
  returns a list of str, one line per bad entry; there are some if ``broken``.
"""
