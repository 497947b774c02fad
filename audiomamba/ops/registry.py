"""What both operators share in telling PyTorch about themselves.

An operator's schema cannot return None, so the gradient of an argument that
was not given travels as an empty tensor and becomes None again behind it.
"""


def blank(argument, like):
    """Return an empty gradient with the shape and dtype of an argument."""
    if argument is None:
        return like.new_empty(0)
    return argument.new_empty(argument.shape)


def defined(gradients, like):
    """Return gradients as `blank` foretells them: contiguous, none missing.

    Code that ``torch.compile`` has generated relies on their strides.
    """
    return [
        like.new_empty(0) if g is None else g.contiguous() for g in gradients
    ]


def present(gradients, arguments):
    """Return gradients with None for the arguments that were not given."""
    return [
        None if argument is None else gradient
        for gradient, argument in zip(gradients, arguments)
    ]
