"""Synthetic environmental sounds from three families, by name.

``hiss`` is filtered noise whose loudness beats; ``strikes`` are damped
partials, struck again and again; ``calls`` are harmonic tones that glide.
Every clip varies its sound's parameters, and has some background noise.
"""

from functools import partial

import numpy as np
from scipy.signal import butter, sosfilt

from mini_corpus.voices import Voice, babble, speak


def _band(low, high, n_samples, rate, rng):
    """Noise between two frequencies, standard deviation 1."""
    edges = [low, min(high, 0.45 * rate)]
    sections = butter(2, edges, "bandpass", fs=rate, output="sos")
    noise = sosfilt(sections, rng.standard_normal(n_samples))
    return noise / noise.std()


def hiss(n_samples, rate, rng, low, high, beat=1.0, depth=0.3):
    """Noise from ``low`` to ``high`` Hz, beating ``beat`` times a second."""
    spread = rng.uniform(0.85, 1.18)
    phase = beat * rng.uniform(0.9, 1.1) * np.arange(n_samples) / rate
    swell = 0.5 + 0.5 * np.sin(2 * np.pi * (phase + rng.random()))
    noise = _band(low * spread, high * spread, n_samples, rate, rng)
    return (1.0 - depth + depth * swell) * noise


def strikes(n_samples, rate, rng, partials, decay, per_second, regular=True):
    """Partials in Hz that fade in ``decay`` seconds, struck repeatedly."""
    out = np.zeros(n_samples)
    spread = rng.uniform(0.9, 1.1)
    period = rate / (per_second * rng.uniform(0.85, 1.15))
    start = rng.uniform(0.0, min(period, n_samples / 2))
    while start < n_samples:
        first = int(start)
        times = np.arange(min(n_samples - first, int(6 * decay * rate))) / rate
        for number, frequency in enumerate(partials):
            # what is higher fades sooner
            fade = np.exp(-times * (1.0 + 0.5 * number) / decay)
            phase = 2 * np.pi * frequency * spread * times
            tone = rng.uniform(0.5, 1.0) * fade * np.sin(phase)
            out[first : first + len(times)] += tone
        start += period * (1.0 if regular else rng.exponential())
    return out


def calls(n_samples, rate, rng, glide, length, gap=0.0, slope=1.0):
    """Tones gliding through the pitches ``glide`` in ``length`` seconds."""
    pitches = np.array(glide) * rng.uniform(0.88, 1.13)
    length, gap = (
        seconds * rng.uniform(0.85, 1.18) for seconds in (length, gap)
    )
    position = np.arange(n_samples) / rate + rng.uniform(0.0, length + gap)
    within = position % (length + gap)
    track = np.interp(within / length, np.linspace(0, 1, len(glide)), pitches)
    phase = 2 * np.pi * np.cumsum(track) / rate
    out = np.zeros(n_samples)
    for harmonic in range(1, 13):
        audible = track * harmonic < 0.45 * rate
        out += audible * np.sin(harmonic * phase) / harmonic**slope
    if gap:
        # each call swells and fades; the gap is silent
        out *= np.sin(np.pi * np.clip(within / length, 0.0, 1.0)) ** 0.5
    return out


def speech(n_samples, rate, rng):
    """Someone speaking, another one every time."""
    voice = Voice(
        pitch=rng.uniform(90, 240),
        scale=rng.uniform(0.88, 1.18),
        breath=rng.uniform(0.02, 0.2),
        tempo=rng.uniform(0.85, 1.2),
        tilt=rng.uniform(0.0, 0.7),
    )
    spoken = speak(voice, babble(2 * n_samples / rate, rng), rate, rng)
    return spoken[:n_samples]


_BELL = (220.0, 440.0, 523.0, 660.0, 880.0, 1318.0)

# name -> sound(n_samples, rate, rng)
TEXTURES = {
    "speech": speech,
    "rain": partial(hiss, low=1500, high=7000, beat=0.4, depth=0.15),
    "waves": partial(hiss, low=150, high=2500, beat=0.25, depth=0.95),
    "wind": partial(hiss, low=60, high=500, beat=0.5, depth=0.7),
    "helicopter": partial(hiss, low=60, high=900, beat=13.0, depth=1.0),
    "water": partial(hiss, low=900, high=3500, beat=7.0, depth=0.6),
    "sizzle": partial(hiss, low=4000, high=7600, beat=23.0, depth=0.5),
    "rustle": partial(hiss, low=2500, high=7000, beat=3.5, depth=1.0),
    "church_bell": partial(strikes, partials=_BELL, decay=1.2, per_second=0.8),
    "clock": partial(
        strikes, partials=(2100.0, 3900.0), decay=0.012, per_second=2.0
    ),
    "typing": partial(
        strikes,
        partials=(900.0, 1700.0, 3300.0),
        decay=0.012,
        per_second=8.0,
        regular=False,
    ),
    "fire": partial(
        strikes,
        partials=(3100.0, 5200.0),
        decay=0.003,
        per_second=25.0,
        regular=False,
    ),
    "metal": partial(
        strikes,
        partials=(1730.0, 2910.0, 4370.0, 6110.0),
        decay=0.25,
        per_second=1.5,
        regular=False,
    ),
    "knock": partial(
        strikes, partials=(190.0, 410.0), decay=0.05, per_second=3.0
    ),
    "siren": partial(calls, glide=(600, 1300, 600), length=1.6),
    "beep": partial(calls, glide=(1900, 1900), length=0.25, gap=0.25, slope=3),
    "dog": partial(
        calls, glide=(420, 650, 300), length=0.18, gap=0.45, slope=0.6
    ),
    "rooster": partial(
        calls, glide=(500, 900, 1100, 1000, 600), length=1.3, gap=0.9, slope=0.8
    ),
    "baby": partial(
        calls, glide=(420, 560, 520, 380), length=0.9, gap=0.3, slope=0.9
    ),
    "bird": partial(
        calls, glide=(2600, 4600, 3100), length=0.09, gap=0.11, slope=3
    ),
    "organ": partial(
        calls, glide=(262, 262, 330, 330, 392, 392, 262), length=3.0, slope=1.5
    ),
    "piano": partial(
        strikes,
        partials=(262.0, 524.0, 786.0, 1048.0),
        decay=0.35,
        per_second=2.5,
    ),
}


def make_texture(name, seconds, rate, rng):
    """A clip of a sound.

    Arguments
    ---------
    name : str
        A key of `TEXTURES`.
    seconds : float
        Its length.
    rate : int
        In Hz.
    rng : numpy.random.Generator
        Where chance comes from.

    Returns
    -------
    np.ndarray
        [N], peak 0.3 to 0.8.
    """
    n_samples = round(seconds * rate)
    sound = TEXTURES[name](n_samples, rate, rng)
    noise = rng.standard_normal(n_samples)
    level = sound.std() * 10 ** rng.uniform(-2.0, -1.2)
    return normalise(sound + level * noise, rng)


def normalise(sound, rng):
    """Bring the peak to 0.3 to 0.8.

    Arguments
    ---------
    sound : np.ndarray
        [N], not silent.
    rng : numpy.random.Generator
        Chooses the peak.

    Returns
    -------
    np.ndarray
        [N].
    """
    return rng.uniform(0.3, 0.8) * sound / np.abs(sound).max()
