"""The tables of results: what the paper has, what was run, and the pages."""
