"""Synthetic speech: a glottal source through moving formant filters.

A voice has a pitch, vocal-tract length, breathiness and tempo; a word is a path
through the formants of its phones.
"""

from dataclasses import dataclass

import numpy as np
from scipy.signal import lfilter, sosfilt

_FRAMES_PER_SECOND = 200
_FORMANT_BANDWIDTHS = (60.0, 90.0, 120.0, 175.0)
_FOURTH_FORMANT = 3500.0

# First three formants in Hz, voicing, noise, centre of the noise in Hz,
# seconds. Vowels are averages of men's formants (Peterson & Barney, 1952), the
# others are rough.
PHONES = {
    "iy": (270, 2290, 3010, 1.0, 0.0, 4000, 0.12),
    "ih": (390, 1990, 2550, 1.0, 0.0, 4000, 0.09),
    "eh": (530, 1840, 2480, 1.0, 0.0, 4000, 0.11),
    "ae": (660, 1720, 2410, 1.0, 0.0, 4000, 0.13),
    "aa": (730, 1090, 2440, 1.0, 0.0, 4000, 0.13),
    "ao": (570, 840, 2410, 1.0, 0.0, 4000, 0.13),
    "uh": (440, 1020, 2240, 1.0, 0.0, 4000, 0.09),
    "uw": (300, 870, 2240, 1.0, 0.0, 4000, 0.12),
    "ah": (640, 1190, 2390, 1.0, 0.0, 4000, 0.10),
    "er": (490, 1350, 1690, 1.0, 0.0, 4000, 0.12),
    "w": (290, 610, 2150, 0.7, 0.0, 4000, 0.07),
    "y": (260, 2070, 3020, 0.7, 0.0, 4000, 0.06),
    "r": (310, 1060, 1380, 0.7, 0.0, 4000, 0.07),
    "l": (310, 1050, 2880, 0.7, 0.0, 4000, 0.07),
    "m": (250, 1000, 2200, 0.4, 0.0, 4000, 0.07),
    "n": (250, 1450, 2500, 0.4, 0.0, 4000, 0.07),
    "v": (250, 1100, 2300, 0.4, 0.2, 4500, 0.06),
    "d": (250, 1700, 2600, 0.2, 0.5, 3800, 0.04),
    "b": (250, 800, 2200, 0.3, 0.2, 900, 0.04),
    "g": (250, 1900, 2300, 0.2, 0.5, 2200, 0.05),
    "f": (400, 1100, 2300, 0.0, 0.4, 5500, 0.10),
    "s": (400, 1700, 2600, 0.0, 1.0, 6000, 0.11),
    "sh": (400, 1800, 2500, 0.0, 1.0, 3000, 0.11),
    "th": (400, 1400, 2500, 0.0, 0.3, 5000, 0.09),
    "t": (400, 1700, 2600, 0.0, 0.8, 4500, 0.05),
    "k": (400, 1900, 2300, 0.0, 0.7, 2300, 0.05),
    "p": (400, 800, 2200, 0.0, 0.5, 1000, 0.05),
    "h": (500, 1500, 2500, 0.0, 0.3, 1800, 0.07),
    "_": (500, 1500, 2500, 0.0, 0.0, 4000, 0.05),
}
_VOWELS = [name for name, phone in PHONES.items() if phone[3] == 1.0]
_OTHERS = [name for name in PHONES if name not in _VOWELS and name != "_"]


@dataclass(frozen=True)
class Voice:
    """Pitch in Hz, formant scale, breathiness, tempo and spectral tilt."""

    pitch: float
    scale: float
    breath: float
    tempo: float
    tilt: float


def make_voices(count: int, rng: np.random.Generator) -> list[Voice]:
    """Return voices of evenly spaced pitches and vocal-tract lengths."""
    pitches = rng.permutation(np.geomspace(85.0, 260.0, count))
    scales = rng.permutation(np.geomspace(0.84, 1.22, count))
    return [
        Voice(
            pitch,
            scale,
            breath=rng.uniform(0.02, 0.2),
            tempo=rng.uniform(0.85, 1.2),
            tilt=rng.uniform(0.0, 0.7),
        )
        for pitch, scale in zip(pitches, scales)
    ]


def babble(seconds: float, rng: np.random.Generator) -> list[str]:
    """Return phones of nonsense speech of ``seconds`` or more at tempo 1."""
    phones, length = [], 0.0
    while length < seconds:
        syllable = [str(rng.choice(_OTHERS)), str(rng.choice(_VOWELS))]
        syllable += ["_"] if rng.random() < 0.2 else []
        phones += syllable
        length += sum(PHONES[phone][-1] for phone in syllable)
    return phones


def speak(
    voice: Voice, phones: list[str], rate: int, rng: np.random.Generator
) -> np.ndarray:
    """Synthesise speech [N] of peak 1, with random tempo and intonation.

    Arguments
    ---------
    voice : Voice
        The speaker.
    phones : list of str
        Keys of `PHONES`.
    rate : int
        Sampling rate in Hz.
    rng : numpy.random.Generator
        Draws tempo, intonation and noise.

    Returns
    -------
    np.ndarray
        [N].
    """
    table = np.array([PHONES[phone] for phone in phones])
    seconds = table[:, -1] / voice.tempo * rng.uniform(0.8, 1.25, len(phones))
    frames = np.maximum(1, np.round(seconds * _FRAMES_PER_SECOND)).astype(int)
    tracks = _smooth(np.repeat(table[:, :-1], frames, axis=0))
    hop = rate // _FRAMES_PER_SECOND
    voicing, noise = (_to_samples(tracks[:, i], hop) for i in (3, 4))
    source = voicing * _glottal(voice, len(tracks), hop, rate, rng)
    source += voice.breath * voicing * rng.standard_normal(len(source))
    # Spectral tilt: weaker high harmonics
    source = lfilter([1.0 - voice.tilt], [1.0, -voice.tilt], source)
    fourth = np.full((len(tracks), 1), _FOURTH_FORMANT)
    formants = np.hstack([tracks[:, :3], fourth]) * voice.scale
    speech = _resonate(source, formants, _FORMANT_BANDWIDTHS, hop, rate)
    hiss = noise * rng.standard_normal(len(source))
    hiss = _resonate(hiss, tracks[:, 5:6] * voice.scale, (900.0,), hop, rate)
    speech = speech / np.abs(speech).max() + 0.3 * hiss
    return speech / np.abs(speech).max()


def _smooth(tracks, width=9):
    """Average [frames, tracks] over time: the inertia of the articulators."""
    padded = np.pad(tracks, ((width // 2, width // 2), (0, 0)), mode="edge")
    kernel = np.ones(width) / width
    return np.stack(
        [np.convolve(track, kernel, "valid") for track in padded.T], axis=1
    )


def _to_samples(track, hop):
    positions = np.arange(len(track) * hop) / hop
    return np.interp(positions, np.arange(len(track)) + 0.5, track)


def _glottal(voice, n_frames, hop, rate, rng):
    """Return the glottal flow's derivative: 40 % opening, 20 % closing."""
    drift = np.cumsum(rng.normal(0.0, 0.006, n_frames))
    fall = np.linspace(0.08, -0.08, n_frames)
    pitch = voice.pitch * np.exp(fall + drift - drift.mean())
    phase = np.cumsum(_to_samples(pitch, hop) / rate) % 1.0
    opening = 0.5 - 0.5 * np.cos(np.pi * phase / 0.4)
    closing = np.cos(np.pi / 2 * np.clip((phase - 0.4) / 0.2, 0.0, 1.0))
    flow = np.where(phase < 0.4, opening, closing)
    derivative = np.diff(flow, prepend=flow[0])
    return derivative / derivative.std()


def _resonate(source, centres, bandwidths, hop, rate):
    """Filter with resonators whose centres [frames, sections] move."""
    centres = np.minimum(centres, 0.45 * rate)
    radius = np.exp(-np.pi * np.asarray(bandwidths) / rate)
    a1 = -2.0 * radius * np.cos(2.0 * np.pi * centres / rate)
    a2 = np.broadcast_to(radius**2, centres.shape)
    zeros, ones = np.zeros_like(a1), np.ones_like(a1)
    # Unit gain at 0 Hz, so that a moving formant does not change the level
    sections = np.stack([1.0 + a1 + a2, zeros, zeros, ones, a1, a2], axis=-1)
    state = np.zeros((centres.shape[1], 2))
    out = np.empty_like(source)
    for frame, section in enumerate(sections):
        part = slice(frame * hop, (frame + 1) * hop)
        out[part], state = sosfilt(section, source[part], zi=state)
    return out
