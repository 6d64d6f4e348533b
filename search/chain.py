"""Networks as chains of blocks, written as short strings.

``ir_k5_s2_e3_c40_r3_sei0.25`` is an inverted residual, kernel 5, stride 2, expansion 3, 40 filters,
repeated 3 times (stride 1 after the first), with squeeze-and-excitation of 0.25 of the block's
input (``ser`` is a ratio of the expanded channels, rounded to a multiple of 8). ``x64`` names the
expanded channels instead of their ratio. ``ds`` is a depthwise separable convolution and ``dsr``
one with a residual. A last word names another activation.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from latlas.profiler.errors import SearchError
from latlas.profiler.graph import Graph
from latlas.profiler.graph_builder import GraphBuilder
from latlas.search.blocks import classifier, conv_bn, mbconv, round_channels, separable

_ACTIVATIONS = {"re": "relu", "r6": "relu6", "hs": "hard_swish"}
_WORD = re.compile(r"(sei|ser|[kserxc])(\d+(?:\.\d+)?)")


@dataclass(frozen=True)
class Chain:
    """A network in short form.

    Attributes:
        stem: filters of the first 3x3 convolution, stride 2.
        blocks: block strings, separated by spaces.
        head: filters of the last 1x1 convolution, 0 for none.
        source: where it was published.
        act: activation unless a block names its own: ``re``, ``r6`` or ``hs``.
        stem_act, head_act: activations of the ends, by default `act`.
        features: filters of a second 1x1 convolution after the pooling (MobileNetV3), 0 for none;
            they grow with widths above 1.
        gate: the gate of squeeze-and-excitation.
        pointwise_act: whether ``ds`` blocks activate their pointwise convolution (MobileNetV1).
        head_width: whether `head` follows the width: never, always, or above 1 only.
        resolution: height and width of the input.
    """

    stem: int
    blocks: str
    head: int
    source: str
    act: str = "r6"
    stem_act: str = ""
    head_act: str = ""
    features: int = 0
    gate: str = "hard_sigmoid"
    pointwise_act: bool = False
    head_width: Literal["fixed", "scaled", "grows"] = "fixed"
    resolution: int = 224

    def build(self, resolution: int, classes: int, width: float = 1.0) -> Graph:
        """Return the network in the training form.

        Args:
            resolution: height and width of the input.
            classes: number of classes.
            width: factor of the numbers of channels, which are rounded to multiples of 8.

        Raises:
            SearchError: a block string cannot be read.
        """
        b = GraphBuilder((1, resolution, resolution, 3))
        stem_act = _ACTIVATIONS[self.stem_act or self.act]
        x = conv_bn(b, b.input, _scaled(self.stem, width), 3, stride=2, act=stem_act)
        channels = self.stem
        for text in self.blocks.split():
            block = _parse(text)
            x = self._append(b, x, block, channels, width)
            channels = block.filters
        head_act = _ACTIVATIONS[self.head_act or self.act]
        if self.head:
            follows = self.head_width == "scaled" or (self.head_width == "grows" and width > 1)
            x = conv_bn(b, x, _scaled(self.head, width if follows else 1.0), 1, act=head_act)
        x = b.mean(x)
        if self.features:
            x = b.activation(b.conv(x, _scaled(self.features, max(width, 1.0)), 1), head_act)
        return b.build(classifier(b, x, classes))

    def _append(self, b: GraphBuilder, x: int, block: _Block, nominal: int, width: float) -> int:
        """Append a block; `nominal` is its input's channels at width 1."""
        filters = _scaled(block.filters, width)
        for repeat in range(block.repeats):
            stride = block.stride if repeat == 0 else 1
            channels = b.shape(x)[3]
            if block.expanded:
                expanded = round_channels(channels * block.expanded / nominal)
            else:
                expanded = round(channels * block.expansion)
            if block.squeezed_of_input:
                squeezed = max(1, int(channels * block.squeezed_of_input))
            else:
                ratio = block.squeezed_of_expanded
                squeezed = round_channels(expanded * ratio) if ratio else 0
            act = _ACTIVATIONS[block.act or self.act]
            if block.kind == "ir":
                x = mbconv(
                    *(b, x, filters, block.kernel),
                    expanded=expanded,
                    stride=stride,
                    act=act,
                    se_channels=squeezed,
                    se_gate=self.gate,
                )
            else:
                x = separable(
                    *(b, x, filters, block.kernel),
                    stride=stride,
                    act=act,
                    pointwise_act=act if self.pointwise_act else "none",
                    residual=block.kind == "dsr",
                    se_channels=squeezed,
                    se_gate=self.gate,
                )
            nominal = block.filters
        return x


@dataclass(frozen=True)
class _Block:
    kind: str
    filters: int
    kernel: int
    stride: int
    repeats: int
    expansion: float
    expanded: int
    squeezed_of_input: float
    squeezed_of_expanded: float
    act: str


def _parse(text: str) -> _Block:
    kind, *words = text.split("_")
    if kind not in ("ds", "dsr", "ir"):
        raise SearchError(f"unknown block {kind!r} in {text!r}; known are ds, dsr and ir")
    given: dict[str, float] = {}
    act = ""
    for word in words:
        match = _WORD.fullmatch(word)
        if match:
            given[match[1]] = float(match[2])
        elif word in _ACTIVATIONS:
            act = word
        else:
            raise SearchError(f"cannot read {word!r} in the block {text!r}")
    for letter, what in (("c", "filters"), ("k", "kernel")):
        if letter not in given:
            raise SearchError(f"the block {text!r} has no {what}: a word like {letter}3")
    return _Block(
        kind,
        filters=int(given["c"]),
        kernel=int(given["k"]),
        stride=int(given.get("s", 1)),
        repeats=int(given.get("r", 1)),
        expansion=given.get("e", 1.0),
        expanded=int(given.get("x", 0)),
        squeezed_of_input=given.get("sei", 0.0),
        squeezed_of_expanded=given.get("ser", 0.0),
        act=act,
    )


def _scaled(channels: int, width: float) -> int:
    return channels if width == 1.0 else round_channels(channels * width)
