"""How .tflite files spell operators that are a code, small integers behind the inputs, and options.

Most operators are no more than that. Convolutions and others that need more stand in the writer.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from latlas.profiler.ops import (
    Activation,
    Broadcast,
    DepthToSpace,
    Op,
    Reduce,
    Shape,
    Slice,
    SpaceToDepth,
    Tile,
    Transpose,
)
from latlas.profiler.tflite.schema import Code

ACTIVATIONS = {
    "relu": Code.RELU,
    "relu6": Code.RELU6,
    "hard_swish": Code.HARD_SWISH,
    "logistic": Code.LOGISTIC,
    "tanh": Code.TANH,
    "gelu": Code.GELU,
    "gelu_tanh": Code.GELU,
    "elu": Code.ELU,
    "leaky_relu": Code.LEAKY_RELU,
    "abs": Code.ABS,
    "cos": Code.COS,
    "exp": Code.EXP,
    "floor": Code.FLOOR,
    "log": Code.LOG,
    "neg": Code.NEG,
    "rsqrt": Code.RSQRT,
    "sin": Code.SIN,
    "sqrt": Code.SQRT,
    "square": Code.SQUARE,
}
"""By kind of `Activation`; ``gelu_tanh`` differs from ``gelu`` in an option."""

BINARY = {
    "add": Code.ADD,
    "mul": Code.MUL,
    "sub": Code.SUB,
    "div": Code.DIV,
    "maximum": Code.MAXIMUM,
    "minimum": Code.MINIMUM,
    "squared_difference": Code.SQUARED_DIFFERENCE,
    "pow": Code.POW,
}
"""By kind of `latlas.profiler.ops.Binary`."""

REDUCTIONS = {
    "mean": Code.MEAN,
    "sum": Code.SUM,
    "max": Code.REDUCE_MAX,
    "min": Code.REDUCE_MIN,
    "prod": Code.REDUCE_PROD,
}
"""By kind of `Reduce`."""


@dataclass(frozen=True, slots=True)
class Spelling:
    """One operator of a file.

    Attributes:
        code: its number.
        operands: constants of integers that it reads after its inputs, by name.
        options: by name; those at their default may be left out.
        version: of the operator.
    """

    code: Code
    operands: dict[str, Shape] = field(default_factory=dict)
    options: dict[str, float] = field(default_factory=dict)
    version: int = 1


def spelling(op: Op) -> Spelling | None:
    """Return the spelling of an operator, or None where it takes more.

    >>> spelling(Transpose((0, 2, 1)))
    Spelling(code=<Code.TRANSPOSE: 39>, operands={'perm': (0, 2, 1)}, options={}, version=1)
    """
    match op:
        case Activation("gelu_tanh"):
            return Spelling(Code.GELU, options={"approximate": True})
        case Activation("leaky_relu", alpha):
            return Spelling(Code.LEAKY_RELU, options={"alpha": alpha})
        case Activation(kind):
            return Spelling(ACTIVATIONS[kind]) if kind in ACTIVATIONS else None
        case Reduce(kind, axes, keepdims):
            return Spelling(REDUCTIONS[kind], {"axes": axes}, {"keep_dims": keepdims})
        case Transpose(perm):
            return Spelling(Code.TRANSPOSE, {"perm": perm})
        case Slice(begin, size, ()):
            return Spelling(Code.SLICE, {"begin": begin, "size": size})
        case Slice(begin, size, steps):
            triples = zip(begin, size, steps, strict=True)
            end = tuple([first + (count - 1) * step + 1 for first, count, step in triples])
            bounds = {"begin": begin, "end": end, "strides": steps}
            return Spelling(Code.STRIDED_SLICE, bounds)
        case Broadcast(shape):
            return Spelling(Code.BROADCAST_TO, {"shape": shape}, version=2)
        case Tile(multiples):
            return Spelling(Code.TILE, {"multiples": multiples})
        case DepthToSpace(block):
            return Spelling(Code.DEPTH_TO_SPACE, options={"block_size": block})
        case SpaceToDepth(block):
            return Spelling(Code.SPACE_TO_DEPTH, options={"block_size": block})
        case _:
            return None
