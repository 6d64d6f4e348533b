"""Building blocks of mobile networks, in the training form (batch norm after every convolution)."""

from __future__ import annotations

from latlas.profiler.graph_builder import GraphBuilder


def round_channels(channels: float, divisor: int = 8) -> int:
    """Round to a multiple of `divisor`, never below 90% of the request (MobileNet's rule).

    >>> round_channels(16 * 0.75), round_channels(36)
    (16, 40)
    """
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


def conv_bn(
    b: GraphBuilder, x: int, filters: int, kernel: int, *, stride: int = 1, act: str = "none"
) -> int:
    """Append convolution, batch norm and activation."""
    x = b.conv(x, filters, kernel, stride=stride, bias=False)
    return b.activation(b.batch_norm(x), act)


def depthwise_bn(b: GraphBuilder, x: int, kernel: int, *, stride: int = 1, act: str) -> int:
    """Append depthwise convolution, batch norm and activation."""
    x = b.depthwise(x, kernel, stride=stride, bias=False)
    return b.activation(b.batch_norm(x), act)


def separable(
    b: GraphBuilder,
    x: int,
    filters: int,
    kernel: int,
    *,
    stride: int = 1,
    act: str,
    pointwise_act: str = "none",
    residual: bool = False,
    se_channels: int = 0,
    se_gate: str = "hard_sigmoid",
) -> int:
    """Append a depthwise separable convolution (Howard et al. 2017)."""
    y = depthwise_bn(b, x, kernel, stride=stride, act=act)
    if se_channels:
        y = squeeze_excite(b, y, se_channels, act="relu", gate=se_gate)
    y = conv_bn(b, y, filters, 1, act=pointwise_act)
    return b.add(x, y) if residual else y


def squeeze_excite(b: GraphBuilder, x: int, squeezed: int, *, act: str, gate: str) -> int:
    """Append squeeze-and-excitation (Hu et al. 2018); its convolutions have biases."""
    channels = b.shape(x)[3]
    y = b.activation(b.conv(b.mean(x), squeezed, 1), act)
    return b.mul(x, b.activation(b.conv(y, channels, 1), gate))


def mbconv(
    b: GraphBuilder,
    x: int,
    filters: int,
    kernel: int,
    *,
    expanded: int,
    stride: int = 1,
    act: str = "relu6",
    se_channels: int = 0,
    se_act: str = "relu",
    se_gate: str = "hard_sigmoid",
    drop_path: float = 0.0,
) -> int:
    """Append an inverted bottleneck (Sandler et al. 2018).

    The residual is there when the stride is 1 and the number of channels does not change.
    """
    y = conv_bn(b, x, expanded, 1, act=act)
    y = depthwise_bn(b, y, kernel, stride=stride, act=act)
    if se_channels:
        y = squeeze_excite(b, y, se_channels, act=se_act, gate=se_gate)
    y = conv_bn(b, y, filters, 1)
    if stride == 1 and b.shape(x)[3] == filters:
        return b.add(x, y, drop_path=drop_path)
    return y


def classifier(b: GraphBuilder, x: int, classes: int, *, dropout: float = 0.2) -> int:
    """Append dropout and the last layer to features of any rank."""
    return b.fully_connected(x, classes, dropout=dropout)
