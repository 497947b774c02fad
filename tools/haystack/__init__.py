"""The parts of ``tools/needle.py``."""
