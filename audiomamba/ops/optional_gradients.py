"""The gradients of arguments that may be None.

An operator's schema cannot return None.  The operators therefore return an
empty tensor as the gradient of an argument that was not given, and autograd
gets None in its place.
"""


def blank(argument, like):
    """Return an empty gradient with the shape and dtype of an argument."""
    if argument is None:
        return like.new_empty(0)
    return argument.new_empty(argument.shape)


def defined(gradients, like):
    """Return gradients as `blank` describes them: contiguous, none missing.

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


def cast_like(gradients, arguments):
    """Return gradients in their arguments' dtypes, None for None."""
    return [
        None if argument is None else gradient.to(argument.dtype)
        for gradient, argument in zip(gradients, arguments)
    ]
