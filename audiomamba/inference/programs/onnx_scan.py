"""The recurrence of a selective scan in standard ONNX operators.

One step at a time, a runtime would spend its time on starting operators.  Both
forms here take `STEPS` steps per operator instead, and are exact: no decay is
divided by another, so nothing overflows.  Needs onnxscript (extra ``onnx``).
"""

from onnx_ir import Graph, Value
from onnx_ir.tape import Tape
from onnxscript import opset18 as op

# Steps of a block: more make the operators fewer and the file larger
STEPS = 8
OPSETS = {"": 18}


def recurrence(delta, drive, rate, B, C, sizes, reverse):
    """Scan h_l = exp(delta_l rate) h_(l-1) + drive_l B_l, y_l = C_l . h_l.

    Arguments
    ---------
    delta, drive : onnx_ir.Value
        Step sizes, and their products with the input, [B, L, D].
    rate : onnx_ir.Value
        Decay rates, [D, N].
    B, C : onnx_ir.Value
        Input and output matrices of the steps, [B, L, N].
    sizes : tuple of int
        (D, N).
    reverse : bool
        Whether to go from the last step to the first.

    Returns
    -------
    onnx_ir.Value
        y, [B, L, D].
    """
    channels, n_state = sizes
    form = _along_blocks if n_state > 1 else _across_blocks
    in_blocks = [
        _in_blocks(tensor, width)
        for tensor, width in zip(
            (delta, drive, B, C), (channels, channels, n_state, n_state)
        )
    ]
    # Channels last: what is broadcast over them is fast
    rate = op.Transpose(rate, perm=[1, 0])
    y = form(in_blocks, rate, sizes, int(reverse))
    n_steps = op.Shape(delta, start=1, end=2)
    return op.Slice(op.Reshape(y, [0, -1, channels]), [0], n_steps, [1])


def _in_blocks(tensor, width):
    """Return [B, blocks, STEPS, width]; appended zeros change no state."""
    missing = op.Mod(op.Neg(op.Shape(tensor, start=1, end=2)), [STEPS])
    pads = op.Concat(op.Constant(value_ints=[0]), missing, axis=0)
    padded = op.Pad(tensor, pads, None, [1])
    return op.Reshape(padded, [0, -1, STEPS, width])


def _zeros(like, *shape):
    """Return zeros, as many as the batch of ``like`` has, each of a shape."""
    n_clips = op.Shape(like, start=0, end=1)
    shape = op.Concat(n_clips, op.Constant(value_ints=shape), axis=0)
    return op.Expand(op.Constant(value_float=0.0), shape)


def _order(reverse):
    """Return the places of a block's steps in the order of the scan."""
    return range(STEPS)[:: -1 if reverse else 1]


def _scan(start, inputs, body, reverse):
    """Run a body over the blocks; return what it gives for each."""
    n_inputs = len(inputs)
    last = op.Scan(
        start,
        *inputs,
        body=body,
        num_scan_inputs=n_inputs,
        scan_input_axes=[1] * n_inputs,
        scan_output_axes=[1],
        scan_input_directions=[reverse] * n_inputs,
        scan_output_directions=[reverse],
    )
    # The exporter counts one output; the second is what is wanted
    node = last.producer()
    node.resize_outputs(2)
    return node.outputs[1]


def _body(tape, inputs, outputs):
    return Graph(
        inputs, outputs, nodes=tape.nodes, opset_imports=OPSETS, name="block"
    )


def _along_blocks(blocks, rate, sizes, reverse):
    """Go from block to block, each of which stays in a core's cache.

    For many states: those of a step, [N, D], keep an operator busy, and those
    of all steps would have to come from memory.
    """
    names = ("before", "delta", "drive", "B", "C")
    before, *parts = (Value(name=f"{name}_in_block") for name in names)
    tape = Tape()
    axes = [tape.op("Constant", [], {"value_ints": [i]}) for i in range(4)]
    delta, drive, B, C = (
        tape.op("Unsqueeze", [part, axes[i]])
        for part, i in zip(parts, (2, 2, 3, 2))
    )
    decay = tape.op("Exp", [tape.op("Mul", [delta, rate])])  # [B, STEPS, N, D]
    added = tape.op("Mul", [drive, B])
    split = {"axis": 1, "num_outputs": STEPS}
    decay, added = (
        tape.op_multi_out("Split", [x], split, num_outputs=STEPS)
        for x in (decay, added)
    )
    states, state = [None] * STEPS, before
    for step in _order(reverse):
        kept = tape.op("Mul", [decay[step], state])
        states[step] = state = tape.op("Add", [kept, added[step]])
    seen = tape.op("MatMul", [C, tape.op("Concat", states, {"axis": 1})])
    y, last = tape.op("Squeeze", [seen, axes[2]]), tape.op("Identity", [state])
    body = _body(tape, [before, *parts], [last, y])
    start = _zeros(blocks[0], 1, *sizes[::-1])
    return _scan(start, blocks, body, reverse)


def _across_blocks(blocks, rate, sizes, reverse):
    """Take a step of all blocks at once, then carry states between them.

    For one state per channel, whose steps are too small for an operator each.
    """
    delta, drive, B, C = blocks
    decay = op.Exp(op.Mul(delta, rate))
    added = op.Mul(drive, B)
    decay, added, C = (
        op.Split(x, axis=2, num_outputs=STEPS) for x in (decay, added, C)
    )
    first, *others = _order(reverse)
    state, through = added[first], decay[first]
    states, throughs = {first: state}, {first: through}
    for step in others:
        state = op.Add(op.Mul(decay[step], state), added[step])
        through = op.Mul(decay[step], through)
        states[step], throughs[step] = state, through
    carried = _carry(through, state, sizes[0], reverse)
    seen = [
        op.Mul(C[i], op.Add(states[i], op.Mul(throughs[i], carried)))
        for i in range(STEPS)
    ]
    return op.Concat(*seen, axis=2)


def _carry(through, state, channels, reverse):
    """Return the state before each block, from those after it alone."""
    names = ("before", "through", "own")
    before, passed, own = (Value(name=f"{name}_block") for name in names)
    tape = Tape()
    after = tape.op("Add", [tape.op("Mul", [passed, before]), own])
    given = tape.op("Identity", [before])
    body = _body(tape, [before, passed, own], [after, given])
    start = _zeros(through, 1, channels)
    return _scan(start, [through, state], body, reverse)
