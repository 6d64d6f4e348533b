"""Translate the operators of an opened .tflite file into the nodes of a graph.

`Translator` holds what is known so far: the values that tensors stand for and the constants that
the file computes. Functions of `layers` and `tensors`, one per kind of operator, append to it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from latlas.profiler.errors import GraphError, ModelFileError, UnsupportedOpError
from latlas.profiler.graph import Array, Graph, Node, check_shape, plain_types
from latlas.profiler.op_text import from_text
from latlas.profiler.ops import (
    Activation,
    Constant,
    DataType,
    Dequantize,
    FusedActivation,
    Op,
    Quantize,
    Shape,
)
from latlas.profiler.tflite import layers, tensors
from latlas.profiler.tflite.idioms import Step, recognise
from latlas.profiler.tflite.integers import INTEGER_CODES, MAX_INTEGERS, evaluate
from latlas.profiler.tflite.model import Model, Operator
from latlas.profiler.tflite.schema import Code, Type
from latlas.profiler.tflite.spelling import ACTIVATIONS

MAX_MESSAGE = 400
"""Characters of an error about one operator: it may list thousands of shapes."""

_ACTIVATIONS = {
    code: from_text(f"activation kind={kind}")
    for kind, code in ACTIVATIONS.items()
    if code not in tensors.TRANSLATORS
}
_TRANSLATORS = layers.TRANSLATORS | tensors.TRANSLATORS
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
        shapes = (*self.input_shapes, *[step.shape for step in steps])
        # Every shape and type was worked out and checked when its operator was translated.
        return Graph.of_shapes(
            *(self.input_shapes, tuple(nodes), tuple(outputs), kept), types, shapes
        )

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
        self.steps.append(Step(op, tuple(inputs), arrays, shape))
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
