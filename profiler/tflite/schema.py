"""The part of the .tflite schema that latlas uses: numbers of operators, types and table fields.

The schema is fixed for good: flatbuffer files only ever gain fields. The generated module of the
runtime holds all of it, takes a third of a second to import and is slow to read with, so that the
few numbers needed stand here. Source: tensorflow/compiler/mlir/lite/schema/schema.fbs.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from typing import Literal

IDENTIFIER = b"TFL3"
"""Bytes 4 to 8 of every .tflite file."""

VERSION = 3
"""Version of the schema; `IDENTIFIER` says the same."""


class Code(IntEnum):
    """Numbers of the builtin operators that latlas reads or writes."""

    ADD = 0
    AVERAGE_POOL_2D = 1
    CONCATENATION = 2
    CONV_2D = 3
    DEPTHWISE_CONV_2D = 4
    DEPTH_TO_SPACE = 5
    DEQUANTIZE = 6
    FLOOR = 8
    FULLY_CONNECTED = 9
    LOGISTIC = 14
    MAX_POOL_2D = 17
    MUL = 18
    RELU = 19
    RELU6 = 21
    RESHAPE = 22
    RESIZE_BILINEAR = 23
    SOFTMAX = 25
    SPACE_TO_DEPTH = 26
    TANH = 28
    PAD = 34
    GATHER = 36
    TRANSPOSE = 39
    MEAN = 40
    SUB = 41
    DIV = 42
    SQUEEZE = 43
    STRIDED_SLICE = 45
    EXP = 47
    SPLIT = 49
    CAST = 53
    PRELU = 54
    MAXIMUM = 55
    MINIMUM = 57
    NEG = 59
    SELECT = 64
    SLICE = 65
    SIN = 66
    TRANSPOSE_CONV = 67
    TILE = 69
    EXPAND_DIMS = 70
    EQUAL = 71
    LOG = 73
    SUM = 74
    SQRT = 75
    RSQRT = 76
    SHAPE = 77
    POW = 78
    REDUCE_PROD = 81
    REDUCE_MAX = 82
    PACK = 83
    UNPACK = 88
    REDUCE_MIN = 89
    SQUARE = 92
    RESIZE_NEAREST_NEIGHBOR = 97
    LEAKY_RELU = 98
    SQUARED_DIFFERENCE = 99
    ABS = 101
    SPLIT_V = 102
    COS = 108
    ELU = 111
    QUANTIZE = 114
    HARD_SWISH = 117
    SELECT_V2 = 123
    BATCH_MATMUL = 126
    BROADCAST_TO = 130
    BROADCAST_ARGS = 145
    GELU = 150


CUSTOM = 32
"""The operator code of every operator that is not builtin."""


class Type(IntEnum):
    """Element types of tensors that latlas reads or writes."""

    FLOAT32 = 0
    FLOAT16 = 1
    INT32 = 2
    INT64 = 4
    BOOL = 6
    INT8 = 9


INT8_VERSIONS = {
    Code.ADD: 2,
    Code.AVERAGE_POOL_2D: 2,
    Code.CONCATENATION: 2,
    Code.CONV_2D: 3,
    Code.DEPTHWISE_CONV_2D: 3,
    Code.DEQUANTIZE: 2,
    Code.FULLY_CONNECTED: 4,
    Code.LOGISTIC: 2,
    Code.MAX_POOL_2D: 2,
    Code.MEAN: 2,
    Code.MUL: 2,
    Code.PAD: 2,
    Code.RELU: 2,
    Code.RELU6: 2,
    Code.RESIZE_BILINEAR: 2,
    Code.RESIZE_NEAREST_NEIGHBOR: 2,
    Code.SLICE: 2,
    Code.SOFTMAX: 2,
    Code.SUB: 2,
    Code.TANH: 2,
}
"""Versions of operators that take int8, where that is not the first."""

SAME, VALID = 0, 1
"""The two values of enum Padding."""

FUSED_CODES = {"none": 0, "relu": 1, "relu6": 3}
"""The values of enum ActivationFunctionType that every delegate knows."""

FieldKind = Literal["int8", "int32", "bool", "float32", "ints"]


@dataclass(frozen=True, slots=True)
class Options:
    """Layout of one operator's table of options.

    Attributes:
        number: value of the union BuiltinOptions that announces the table.
        fields: slot, kind and default of every field, by name.
    """

    number: int
    fields: dict[str, tuple[int, FieldKind, float]]


def _options(number: int, *fields: tuple[int, str, FieldKind, float]) -> Options:
    return Options(number, {name: (slot, kind, default) for slot, name, kind, default in fields})


def _fused(number: int, slot: int = 0) -> Options:
    return _options(number, (slot, "activation", "int8", 0))


_POOL = _options(
    5,
    (0, "padding", "int8", 0),
    (1, "stride_w", "int32", 0),
    (2, "stride_h", "int32", 0),
    (3, "filter_w", "int32", 0),
    (4, "filter_h", "int32", 0),
    (5, "activation", "int8", 0),
)
_REDUCER = _options(27, (0, "keep_dims", "bool", 0))

OPTIONS: dict[Code, Options] = {
    Code.CONV_2D: _options(
        1,
        (0, "padding", "int8", 0),
        (1, "stride_w", "int32", 0),
        (2, "stride_h", "int32", 0),
        (3, "activation", "int8", 0),
        (4, "dilation_w", "int32", 1),
        (5, "dilation_h", "int32", 1),
    ),
    Code.DEPTHWISE_CONV_2D: _options(
        2,
        (0, "padding", "int8", 0),
        (1, "stride_w", "int32", 0),
        (2, "stride_h", "int32", 0),
        (3, "multiplier", "int32", 0),
        (4, "activation", "int8", 0),
        (5, "dilation_w", "int32", 1),
        (6, "dilation_h", "int32", 1),
    ),
    Code.FULLY_CONNECTED: _options(
        8,
        (0, "activation", "int8", 0),
        (1, "weights_format", "int8", 0),
        (2, "keep_num_dims", "bool", 0),
    ),
    Code.AVERAGE_POOL_2D: _POOL,
    Code.MAX_POOL_2D: _POOL,
    Code.ADD: _fused(11),
    Code.SUB: _fused(28),
    Code.MUL: _fused(21),
    Code.CONCATENATION: _options(10, (0, "axis", "int32", 0), (1, "activation", "int8", 0)),
    Code.SOFTMAX: _options(9, (0, "beta", "float32", 0.0)),
    Code.RESIZE_BILINEAR: _options(
        15, (2, "align_corners", "bool", 0), (3, "half_pixel_centers", "bool", 0)
    ),
    Code.RESIZE_NEAREST_NEIGHBOR: _options(
        74, (0, "align_corners", "bool", 0), (1, "half_pixel_centers", "bool", 0)
    ),
    Code.MEAN: _REDUCER,
    Code.SUM: _REDUCER,
    Code.REDUCE_MAX: _REDUCER,
    Code.REDUCE_MIN: _REDUCER,
    Code.REDUCE_PROD: _REDUCER,
    Code.RESHAPE: _options(17, (0, "new_shape", "ints", 0)),
    Code.PAD: _options(22),
    Code.SLICE: _options(48),
    Code.HARD_SWISH: _options(91),
    Code.STRIDED_SLICE: _options(
        32,
        (0, "begin_mask", "int32", 0),
        (1, "end_mask", "int32", 0),
        (2, "ellipsis_mask", "int32", 0),
        (3, "new_axis_mask", "int32", 0),
        (4, "shrink_axis_mask", "int32", 0),
        (5, "offset", "bool", 0),
    ),
    Code.PACK: _options(59, (0, "count", "int32", 0), (1, "axis", "int32", 0)),
    Code.GATHER: _options(23, (0, "axis", "int32", 0), (1, "batch_dims", "int32", 0)),
    Code.DIV: _fused(29),
    Code.MAXIMUM: _options(39),
    Code.MINIMUM: _options(39),
    Code.POW: _options(56),
    Code.SQUARED_DIFFERENCE: _options(76),
    Code.ABS: _options(78),
    Code.COS: _options(84),
    Code.EXP: _options(33),
    Code.NEG: _options(42),
    Code.SQUARE: _options(66),
    Code.GELU: _options(116, (0, "approximate", "bool", 0)),
    Code.LEAKY_RELU: _options(75, (0, "alpha", "float32", 0.0)),
    Code.BATCH_MATMUL: _options(101, (0, "adj_x", "bool", 0), (1, "adj_y", "bool", 0)),
    Code.TRANSPOSE: _options(26),
    Code.TRANSPOSE_CONV: _options(
        49,
        (0, "padding", "int8", 0),
        (1, "stride_w", "int32", 0),
        (2, "stride_h", "int32", 0),
        (3, "activation", "int8", 0),
    ),
    Code.EXPAND_DIMS: _options(52),
    Code.SQUEEZE: _options(30, (0, "axes", "ints", 0)),
    Code.SPLIT: _options(35, (0, "count", "int32", 0)),
    Code.SPLIT_V: _options(79, (0, "count", "int32", 0)),
    Code.UNPACK: _options(64, (0, "count", "int32", 0), (1, "axis", "int32", 0)),
    Code.TILE: _options(51),
    Code.BROADCAST_TO: _options(104),
    Code.DEPTH_TO_SPACE: _options(94, (0, "block_size", "int32", 0)),
    Code.SPACE_TO_DEPTH: _options(19, (0, "block_size", "int32", 0)),
    Code.EQUAL: _options(53),
    Code.SELECT: _options(47),
    Code.SELECT_V2: _options(98),
}
"""Options of every operator that has some."""


@cache
def _generated_names(enum: str) -> dict[int, str]:
    from ai_edge_litert import schema_py_generated  # slow, and only needed to word an error

    values = vars(getattr(schema_py_generated, enum))
    return {value: name for name, value in values.items() if isinstance(value, int)}


def code_name(number: int) -> str:
    """Return the name of any builtin operator.

    >>> code_name(67)
    'TRANSPOSE_CONV'
    """
    return _generated_names("BuiltinOperator").get(number, f"operator {number}")


def type_name(number: int) -> str:
    """Return the name of any element type.

    >>> type_name(9)
    'INT8'
    """
    return _generated_names("TensorType").get(number, f"type {number}")
