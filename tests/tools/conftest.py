"""Running the tools in this process, and telling sounds apart."""

import io
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pytest

TOOLS = Path(__file__).parents[2] / "tools"


@pytest.fixture(autouse=True, scope="session")
def tools_on_path():
    """Import the tools as scripts do, with their folder on the path."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(TOOLS)
        yield


@pytest.fixture(scope="session")
def make(tools_on_path):
    """Make a miniature corpus: arguments -> output, or the error message."""

    def run(*arguments, fails=False):
        from make_mini_corpus import main

        output = io.StringIO()
        with redirect_stdout(output):
            if not fails:
                main([*map(str, arguments)])
                return output.getvalue()
            with pytest.raises(SystemExit) as caught:
                main([*map(str, arguments)])
        return str(caught.value)

    return run


def spectrum(samples):
    """Return the mean log spectrum in 256 bands, minus its level."""
    frames = np.lib.stride_tricks.sliding_window_view(samples, 1024)[::256]
    power = np.abs(np.fft.rfft(frames * np.hanning(1024), axis=1)) ** 2
    bands = np.log(power[:, 1:].reshape(len(power), 256, 2).sum(-1) + 1e-6)
    mean = bands.mean(axis=0)
    return mean - mean.mean()


@pytest.fixture(scope="session")
def nearest():
    """Return the accuracy of the nearest centroid of mean spectra."""

    def accuracy(train, test):
        # Both are lists of (label, samples).
        spectra = {}
        for label, samples in train:
            spectra.setdefault(label, []).append(spectrum(samples))
        labels = sorted(spectra)
        centroids = np.array(
            [np.mean(spectra[label], axis=0) for label in labels]
        )
        hits = []
        for label, samples in test:
            distances = np.linalg.norm(centroids - spectrum(samples), axis=1)
            hits.append(labels[distances.argmin()] == label)
        return np.mean(hits)

    return accuracy
