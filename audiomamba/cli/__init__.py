"""The installed commands, each a thin layer over a function of the package."""
