"""The weights that a run starts from, or tests as they are."""

from audiomamba.lobes.weights import CheckpointError


def tests_given_weights(checkpointer, source, test_only):
    """Whether a run trains nothing and has nothing to test but ``init_from``.

    Arguments
    ---------
    checkpointer : Checkpointer or None
        The run's.
    source : str or None
        ``init_from``.
    test_only : bool
        The run option.

    Returns
    -------
    bool

    Example
    -------
    >>> tests_given_weights(None, "weights.pth", test_only=True)
    True
    """
    trained = checkpointer is not None and checkpointer.list_checkpoints()
    return test_only and source is not None and not trained


def load_initial_weights(hparams, run_opts):
    """Fill encoder and classifier from ``init_from``, where it is given.

    The head travels when its class count fits.  Where the weights are to be
    tested as they are, it has to.

    Arguments
    ---------
    hparams : dict
        With ``init_from``, ``embedding_model``, ``classifier`` and
        ``checkpointer``.
    run_opts : RunOptions
        With ``test_only``.

    Raises
    ------
    CheckpointError
        If the weights do not fit.

    Example
    -------
    >>> load_initial_weights({"init_from": None}, {"test_only": False})
    """
    source = hparams["init_from"]
    if source is None:
        return
    from audiomamba.lobes.official import initialise

    classifier = hparams["classifier"]
    with_head = initialise(hparams["embedding_model"], classifier, source)
    tested = tests_given_weights(
        hparams["checkpointer"], source, run_opts["test_only"]
    )
    if tested and not with_head:
        raise CheckpointError(
            f"{source} has no classifier for the {hparams['n_classes']} "
            "classes of the data, so there is nothing to test.  Train it "
            "first, without --test_only; or give the data that it was trained "
            "on, all classes of them."
        )
