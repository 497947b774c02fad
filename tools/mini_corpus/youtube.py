"""What the corpora cut from YouTube have in common."""

_LETTERS = list(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
)


def video_id(rng):
    """An id of 11 characters, as YouTube makes them.

    Arguments
    ---------
    rng : numpy.random.Generator
        Where chance comes from.

    Returns
    -------
    str
        One in four begins with ``-``, which some programs take for an option.
    """
    letters = "".join(rng.choice(_LETTERS, 11))
    return f"-{letters[1:]}" if rng.random() < 0.25 else letters
