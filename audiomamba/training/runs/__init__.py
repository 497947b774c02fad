"""A run of a recipe: command line, settings, folder, signals, surroundings."""
