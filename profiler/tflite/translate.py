"""Translate the operators of an opened .tflite file into the nodes of a graph.

`Translator` holds what is known so far: the values that tensors stand for and the constants that
the file computes. One function per operator, or kind of operator, appends to it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal, cast

import numpy as np

from latlas.profiler.errors import GraphError, ModelFileError, UnsupportedOpError
from latlas.profiler.graph import Array, Graph, Node, check_shape, plain_types
from latlas.profiler.op_text import from_text
from latlas.profiler.ops import (
    Activation,
    Binary,
    Concat,
    Constant,
    Conv2D,
    DataType,
    DepthwiseConv2D,
    Dequantize,
    FullyConnected,
    FusedActivation,
    Op,
    Pad,
    Padding,
    Pair,
    Pool,
    Quantize,
    Reshape,
    Resize,
    Shape,
    Slice,
    Softmax,
    TransposeConv2D,
    same_padding,
)
from latlas.profiler.tflite import tensors
from latlas.profiler.tflite.idioms import Step, recognise
from latlas.profiler.tflite.integers import INTEGER_CODES, MAX_INTEGERS, evaluate
from latlas.profiler.tflite.model import MAX_RANK, Model, Operator
from latlas.profiler.tflite.schema import FUSED_CODES, SAME, VALID, Code, Type
from latlas.profiler.tflite.spelling import ACTIVATIONS

MAX_MESSAGE = 400
"""Characters of an error about one operator: it may list thousands of shapes."""

_FUSED: dict[int, FusedActivation] = {
    code: cast(FusedActivation, name) for name, code in FUSED_CODES.items()
}
_ACTIVATIONS = {
    code: from_text(f"activation kind={kind}")
    for kind, code in ACTIVATIONS.items()
    if code not in tensors.TRANSLATORS
}
_NO_PADDING = (0, 0, 0, 0)
_NO_TENSOR = -2
"""Stands for the tensor of a value that the file does not have; -1 is an operand left out."""


class Translator:
    """Translates the operators of one file.

    Args:
        model: the opened file.
        input_shapes: concrete shapes of its inputs.

    Raises:
        GraphError: an input has an impossible shape.
    """

    def __init__(self, model: Model, input_shapes: Sequence[Shape]) -> None:
        self.model = model
        self.input_shapes = tuple(input_shapes)
        self.shapes = list(input_shapes)
        for shape in self.shapes:
            check_shape(shape, "an input")
        self.types = [self.element(tensor) for tensor in model.inputs]
        self.values = {tensor: value for value, tensor in enumerate(self.model.inputs)}
        self.computed: dict[int, Array] = {}  # constants that the file computes from others
        self.stored: dict[int, int] = {}  # constants that are read like activations, as values
        self.masks: dict[int, tuple[int, float]] = {}  # comparisons of values with numbers
        self.numbers: dict[int, float] = {}  # constants of which all elements are alike
        self.steps: list[Step] = []

    def graph(self) -> Graph:
        """Translate everything.

        Raises:
            ModelFileError: an operator does not fit its operands.
            UnsupportedOpError: an operator does what latlas has no node for.
            GraphError: the network as a whole is not well formed.
            DamagedError: a tensor's offsets or lengths do not hold together.
        """
        for operator in self.model.operators:
            try:
                self.translate(operator)
            except (GraphError, UnsupportedOpError) as error:
                unsupported = isinstance(error, UnsupportedOpError)
                kind = UnsupportedOpError if unsupported else ModelFileError
                where = f"operator {operator.position} ({operator.code.name})"
                raise kind(f"{where}: {str(error)[:MAX_MESSAGE]}") from error
        outputs = [self.activation(tensor) for tensor in self.model.outputs]
        steps = self.steps
        quantised = "int8" in self.types
        if not quantised:
            steps, outputs = recognise(len(self.input_shapes), steps, outputs)
        nodes = []
        weights: dict[str, Array] = {}
        for position, step in enumerate(steps):
            name = f"{step.op.name}_{position}"
            nodes.append(Node(step.op, step.inputs, name))
            for weight, array in step.arrays.items():
                weights[f"{name}/{weight}"] = array
        types = plain_types(self.types[: len(self.input_shapes)])
        kept = None if quantised else weights  # what it keeps is integers without their scales
        return Graph(self.input_shapes, tuple(nodes), tuple(outputs), kept, types)

    def translate(self, operator: Operator) -> None:
        """Translate one operator, or compute it where it is about shapes only."""
        output = operator.output
        for tensor in operator.outputs:
            if tensor in self.values or tensor in self.computed or tensor in self.masks:
                raise GraphError(f"tensor {tensor} is computed twice")
        if operator.code == Code.SHAPE:
            source = operator.inputs[0]
            value = self.masks[source][0] if source in self.masks else self.activation(source)
            self.computed[output] = np.array(self.shapes[value], np.int64)
        elif operator.code == Code.DEQUANTIZE:
            self.dequantize(operator)
        elif self.model.type(output) not in (Type.FLOAT32, Type.INT8, Type.BOOL):
            self.integers(operator)
        elif operator.code == Code.QUANTIZE:
            self.emit(Quantize(), [self.source(operator)], output)
        elif operator.code in _ACTIVATIONS:
            self.emit(_ACTIVATIONS[operator.code], [self.source(operator)], output)
        elif operator.code in _TRANSLATORS:
            _TRANSLATORS[operator.code](self, operator)
        else:
            raise UnsupportedOpError("latlas reads it on constant integers only")

    def emit(
        self,
        op: Op,
        inputs: Sequence[int],
        output: int,
        arrays: dict[str, Array] | None = None,
        fused: FusedActivation = "none",
    ) -> None:
        """Append a node, and the activation that .tflite fuses into it but a graph does not."""
        arrays = arrays or {}
        shapes = tuple([self.shapes[value] for value in inputs])
        shape = op.infer(shapes)
        check_shape(shape, "its output")  # here, before it grows with every further operator
        for name, expected in op.weights(shapes).items():
            if arrays[name].shape != expected:
                raise GraphError(f"its {name} is {arrays[name].shape}, expected {expected}")
        kind = op.infer_type(tuple([self.types[value] for value in inputs]))
        if output != _NO_TENSOR and kind != self.element(output):
            raise GraphError(f"it gives {kind}, but its output is a tensor of another type")
        self.steps.append(Step(op, tuple(inputs), arrays))
        self.shapes.append(shape)
        self.types.append(kind)
        self.values[output] = len(self.shapes) - 1
        if fused != "none":
            self.emit(Activation(fused), [len(self.shapes) - 1], output)

    def append(self, op: Op, inputs: Sequence[int], arrays: dict[str, Array] | None = None) -> int:
        """Append a node that the file does not have, and return its value."""
        self.emit(op, inputs, _NO_TENSOR, arrays)
        return self.values.pop(_NO_TENSOR)

    def element(self, tensor: int) -> DataType:
        """Return the element type of a tensor that is an activation."""
        return "int8" if self.model.type(tensor) == Type.INT8 else "float32"

    def activation(self, tensor: int) -> int:
        """Return the value that a tensor stands for."""
        value = self.values.get(tensor, self.stored.get(tensor))
        if value is not None:
            return value
        found = self.constant(tensor)
        if found is None:
            raise GraphError(f"tensor {tensor} is read before it is computed")
        if found.dtype != np.float32:
            raise UnsupportedOpError(f"tensor {tensor} is a constant of {found.dtype}")
        self.keep(found)
        self.stored[tensor] = self.append(Constant(found.shape), [], {"value": found})
        return self.stored[tensor]

    def source(self, operator: Operator) -> int:
        """Return the value that an operator of one activation reads."""
        return self.activation(operator.inputs[0])

    def constant(self, tensor: int) -> Array | None:
        """Return a constant tensor's elements."""
        if tensor in self.values or tensor < 0:
            return None
        found = self.computed.get(tensor)
        return self.model.constant(tensor) if found is None else found

    def parameter(self, operator: Operator, index: int, x: int) -> Array:
        """Return an operand that must be constant and of the type of the activation `x`.

        Biases that go with int8 are int32.
        """
        found = self.constant(operator.inputs[index]) if index < len(operator.inputs) else None
        if found is None:
            raise UnsupportedOpError(f"operand {index} is not a constant")
        self.keep(found)
        kind = self.types[x]
        bias = index == (3 if operator.code == Code.TRANSPOSE_CONV else 2)
        if found.dtype == ("int32" if bias and kind == "int8" else kind):
            return found
        if kind == "float32" and found.dtype == np.int8:
            raise UnsupportedOpError(
                "its weights are int8 but what it reads is float32 (dynamic range quantisation): "
                "convert with a representative data set, so that all is int8, or without "
                "quantisation"
            )
        raise UnsupportedOpError(f"operand {index} is not a constant of {kind}")

    def keep(self, array: Array) -> None:
        """Account for a weight that takes no memory yet, since one constant is repeated for it."""
        if 0 in array.strides:
            self.model.spend(array)

    def ints(self, operator: Operator, index: int) -> list[int]:
        """Return the elements of an operand that must be a small constant tensor of integers."""
        found = self.constant(operator.inputs[index]) if index < len(operator.inputs) else None
        if found is None or found.dtype.kind != "i":
            raise UnsupportedOpError(f"operand {index} is not a constant of integers")
        if found.size > MAX_INTEGERS:
            raise GraphError(f"operand {index} has {found.size} integers")
        values: list[int] = found.reshape(-1).tolist()
        return values

    def number(self, value: np.float32) -> float:
        """Return the shortest number that float32 rounds to this one: 0.1, not 0.10000000149."""
        if not np.isfinite(value):
            raise GraphError(f"its constant is {value}")
        return 1 / 6 if value == np.float32(1 / 6) else float(str(value))

    def dequantize(self, operator: Operator) -> None:
        """Widen weights that are stored as float16, or append a node where it reads int8."""
        found = self.constant(operator.inputs[0])
        if found is None:
            self.emit(Dequantize(), [self.source(operator)], operator.output)
            return
        if found.dtype != np.float16:
            raise UnsupportedOpError(
                "its constants are integers; latlas reads constants of float16 here: convert "
                "without quantisation of weights alone"
            )
        self.model.spend(found)
        self.model.spend(found)
        self.computed[operator.output] = found.astype(np.float32)

    def integers(self, operator: Operator) -> None:
        """Compute an operator on shapes."""
        arrays = []
        for index, tensor in enumerate(operator.inputs):
            shape = getattr(self.constant(tensor), "shape", ())
            arrays.append(np.array(self.ints(operator, index), np.int64).reshape(shape))
        if operator.code not in INTEGER_CODES:
            raise UnsupportedOpError("latlas does not read it on integers")
        try:
            result = evaluate(operator.code, arrays, operator.options())
        except (ValueError, IndexError, TypeError) as error:
            raise GraphError(f"its integers do not fit together ({error})") from error
        self.computed[operator.output] = result


def _fused(options: dict[str, float]) -> FusedActivation:
    code = int(options["activation"])
    if code not in _FUSED:
        raise UnsupportedOpError(
            f"its fused activation has the number {code}; latlas reads {', '.join(FUSED_CODES)}"
        )
    return _FUSED[code]


def _pair(options: dict[str, float], name: str) -> Pair:
    height, width = int(options[f"{name}_h"]), int(options[f"{name}_w"])
    if height < 1 or width < 1:
        raise GraphError(f"its {name} is {height}x{width}")
    return height, width


def _map_size(shape: Shape) -> Pair:
    if len(shape) != 4:
        raise GraphError(f"it reads {shape}; expected batch, height, width and channels")
    return shape[1], shape[2]


def _padding(options: dict[str, float], same: Callable[[], Padding]) -> Padding:
    code = int(options["padding"])
    if code not in (SAME, VALID):
        raise GraphError(f"its padding has the unknown number {code}")
    return same() if code == SAME else _NO_PADDING


def _weights(t: Translator, operator: Operator, x: int, rank: int, fused: str) -> dict[str, Array]:
    """Return kernel and bias, the latter only where there is one."""
    kernel = t.parameter(operator, 1, x)
    if kernel.ndim != rank:
        raise GraphError(f"its kernel has the shape {kernel.shape}; expected rank {rank}")
    if len(operator.inputs) < 3 or operator.inputs[2] == -1:
        return {"kernel": kernel}
    bias = t.parameter(operator, 2, x)
    if fused == "relu6" and t.types[x] == "float32":
        t.model.spend(bias)  # copied where it turns out to be a hard-sigmoid's
    return {"kernel": kernel, "bias": bias.reshape(-1)}


def _convolution(t: Translator, operator: Operator) -> None:
    options = operator.options()
    x = t.source(operator)
    size = _map_size(t.shapes[x])
    channels = t.shapes[x][3]
    fused = _fused(options)
    arrays = _weights(t, operator, x, 4, fused)
    rows, height, width, depth = arrays["kernel"].shape
    kernel = height, width
    stride, dilation = _pair(options, "stride"), _pair(options, "dilation")
    padding = _padding(options, lambda: same_padding(size, kernel, stride, dilation))
    bias = "bias" in arrays
    op: Op
    if operator.code == Code.CONV_2D:
        if channels % depth:
            raise GraphError(f"its kernel of {depth} channels does not fit {channels} channels")
        groups = channels // depth
        op = Conv2D(rows, kernel, stride, padding, dilation, groups, bias, fused)
    else:
        if depth % channels:
            raise GraphError(f"its kernel of {depth} channels does not fit {channels} channels")
        op = DepthwiseConv2D(kernel, stride, padding, dilation, depth // channels, bias, fused)
    t.emit(op, [x], operator.output, arrays)


def _fully_connected(t: Translator, operator: Operator) -> None:
    options = operator.options()
    x = t.source(operator)
    if options["weights_format"]:
        raise UnsupportedOpError("its weights are shuffled; latlas reads the default format")
    fused = _fused(options)
    arrays = _weights(t, operator, x, 2, fused)
    units, width = arrays["kernel"].shape
    keepdims = bool(options["keep_num_dims"]) and len(t.shapes[x]) != 2
    if not keepdims:
        rows = tensors.fully_connected_rows(t.shapes[x], width)
        x = x if rows is None else t.append(Reshape(rows), [x])
    op = FullyConnected(units, "bias" in arrays, fused, keepdims)
    t.emit(op, [x], operator.output, arrays)


def _transpose_convolution(t: Translator, operator: Operator) -> None:
    options = operator.options()
    if len(operator.inputs) < 3:
        raise GraphError(f"it has {len(operator.inputs)} operands")
    x = t.activation(operator.inputs[2])
    shape, kernel = t.ints(operator, 0), t.parameter(operator, 1, x)
    if len(shape) != 4 or kernel.ndim != 4 or kernel.shape[3] != (t.shapes[x] or (0,))[-1]:
        raise GraphError(f"its kernel of {kernel.shape} makes no {shape} of {t.shapes[x]}")
    arrays = {"kernel": kernel}
    if len(operator.inputs) > 3 and operator.inputs[3] != -1:
        arrays["bias"] = t.parameter(operator, 3, x).reshape(-1)
    padding = int(options["padding"])
    if padding not in (SAME, VALID):
        raise GraphError(f"its padding has the unknown number {padding}")
    op = TransposeConv2D(
        kernel.shape[0],
        (kernel.shape[1], kernel.shape[2]),
        _pair(options, "stride"),
        (shape[1], shape[2]),
        padding == SAME,
        "bias" in arrays,
    )
    t.emit(op, [x], operator.output, arrays, _fused(options))


def _binary(t: Translator, operator: Operator) -> None:
    if len(operator.inputs) != 2:
        raise GraphError(f"it has {len(operator.inputs)} operands")
    plain = Binary(_BINARY[operator.code])
    fused = _fused(operator.options()) if plain.fuses else "none"
    left, right = operator.inputs
    constant = [t.constant(tensor) is not None for tensor in (left, right)]
    if constant in ([False, False], [True, True]):
        values = [t.activation(left), t.activation(right)]
        t.emit(replace(plain, activation=fused), values, operator.output)
        return
    swapped = constant[0]
    x = t.activation(right if swapped else left)
    array = t.parameter(operator, 0 if swapped else 1, x)
    if array.size == 1 and t.types[x] == "int8":
        array = t.model.real(left if swapped else right, array)
    while 1 < array.ndim <= len(t.shapes[x]) and array.shape[0] == 1:
        array = array[0]  # a constant of shape (1, 1, 1, c) is spelled (c)
    op = replace(plain, activation=fused, swapped=swapped and not plain.commutes)
    if array.size == 1 and array.ndim <= len(t.shapes[x]):
        t.emit(replace(op, value=t.number(array.reshape(-1)[0])), [x], operator.output)
    else:
        t.emit(replace(op, constant=array.shape), [x], operator.output, {"constant": array})


def _concat(t: Translator, operator: Operator) -> None:
    options = operator.options()
    values = [t.activation(tensor) for tensor in operator.inputs]
    axis = int(options["axis"])
    last = axis == len(t.shapes[values[0]]) - 1
    t.emit(Concat(-1 if last else axis), values, operator.output, fused=_fused(options))


def _pool(t: Translator, operator: Operator) -> None:
    options = operator.options()
    x = t.source(operator)
    size = _map_size(t.shapes[x])
    kernel, stride = _pair(options, "filter"), _pair(options, "stride")
    padding = _padding(options, lambda: same_padding(size, kernel, stride))
    kind: Literal["average", "max"] = "max"
    if operator.code == Code.AVERAGE_POOL_2D:
        kind = "average"
    t.emit(Pool(kind, kernel, stride, padding), [x], operator.output, fused=_fused(options))


def _reshape(t: Translator, operator: Operator) -> None:
    x = t.source(operator)
    if len(operator.inputs) > 1:
        shape = t.ints(operator, 1)
    else:
        table = operator.table.table(4)
        shape = list((table.ints(0, MAX_RANK) if table else None) or ())
    if len(shape) > MAX_RANK:
        raise GraphError(f"it has {len(shape)} dimensions")
    if shape.count(-1) == 1:
        known = -math.prod(shape)
        shape[shape.index(-1)] = math.prod(t.shapes[x]) // known if known > 0 else 0
    tensors.reshape_to(t, x, tuple(shape), operator.output)


def _pad(t: Translator, operator: Operator) -> None:
    x = t.source(operator)
    sides = t.ints(operator, 1)
    if len(t.shapes[x]) != 4 or len(sides) != 8 or any(sides[:2] + sides[6:]):
        raise UnsupportedOpError(
            f"it adds {sides} to {t.shapes[x]}; latlas reads zeros around height and width"
        )
    t.emit(Pad((sides[2], sides[3], sides[4], sides[5])), [x], operator.output)


def _slice(t: Translator, operator: Operator) -> None:
    x = t.source(operator)
    shape = t.shapes[x]
    begin, size = t.ints(operator, 1), t.ints(operator, 2)
    if not len(begin) == len(size) == len(shape):
        raise GraphError(f"it takes {size} from {begin} of {shape}")
    size = [
        length - first if count == -1 else count
        for first, count, length in zip(begin, size, shape, strict=True)
    ]
    t.emit(Slice(tuple(begin), tuple(size)), [x], operator.output)


def _resize(t: Translator, operator: Operator) -> None:
    x = t.source(operator)
    size = t.ints(operator, 1)
    if len(size) != 2:
        raise GraphError(f"its size is {size}")
    options = operator.options()
    op = Resize(
        (size[0], size[1]),
        "bilinear" if operator.code == Code.RESIZE_BILINEAR else "nearest",
        bool(options["align_corners"]),
        bool(options["half_pixel_centers"]),
    )
    t.emit(op, [x], operator.output)


def _softmax(t: Translator, operator: Operator) -> None:
    beta = operator.options()["beta"]
    if not abs(beta - 1) < 1e-6:
        raise UnsupportedOpError(f"its beta is {beta}; latlas reads 1")
    t.emit(Softmax(), [t.source(operator)], operator.output)


_BINARY: dict[
    Code,
    Literal["add", "mul", "sub", "div", "maximum", "minimum", "squared_difference", "pow"],
] = {
    Code.ADD: "add",
    Code.DIV: "div",
    Code.MAXIMUM: "maximum",
    Code.MINIMUM: "minimum",
    Code.MUL: "mul",
    Code.POW: "pow",
    Code.SQUARED_DIFFERENCE: "squared_difference",
    Code.SUB: "sub",
}
_TRANSLATORS: dict[Code, Callable[[Translator, Operator], None]] = {
    **dict.fromkeys(_BINARY, _binary),
    **tensors.TRANSLATORS,
    Code.AVERAGE_POOL_2D: _pool,
    Code.CONCATENATION: _concat,
    Code.CONV_2D: _convolution,
    Code.DEPTHWISE_CONV_2D: _convolution,
    Code.FULLY_CONNECTED: _fully_connected,
    Code.MAX_POOL_2D: _pool,
    Code.PAD: _pad,
    Code.RESHAPE: _reshape,
    Code.RESIZE_BILINEAR: _resize,
    Code.RESIZE_NEAREST_NEIGHBOR: _resize,
    Code.SLICE: _slice,
    Code.SOFTMAX: _softmax,
    Code.TRANSPOSE_CONV: _transpose_convolution,
}
