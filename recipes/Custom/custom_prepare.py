"""Preparation of your own lists; audiomamba-train shares it."""

from audiomamba.dataio.corpora.custom import (
    dataio_prep,
    prepare,
    prepare_custom,
)

__all__ = ["dataio_prep", "prepare", "prepare_custom"]
