"""Write a network as a .tflite file, without TensorFlow.

A kernel takes under a millisecond and MobileNetV2 a few hundredths of a second, where building a
Keras model and converting it takes a third of a second and several seconds.
"""

from __future__ import annotations

import math

import numpy as np

from latlas.profiler.errors import GraphError
from latlas.profiler.fold import require_folded
from latlas.profiler.graph import Array, Graph, Node
from latlas.profiler.ops import (
    BatchMatmul,
    Binary,
    Concat,
    Constant,
    Conv2D,
    DepthwiseConv2D,
    Dequantize,
    FullyConnected,
    Gather,
    Mean,
    Pad,
    Padding,
    Pool,
    Prelu,
    Quantize,
    Reshape,
    Resize,
    Select,
    Shape,
    Softmax,
    TransposeConv2D,
    same_padding,
)
from latlas.profiler.random_weights import random_weights
from latlas.profiler.tflite.file_builder import FileBuilder
from latlas.profiler.tflite.quantisation import (
    Scale,
    channel_axis,
    quantise_bias,
    quantise_channels,
    quantise_constant,
    scales,
)
from latlas.profiler.tflite.schema import (
    FUSED_CODES,
    INT8_VERSIONS,
    SAME,
    VALID,
    Code,
    Type,
)
from latlas.profiler.tflite.spelling import BINARY, spelling

MAX_FILE_BYTES = 2**31 - 1
"""Flatbuffer offsets are signed 32-bit numbers in the readers of .tflite files."""


class _Writer:
    """Translates the nodes of one graph."""

    def __init__(self, graph: Graph, seed: int) -> None:
        self.graph = graph
        size = sum(4 * math.prod(shape) for shape in graph.weight_shapes().values())
        size += 1024 * (len(graph.inputs) + len(graph.nodes) + 4)
        if size > MAX_FILE_BYTES:
            raise GraphError(
                f"the weights take {size >> 20} MiB; a .tflite file holds less than 2048 MiB"
            )
        self.weights = random_weights(graph, seed) if graph.weights is None else graph.weights
        self.file = FileBuilder(size)
        self.scales: tuple[Scale | None, ...] = (None,) * (len(graph.inputs) + len(graph.nodes))
        if not graph.is_float:
            self.scales = scales(graph)

    def weight(self, node: Node, name: str, shape: Shape, kind: str = "<f4") -> Array:
        """Return one weight of a node."""
        key = f"{node.name}/{name}"
        values = self.weights.get(key)
        if values is None or values.shape != shape:
            got = "is missing" if values is None else f"has the shape {values.shape}"
            raise GraphError(f"weight {key!r} {got}; expected an array of shape {shape}")
        return np.ascontiguousarray(values, kind)

    def linear(self, node: Node, shape: Shape) -> list[int]:
        """Add kernel and bias; delegates expect a bias, so one that is missing is written as 0."""
        shapes = node.op.weights((shape,))
        kernel = self.weight(node, "kernel", shapes["kernel"])
        axis = channel_axis(node) % kernel.ndim
        scale = self.scales[node.inputs[0]]
        name = f"{node.name}/bias"
        if scale is not None:
            bias = np.zeros(kernel.shape[axis], np.float32)
            if "bias" in shapes:
                bias = self.weight(node, "bias", shapes["bias"])
            whole, sizes = quantise_channels(kernel, axis)
            products = sizes * np.float32(scale.scale)
            integers = quantise_bias(bias, products)
            return [
                self.file.array(
                    whole, f"{node.name}/kernel", Type.INT8, self.file.scale(sizes, 0, axis)
                ),
                self.file.array(integers, name, Type.INT32, self.file.scale(products)),
            ]
        found = [self.file.array(kernel, f"{node.name}/kernel")]
        if "bias" in shapes:
            found.append(self.file.array(self.weight(node, "bias", shapes["bias"]), name))
        else:
            zeros = np.zeros(kernel.shape[axis], np.float32)
            found.append(self.file.constant(zeros, "zero_bias"))
        return found

    def pad(
        self,
        x: int,
        shape: Shape,
        padding: Padding,
        scale: Scale | None,
        output: int | None = None,
    ) -> int:
        """Add zeros around height and width."""
        top, bottom, left, right = padding
        rows = self.file.indices([(0, 0), (top, bottom), (left, right), (0, 0)], "paddings")
        if output is None:
            name = f"pad_{len(self.file.tensors)}"
            output = self.file.value(Pad(padding).infer((shape,)), name, scale)
        return self.file.operator(Code.PAD, [x, rows], output, _version(Code.PAD, scale))

    def convolve(self, node: Node, op: Conv2D | DepthwiseConv2D, x: int, shape: Shape) -> None:
        """Add a convolution, after an operator for a padding that .tflite cannot express."""
        size = shape[1], shape[2]
        padding = SAME
        if op.padding != same_padding(size, op.kernel, op.stride, op.dilation):
            padding = VALID
            if any(op.padding):
                x = self.pad(x, shape, op.padding, self.scales[node.inputs[0]])
        options: dict[str, float] = {
            "padding": padding,
            "stride_h": op.stride[0],
            "stride_w": op.stride[1],
            "dilation_h": op.dilation[0],
            "dilation_w": op.dilation[1],
            "activation": FUSED_CODES[op.activation],
        }
        inputs = [x, *self.linear(node, shape)]
        if isinstance(op, Conv2D):
            self.add(node, Code.CONV_2D, inputs, 6 if op.groups > 1 else 1, **options)
        else:
            options["multiplier"] = op.multiplier
            version = 1 if op.dilation == (1, 1) else 2
            self.add(node, Code.DEPTHWISE_CONV_2D, inputs, version, **options)

    def pool(self, node: Node, op: Pool, x: int, shape: Shape) -> None:
        """Add a pooling."""
        padding = SAME
        if op.padding != same_padding((shape[1], shape[2]), op.kernel, op.stride):
            padding = VALID
            if any(op.padding):
                raise GraphError(
                    f"{node.name}: a .tflite pooling is padded as SAME or not at all; {op.padding} "
                    f"on {shape} is neither: put a pad before it, or choose another padding"
                )
        self.add(
            node,
            Code.AVERAGE_POOL_2D if op.kind == "average" else Code.MAX_POOL_2D,
            [x],
            padding=padding,
            stride_h=op.stride[0],
            stride_w=op.stride[1],
            filter_h=op.kernel[0],
            filter_w=op.kernel[1],
        )

    def binary(self, node: Node, op: Binary, inputs: list[int]) -> None:
        """Add an element-wise function of two tensors, or of one and a constant."""
        if op.value is not None:
            inputs.append(self.operand(node, np.array(op.value, np.float32), "value"))
        elif op.constant is not None:
            values = self.weight(node, "constant", op.constant)
            inputs.append(self.operand(node, values, f"{node.name}/constant"))
        if op.swapped:
            inputs.reverse()
        options = {"activation": FUSED_CODES[op.activation]} if op.fuses else {}
        self.add(node, BINARY[op.kind], inputs, **options)

    def transpose_convolve(self, node: Node, op: TransposeConv2D, x: int, shape: Shape) -> None:
        """Add a transposed convolution."""
        kernel, bias = self.linear(node, shape)
        size = self.file.indices(op.infer((shape,)), "size")
        self.add(
            node,
            Code.TRANSPOSE_CONV,
            [size, kernel, x, bias],
            3,
            padding=SAME if op.same else VALID,
            stride_h=op.stride[0],
            stride_w=op.stride[1],
        )

    def select(self, node: Node, op: Select, inputs: list[int], shape: Shape) -> None:
        """Add the comparison and the choice."""
        value, other = [
            self.file.constant(np.array(number, np.float32), "value")
            for number in (op.value, op.other)
        ]
        mask = self.file.tensor(shape, f"{node.name}_mask", kind=Type.BOOL)
        self.file.operator(Code.EQUAL, [inputs[0], value], mask)
        self.add(node, Code.SELECT_V2, [mask, inputs[1], other])

    def operand(self, node: Node, values: Array, name: str, *, symmetric: bool = False) -> int:
        """Add a constant operand, of the type of the activation that it goes with."""
        if self.scales[node.inputs[0]] is None:
            return self.file.constant(values, name)
        assert self.scale is not None
        # XNNPACK adds integers that are at most 1024 times finer than the result.
        whole, scale = quantise_constant(values, self.scale.scale / 256, symmetric=symmetric)
        where = self.file.scale(np.array([scale.scale]), scale.zero_point)
        return self.file.array(whole, name, Type.INT8, where)

    def add(
        self, node: Node, code: Code, inputs: list[int], version: int = 1, **options: float
    ) -> None:
        """Add the operator that makes the value of the current node."""
        version = max(version, _version(code, self.scales[node.inputs[0]]))
        self.file.operator(code, inputs, self.output, version, **options)

    def node(self, node: Node, inputs: list[int]) -> None:
        """Translate one node."""
        shapes = self.graph.input_shapes(node)
        match node.op:
            case Conv2D() | DepthwiseConv2D() as op:
                self.convolve(node, op, inputs[0], shapes[0])
            case FullyConnected() as op:
                options: dict[str, float] = {"activation": FUSED_CODES[op.activation]}
                if op.keepdims:
                    options["keep_num_dims"] = True
                inputs += self.linear(node, shapes[0])
                version = 5 if op.keepdims else 1
                self.add(node, Code.FULLY_CONNECTED, inputs, version, **options)
            case TransposeConv2D() as op:
                self.transpose_convolve(node, op, inputs[0], shapes[0])
            case BatchMatmul(adj_x, adj_y, constant):
                if constant is not None:
                    values = self.weight(node, "constant", constant)
                    name, even = f"{node.name}/constant", node.op.symmetric
                    inputs.append(self.operand(node, values, name, symmetric=even))
                self.add(node, Code.BATCH_MATMUL, inputs, adj_x=adj_x, adj_y=adj_y)
            case Binary() as op:
                self.binary(node, op, inputs)
            case Concat(axis):
                self.add(node, Code.CONCATENATION, inputs, axis=axis % len(shapes[0]))
            case Pool() as op:
                self.pool(node, op, inputs[0], shapes[0])
            case Mean(keepdims):
                inputs.append(self.file.indices((1, 2), "axes"))
                self.add(node, Code.MEAN, inputs, keep_dims=keepdims)
            case Reshape(shape):
                inputs.append(self.file.indices(shape, "shape"))
                self.add(node, Code.RESHAPE, inputs, new_shape=self.file.ints(shape))
            case Pad(padding):
                self.pad(inputs[0], shapes[0], padding, self.scale, self.output)
            case Resize() as op:
                self.resize(node, op, inputs)
            case Softmax():
                self.add(node, Code.SOFTMAX, inputs, beta=1.0)
            case Gather(axis):
                indices = self.weight(node, "indices", node.op.weights(shapes)["indices"], "<i4")
                inputs.append(self.file.constant(indices, "indices", Type.INT32))
                self.add(node, Code.GATHER, inputs, axis=axis)
            case Prelu(alpha):
                values = self.weight(node, "alpha", alpha)
                inputs.append(self.operand(node, values, f"{node.name}/alpha"))
                self.add(node, Code.PRELU, inputs)
            case Select() as op:
                self.select(node, op, inputs, shapes[0])
            case Quantize():
                self.add(node, Code.QUANTIZE, inputs)
            case Dequantize():
                self.add(node, Code.DEQUANTIZE, inputs)
            case _:
                self.spelled(node, inputs)

    def spelled(self, node: Node, inputs: list[int]) -> None:
        """Add an operator that is no more than its spelling."""
        found = spelling(node.op)
        if found is None:
            raise GraphError(f"{node.op.name} has no form in a .tflite file")
        inputs += [self.file.indices(values, name) for name, values in found.operands.items()]
        self.add(node, found.code, inputs, found.version, **found.options)

    def resize(self, node: Node, op: Resize, inputs: list[int]) -> None:
        """Add a resizing."""
        inputs.append(self.file.indices(op.size, "size"))
        nearest = op.method == "nearest"
        self.add(
            node,
            Code.RESIZE_NEAREST_NEIGHBOR if nearest else Code.RESIZE_BILINEAR,
            inputs,
            3 if op.half_pixel_centers or (nearest and op.align_corners) else 1,
            align_corners=op.align_corners,
            half_pixel_centers=op.half_pixel_centers,
        )

    def write(self) -> bytes:
        """Translate the whole graph."""
        graph = self.graph
        values = [
            self.file.value(shape, f"x{i}", self.scales[i]) for i, shape in enumerate(graph.inputs)
        ]
        for node in graph.nodes:
            self.scale = self.scales[len(values)]
            if isinstance(node.op, Constant):
                stored = self.weight(node, "value", node.op.shape)
                values.append(self.file.array(stored, f"{node.name}/value"))
                continue
            self.output = self.file.value(graph.shapes[len(values)], node.name, self.scale)
            self.node(node, [values[value] for value in node.inputs])
            values.append(self.output)
        inputs = range(len(graph.inputs))
        return self.file.finish(
            [values[value] for value in inputs], [values[value] for value in graph.outputs]
        )


def _version(code: Code, scale: Scale | None) -> int:
    return 1 if scale is None else INT8_VERSIONS.get(code, 1)


def to_tflite(graph: Graph, seed: int = 0) -> bytes:
    """Return a network as the bytes of a .tflite file.

    Values of int8 get scales as `latlas.profiler.tflite.quantisation` chooses them: fit for timing,
    not for accuracy.

    Args:
        graph: the inference form of a network; its weights are written, or random ones if it has
            none.
        seed: of the random weights.

    Raises:
        GraphError: the graph is in the training form, a weight is missing or has another shape, a
            pooling's padding has no form in the format, scales of int8 values contradict each
            other, or the file would be too large.

    >>> from latlas.profiler.graph_builder import GraphBuilder
    >>> b = GraphBuilder((1, 8, 8, 3))
    >>> to_tflite(b.build(b.conv(b.input, 4, 3)))[4:8]
    b'TFL3'
    """
    require_folded(graph, "the .tflite writer")
    return _Writer(graph, seed).write()
