"""What a block space is defined by: blocks, what is fixed in them, and what is chosen.

`latlas.search.spaces.definition_file` reads it from TOML.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, cast

from latlas.search.spaces.layer import Layer


@dataclass(frozen=True, slots=True)
class Options:
    """All that a definition says about a block once every choice is made.

    `Layer` has the meaning of what is not said here.

    Attributes:
        operator: one of `Layer`'s; ``mbconv`` may have its expansion behind it.
        skip: by default the identity for ``mbconv`` and none for others.
        layers: equal layers one after the other; the first has the stride.
        scale: whether the space's width applies to the filters.
    """

    operator: str
    filters: int
    kernel: int = 3
    expansion: float | None = None
    se: float = 0.0
    skip: str | None = None
    layers: int = 1
    activation: str = "relu"
    stride: int = 1
    se_of: str = "gated"
    se_divisor: int = 1
    se_activation: str = "relu"
    gate: str = "hard_sigmoid"
    pointwise_activation: str = "none"
    scale: bool = True

    def layer(self, filters: int, stride: int) -> Layer:
        """Return one layer, of so many filters and this stride."""
        kind = "mbconv" if self.operator.startswith("mbconv") else self.operator
        suffix = self.operator.removeprefix("mbconv") if kind == "mbconv" else ""
        skip = self.skip or ("identity" if kind == "mbconv" else "none")
        return Layer(
            cast(Literal["conv", "separable", "mbconv", "identity"], kind),
            filters,
            self.kernel,
            stride,
            expansion=float(suffix or self.expansion or 1),
            se=self.se,
            se_of=cast(Literal["input", "gated"], self.se_of),
            se_divisor=self.se_divisor,
            act=self.activation,
            se_act=self.se_activation,
            gate=self.gate,
            pointwise_act=self.pointwise_activation,
            skip=cast(Literal["none", "identity", "pool"], skip),
        )


class Decision(NamedTuple):
    """What is chosen: values of a key, or for ``choices`` tables of several keys."""

    key: str
    values: tuple[Any, ...]

    def apply(self, options: Options, choice: int) -> Options:
        """Return options with a choice made."""
        value = self.values[choice]
        return replace(options, **(dict(value) if self.key == CHOICES else {self.key: value}))

    def decides(self, key: str) -> bool:
        """Return whether the value of a key depends on this choice."""
        if self.key == CHOICES:
            return any(key == name for table in self.values for name, _ in table)
        return self.key == key


CHOICES = "choices"
DECISIONS = (
    *(CHOICES, "operator", "kernel", "expansion", "se", "skip", "filters", "layers"),
    "activation",
)
"""What may be chosen, in the order of genes; in a joint gene the last one changes fastest."""


@dataclass(frozen=True, slots=True)
class Block:
    """A block of a space: fixed where nothing is decided.

    Attributes:
        options: what is fixed.
        decisions: what is chosen.
        joint: whether one gene chooses all of it.
    """

    options: Options
    decisions: tuple[Decision, ...]
    joint: bool

    @property
    def counts(self) -> tuple[int, ...]:
        """Number of choices of its genes."""
        counts = tuple([len(decision.values) for decision in self.decisions])
        return (math.prod(counts),) if self.joint and counts else counts

    def picks(self, values: Sequence[int]) -> list[int]:
        """Return the choice of every decision, given the values of its genes."""
        if not self.joint:
            return list(values)
        picks = []
        rest = values[0] if values else 0
        for decision in reversed(self.decisions):
            rest, pick = divmod(rest, len(decision.values))
            picks.append(pick)
        return picks[::-1]

    def values(self, picks: Sequence[int]) -> tuple[int, ...]:
        """Return the values of its genes, given the choice of every decision."""
        if not self.joint or not picks:
            return tuple(picks)
        value = 0
        for decision, pick in zip(self.decisions, picks, strict=True):
            value = value * len(decision.values) + pick
        return (value,)

    def chosen(self, values: Sequence[int]) -> Options:
        """Return what the values of its genes make of it."""
        options = self.options
        for decision, pick in zip(self.decisions, self.picks(values), strict=True):
            options = decision.apply(options, pick)
        return options

    @property
    def depth(self) -> int:
        """Most layers that it may have; 0 where it does nothing, whatever is chosen."""
        chosen = {decision.key: decision.values for decision in self.decisions}
        found = [0]
        for options in self.alternatives:
            if set(chosen.get("operator", (options.operator,))) != {"identity"}:
                found += chosen.get("layers", (options.layers,))
        return max(found)

    @property
    def alternatives(self) -> list[Options]:
        """The block with every one of its ``choices``, nothing else being chosen."""
        for decision in self.decisions:
            if decision.key == CHOICES:
                picks = range(len(decision.values))
                return [decision.apply(self.options, pick) for pick in picks]
        return [self.options]

    @property
    def filters_gene(self) -> int | None:
        """Which of its genes decides how many channels it writes; None where none does."""
        for position, decision in enumerate(self.decisions):
            if decision.decides("filters"):
                return 0 if self.joint else position
        return None

    def filters_of(self, value: int | None) -> tuple[int, bool]:
        """Return the filters that `filters_gene` chooses, and whether the width applies to them."""
        gene, options = self.filters_gene, self.options
        if value is not None and gene is not None:
            if self.joint:
                options = self.chosen((value,))
            else:
                options = self.decisions[gene].apply(options, value)
        return options.filters, options.scale

    def all_filters(self) -> set[tuple[int, bool]]:
        """Return all that it may write."""
        found = [self.options]
        for decision in self.decisions:
            if decision.decides("filters"):
                found = [decision.apply(self.options, pick) for pick in range(len(decision.values))]
        return {(options.filters, options.scale) for options in found}


@dataclass(frozen=True, slots=True)
class Tail:
    """What stands behind the blocks: global average pooling and the classifier.

    Attributes:
        features: filters of a 1x1 convolution without batch norm between the two; 0 for none.
        bias: whether that has a bias.
        activation: behind it.
        scale: whether the space's width applies to its filters.
        dropout: rate of the dropout before the classifier.
    """

    features: int = 0
    bias: bool = True
    activation: str = "hard_swish"
    scale: bool = False
    dropout: float = 0.2


@dataclass(frozen=True, slots=True)
class Definition:
    """A block space, at any resolution, width and number of classes.

    Attributes:
        name: what it is called.
        blocks: from the first on; those that repeat are written out.
        tail: what stands behind them.
        text: the file's content as JSON with sorted keys, without notes.
    """

    name: str
    blocks: tuple[Block, ...]
    tail: Tail
    text: str

    @property
    def document(self) -> dict[str, Any]:
        """The file's content, without notes."""
        found: dict[str, Any] = json.loads(self.text)
        return found
