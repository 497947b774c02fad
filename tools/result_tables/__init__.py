"""The tables of results: the paper's figures, the runs, and the pages."""
