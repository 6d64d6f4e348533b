"""What a space tells of its networks so that one supernet can hold them all.

A supernet is a chain of slots. In each, the genes of a block choose one layer, or none. Layers that
share weights say so by naming the same bank and row; a bank is as large as its largest layer, and a
smaller one takes the middle of its kernels and the first of its channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from latlas.profiler.errors import SearchError
from latlas.profiler.graph import Graph
from latlas.search.spaces.layer import Layer, squeezed_channels

OPERATORS = ("conv", "separable", "mbconv")
ACTS = ("none", "relu", "relu6", "hard_swish")
GATES = ("hard_sigmoid", "logistic")
SKIPS = ("none", "identity", "pool")


@dataclass(frozen=True, slots=True)
class SharedLayer:
    """One layer of a network: batch norm after every convolution, the last one without activation.

    Attributes:
        operator: of `OPERATORS`. ``mbconv`` is expansion (1x1), depthwise and projection (1x1),
            ``separable`` the same without expansion, ``conv`` one full convolution with an
            activation.
        inputs: channels that it reads.
        expanded: channels that squeeze-and-excitation rescales: those of the depthwise convolution,
            or of the full one.
        filters: channels that it writes.
        kernel: height and width of the depthwise or full convolution.
        stride: of the same.
        act: activation after every convolution but the projection.
        squeezed: channels of squeeze-and-excitation; 0 is none.
        se_act: activation of the squeezed channels.
        se_gate: what makes factors of the excited channels.
        skip: what is added to the output: the input, its 3x3 average pooling, or nothing.
        bank: whose weights it takes. All layers of a bank have operator, stride and activations in
            common.
        row: which set of the bank's weights. Rows start from the same numbers.
    """

    operator: str
    inputs: int
    expanded: int
    filters: int
    kernel: int
    stride: int
    act: str
    squeezed: int = 0
    se_act: str = "relu"
    se_gate: str = "hard_sigmoid"
    skip: str = "none"
    bank: str = "mbconv"
    row: int = 0

    def __post_init__(self) -> None:
        """Refuse what no supernet can hold."""
        for value, known in (
            (self.operator, OPERATORS),
            (self.act, ACTS),
            (self.se_act, ACTS),
            (self.se_gate, GATES),
            (self.skip, SKIPS),
        ):
            if value not in known:
                raise SearchError(f"a layer of a supernet is one of {known}, not {value!r}")
        if self.kernel % 2 == 0 or self.stride not in (1, 2):
            raise SearchError(
                f"a supernet has odd kernels and strides 1 and 2, not kernel {self.kernel} and "
                f"stride {self.stride}"
            )


def shared(layer: Layer, inputs: int, *, bank: str, row: int = 0) -> SharedLayer:
    """Return a layer of a block space in a supernet's words.

    Args:
        layer: what it is made of.
        inputs: channels that it reads.
        bank: whose weights it takes.
        row: which of them.

    Raises:
        SearchError: a supernet has no such layers.
    """
    if layer.operator == "identity" or layer.pointwise_act != "none":
        raise SearchError(
            "a supernet has no layers that do nothing, and no activation behind a separable "
            f"convolution: {layer}"
        )
    expanded = {"conv": layer.filters, "separable": inputs}.get(
        layer.operator, round(inputs * layer.expansion)
    )
    fits = inputs == layer.filters and (layer.stride == 1 or layer.skip == "pool")
    return SharedLayer(
        layer.operator,
        inputs,
        expanded,
        layer.filters,
        layer.kernel,
        layer.stride,
        layer.act,
        squeezed_channels(layer, inputs, expanded) if layer.se else 0,
        layer.se_act,
        layer.gate,
        layer.skip if fits else "none",
        bank,
        row,
    )


@dataclass(frozen=True)
class Skeleton:
    """What all networks of a space have: a 3x3 convolution of stride 2 before the layers, a tail.

    The tail is a 1x1 convolution with batch norm, the mean over the map, where `features` is not 0
    another 1x1 convolution without batch norm, and a fully connected layer.

    Attributes:
        stem: channels of the first convolution.
        stem_act: its activation.
        last: channels of the tail's convolution.
        last_act: activation of the tail's convolutions.
        features: channels of the convolution after the mean; 0 is none.
        features_bias: whether that has a bias.
    """

    stem: int
    stem_act: str
    last: int
    last_act: str
    features: int = 0
    features_bias: bool = False

    def __post_init__(self) -> None:
        """Refuse what no supernet can hold."""
        for act in (self.stem_act, self.last_act):
            if act not in ACTS:
                raise SearchError(f"stem and tail of a supernet have one of {ACTS}, not {act!r}")


@runtime_checkable
class SupernetSpace(Protocol):
    """A space whose networks a supernet can train together.

    Beside the protocol's three methods it has what every block space has.
    """

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def resolution(self) -> int:
        """Height and width of the input."""
        ...

    @property
    def channels(self) -> int:
        """Channels of the input."""
        ...

    @property
    def classes(self) -> int:
        """Number of classes."""
        ...

    @property
    def choices(self) -> tuple[int, ...]:
        """Number of choices of every gene."""
        ...

    @property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """For every block, from stem to tail, the positions of the genes that decide it."""
        ...

    def decode(self, genes: Sequence[int]) -> Graph:
        """Return the network of a chromosome."""
        ...

    def supernet_skeleton(self) -> Skeleton:
        """Return what all its networks have."""
        ...

    def supernet_layers(self, index: int, values: Sequence[int]) -> tuple[SharedLayer | None, ...]:
        """Return the layers of a block that follow the stem's convolution and precede the tail.

        Args:
            index: of the block, as in `groups`.
            values: of the genes that decide it, in the order of its group.

        Returns:
            One entry for each slot of the block, as many for all values; None is a layer that a
            shallower block does not have.
        """
        ...


def require_supernet_space(space: Any) -> SupernetSpace:
    """Return a space that a supernet can hold.

    Raises:
        SearchError: it does not describe its layers, as cells do not.
    """
    if isinstance(space, SupernetSpace):
        return space
    name = getattr(space, "name", type(space).__name__)
    raise SearchError(
        f"the space {name} has no supernet: its networks are no chains of layers that could share "
        "weights; score it with a training of its own for each architecture (--accuracy train)"
    )
