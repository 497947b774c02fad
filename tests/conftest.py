"""What holds for all tests."""

import os

import pytest


@pytest.fixture(autouse=True, scope="module")
def environment():
    """Put the environment back: SpeechBrain keeps its log level there."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)
