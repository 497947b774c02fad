"""Synthetic environmental sounds by name, from three families.

``hiss`` is filtered noise whose loudness beats; ``strikes`` are damped
partials, struck repeatedly; ``calls`` are harmonic tones that glide. Every clip
varies its sound's parameters and has background noise.
"""

import numpy as np
from scipy.signal import butter, sosfilt

from mini_corpus.voices import Voice, babble, speak


def _band(low, high, n_samples, rate, rng):
    """Band-pass noise of standard deviation 1."""
    edges = [low, min(high, 0.45 * rate)]
    sections = butter(2, edges, "bandpass", fs=rate, output="sos")
    noise = sosfilt(sections, rng.standard_normal(n_samples))
    return noise / noise.std()


def hiss(n_samples, rate, rng, low, high, beat=1.0, depth=0.3):
    """Synthesise noise of ``low`` to ``high`` Hz that beats at ``beat`` Hz."""
    spread = rng.uniform(0.85, 1.18)
    phase = beat * rng.uniform(0.9, 1.1) * np.arange(n_samples) / rate
    swell = 0.5 + 0.5 * np.sin(2 * np.pi * (phase + rng.random()))
    noise = _band(low * spread, high * spread, n_samples, rate, rng)
    return (1.0 - depth + depth * swell) * noise


def strikes(n_samples, rate, rng, partials, decay, per_second, regular=True):
    """Synthesise struck partials in Hz that decay in ``decay`` seconds."""
    out = np.zeros(n_samples)
    spread = rng.uniform(0.9, 1.1)
    period = rate / (per_second * rng.uniform(0.85, 1.15))
    start = rng.uniform(0.0, min(period, n_samples / 2))
    while start < n_samples:
        first = int(start)
        times = np.arange(min(n_samples - first, int(6 * decay * rate))) / rate
        for number, frequency in enumerate(partials):
            # Higher partials decay faster.
            fade = np.exp(-times * (1.0 + 0.5 * number) / decay)
            phase = 2 * np.pi * frequency * spread * times
            tone = rng.uniform(0.5, 1.0) * fade * np.sin(phase)
            out[first : first + len(times)] += tone
        start += period * (1.0 if regular else rng.exponential())
    return out


def calls(n_samples, rate, rng, glide, length, gap=0.0, slope=1.0):
    """Synthesise tones that glide through pitches in ``length`` seconds."""
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
        # Each call swells and fades; the gap is silent.
        out *= np.sin(np.pi * np.clip(within / length, 0.0, 1.0)) ** 0.5
    return out


def speech(n_samples, rate, rng):
    """Synthesise speech of a random voice."""
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

# name -> family and its arguments after ``rng``
TEXTURES = {
    "speech": (speech,),
    # low, high, beat, depth
    "rain": (hiss, 1500, 7000, 0.4, 0.15),
    "waves": (hiss, 150, 2500, 0.25, 0.95),
    "wind": (hiss, 60, 500, 0.5, 0.7),
    "helicopter": (hiss, 60, 900, 13.0, 1.0),
    "water": (hiss, 900, 3500, 7.0, 0.6),
    "sizzle": (hiss, 4000, 7600, 23.0, 0.5),
    "rustle": (hiss, 2500, 7000, 3.5, 1.0),
    # partials, decay, per second, regular
    "church_bell": (strikes, _BELL, 1.2, 0.8),
    "clock": (strikes, (2100.0, 3900.0), 0.012, 2.0),
    "typing": (strikes, (900.0, 1700.0, 3300.0), 0.012, 8.0, False),
    "fire": (strikes, (3100.0, 5200.0), 0.003, 25.0, False),
    "metal": (strikes, (1730.0, 2910.0, 4370.0, 6110.0), 0.25, 1.5, False),
    "knock": (strikes, (190.0, 410.0), 0.05, 3.0),
    "piano": (strikes, (262.0, 524.0, 786.0, 1048.0), 0.35, 2.5),
    # glide, length, gap, slope
    "siren": (calls, (600, 1300, 600), 1.6),
    "beep": (calls, (1900, 1900), 0.25, 0.25, 3),
    "dog": (calls, (420, 650, 300), 0.18, 0.45, 0.6),
    "rooster": (calls, (500, 900, 1100, 1000, 600), 1.3, 0.9, 0.8),
    "bird": (calls, (2600, 4600, 3100), 0.09, 0.11, 3),
}


def make_texture(
    name: str, seconds: float, rate: int, rng: np.random.Generator
) -> np.ndarray:
    """Synthesise a clip [N] of a sound in `TEXTURES`, peak 0.3 to 0.8."""
    family, *arguments = TEXTURES[name]
    n_samples = round(seconds * rate)
    sound = family(n_samples, rate, rng, *arguments)
    noise = rng.standard_normal(n_samples)
    level = sound.std() * 10 ** rng.uniform(-2.0, -1.2)
    return normalise(sound + level * noise, rng)


def normalise(sound: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Scale a sound [N] to a random peak of 0.3 to 0.8."""
    return rng.uniform(0.3, 0.8) * sound / np.abs(sound).max()
