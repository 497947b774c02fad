"""Training: the Brain, parameter groups and schedules, metrics and records.

Import the modules by their full path, for example
``from audiomamba.training.tasks.classification import ClassificationBrain``.
"""
