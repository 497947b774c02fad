"""What an epoch is chosen by, where a corpus has no validation split."""

from audiomamba.dataio.problems import PreparationError

# protocol -> (split that chooses the epoch, or None; the rule in words)
PROTOCOLS = {
    "honest": (
        "valid",
        "best epoch on the validation split, of equals the earliest",
    ),
    "paper": (
        "test",
        "best epoch on the reported split, as the authors, of equals the "
        "earliest",
    ),
    "last": (None, "last epoch, whatever its figures"),
}


def validation_split(valid_share, protocols):
    """Name of the split that is validated on after each epoch.

    Without a held-out part it is the reported split itself, as in the
    authors' code: the whole training list is trained on, and no honest figure
    can come of it.

    Arguments
    ---------
    valid_share : float
        Share held out of the training list.
    protocols : list of str
        Of the run; see ``PROTOCOLS`` above.

    Returns
    -------
    str
        ``valid`` or ``test``.

    Raises
    ------
    PreparationError
        If the protocol ``honest`` has nothing to choose the epoch by.

    Example
    -------
    >>> validation_split(0.05, ["paper", "honest"])
    'valid'
    >>> validation_split(0, ["paper"])
    'test'
    """
    if not valid_share and "honest" in protocols:
        raise PreparationError(
            "valid_share: 0 leaves the protocol 'honest' nothing to choose "
            "the epoch by; give a share, or protocols: [paper]"
        )
    return "valid" if valid_share else "test"
