"""How long training waits for its data."""

import time


class TimedLoader:
    """Passes a loader's batches on and adds up the time spent waiting.

    Arguments
    ---------
    loader : iterable
        For example a ``DataLoader``.

    Example
    -------
    >>> loader = TimedLoader([1, 2, 3])
    >>> list(loader), len(loader), loader.waited >= 0.0
    ([1, 2, 3], 3, True)
    """

    def __init__(self, loader):
        self.loader = loader
        self.waited = 0.0

    def __len__(self):
        return len(self.loader)

    def __iter__(self):
        started = time.perf_counter()
        for item in self.loader:
            self.waited += time.perf_counter() - started
            yield item
            started = time.perf_counter()
