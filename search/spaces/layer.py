"""A layer of a block space in words: convolution, separable convolution, inverted bottleneck."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from latlas.profiler.graph_builder import GraphBuilder
from latlas.search.blocks import conv_bn, depthwise_bn, round_channels, squeeze_excite


@dataclass(frozen=True, slots=True)
class Layer:
    """What a layer is made of; what it reads says the rest.

    Attributes:
        operator: convolution, depthwise separable convolution (Howard et al. 2017), inverted
            bottleneck (Sandler et al. 2018), or nothing at all.
        filters: channels that it writes.
        kernel: height and width of the spatial convolution.
        stride: of that convolution.
        expansion: of an inverted bottleneck: its inner channels over those that it reads.
        se: squeeze-and-excitation (Hu et al. 2018): squeezed channels over those that `se_of`
            names; 0 for none. It stands behind the spatial convolution.
        se_of: the layer's input, or the channels that are gated.
        se_divisor: squeezed channels are rounded to its multiples as MobileNet does; 1 cuts off
            what is behind the point.
        act: activation; none behind the last convolution of separable ones and bottlenecks.
        se_act: activation between the two convolutions of squeeze-and-excitation.
        gate: activation behind them.
        pointwise_act: activation behind a separable convolution's pointwise one.
        skip: what is added to the result: the input, or the input after a 3x3 average pooling of
            the layer's stride. It is there only where it fits: the identity at stride 1, both
            where channels stay.
    """

    operator: Literal["conv", "separable", "mbconv", "identity"]
    filters: int
    kernel: int = 3
    stride: int = 1
    expansion: float = 1
    se: float = 0.0
    se_of: Literal["input", "gated"] = "gated"
    se_divisor: int = 1
    act: str = "relu"
    se_act: str = "relu"
    gate: str = "hard_sigmoid"
    pointwise_act: str = "none"
    skip: Literal["none", "identity", "pool"] = "none"


def append_layer(b: GraphBuilder, x: int, layer: Layer) -> int:
    """Append a layer, with batch norm after every convolution."""
    if layer.operator == "identity":
        return x
    if layer.operator == "conv":
        y = conv_bn(b, x, layer.filters, layer.kernel, stride=layer.stride, act=layer.act)
        y = _excited(b, x, y, layer)
    else:
        y = x
        if layer.operator == "mbconv":
            y = conv_bn(b, x, round(b.shape(x)[3] * layer.expansion), 1, act=layer.act)
        y = depthwise_bn(b, y, layer.kernel, stride=layer.stride, act=layer.act)
        y = _excited(b, x, y, layer)
        last = layer.pointwise_act if layer.operator == "separable" else "none"
        y = conv_bn(b, y, layer.filters, 1, act=last)
    if layer.skip == "none" or b.shape(x)[3] != layer.filters:
        return y
    if layer.skip == "pool":
        return b.add(b.average_pool(x, 3, stride=layer.stride), y)
    return b.add(x, y) if layer.stride == 1 else y


def _excited(b: GraphBuilder, x: int, y: int, layer: Layer) -> int:
    if not layer.se:
        return y
    squeezed = squeezed_channels(layer, b.shape(x)[3], b.shape(y)[3])
    return squeeze_excite(b, y, squeezed, act=layer.se_act, gate=layer.gate)


def squeezed_channels(layer: Layer, inputs: int, gated: int) -> int:
    """Return the channels of a layer's squeeze-and-excitation.

    Args:
        layer: which has one.
        inputs: channels that the layer reads.
        gated: channels that are gated.
    """
    wanted = (inputs if layer.se_of == "input" else gated) * layer.se
    rounded = round_channels(wanted, layer.se_divisor) if layer.se_divisor > 1 else int(wanted)
    return max(1, rounded)
