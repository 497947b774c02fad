"""Audio formats: what a file is, and who reads it."""
