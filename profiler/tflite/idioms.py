"""Recognise what a converter spells out: hard-sigmoid and hard-swish as arithmetic.

``relu6(x + 3) / 6`` reaches a file as ADD, (fused) RELU6 and MUL 0.16666, and where x comes from a
convolution or a fully connected layer the 3 is already in its bias.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from latlas.profiler.graph import Array
from latlas.profiler.ops import (
    Activation,
    Binary,
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    Op,
    Shape,
)

_Kind = Literal["hard_sigmoid", "hard_swish"]


@dataclass
class Step:
    """A node under construction.

    Attributes:
        op: its operator.
        inputs: the values that it reads.
        arrays: its weights by name.
        shape: of its result.
    """

    op: Op
    inputs: tuple[int, ...]
    arrays: dict[str, Array]
    shape: Shape


def _is_scalar(op: Op, kind: str, value: float) -> bool:
    """Tell whether an operator adds or multiplies with about this number."""
    return (
        isinstance(op, Binary)
        and op.kind == kind
        and op.value is not None
        and abs(op.value - value) < 1e-6 * value
    )


class _Recogniser:
    """Rewrites steps in place; a step that is no longer needed becomes None.

    The last step of an idiom stays where it is, so that no value changes its number, nor its shape.
    """

    def __init__(self, first: int, steps: list[Step], outputs: list[int]) -> None:
        self.first = first
        self.steps: list[Step | None] = list(steps)
        self.uses = [0] * (first + len(steps))
        for step in steps:
            for value in step.inputs:
                self.uses[value] += 1
        for value in outputs:
            self.uses[value] += 1

    def producer(self, value: int) -> Step | None:
        """Return the step behind a value, if nothing else reads that value."""
        if value < self.first or self.uses[value] != 1:
            return None
        return self.steps[value - self.first]

    def clipped_shift(self, value: int) -> tuple[int, list[int]] | None:
        """Match relu6(x + 3); return x and the values in between."""
        step = self.producer(value)
        if step is None:
            return None
        if _is_scalar(step.op, "add", 3.0) and getattr(step.op, "activation", "") == "relu6":
            return step.inputs[0], [value]
        if step.op == Activation("relu6"):
            below = self.producer(step.inputs[0])
            if below is not None and below.op == Binary("add", value=3.0):
                return below.inputs[0], [value, step.inputs[0]]
        return None

    def become(self, step: Step, kind: _Kind, source: int, between: list[int]) -> None:
        """Let a step compute an activation of `source`, and drop what computed it so far."""
        step.op = Activation(kind)
        for value in step.inputs:
            self.uses[value] -= 1
        step.inputs = (source,)
        self.uses[source] += 1
        for value in between:
            dropped = self.steps[value - self.first]
            assert dropped is not None
            for read in dropped.inputs:
                self.uses[read] -= 1
            self.steps[value - self.first] = None

    def sixth(self, step: Step) -> None:
        """Match a multiplication by 1/6: of relu6(x + 3), or of x * relu6(x + 3)."""
        found = self.clipped_shift(step.inputs[0])
        if found is not None:
            self.become(step, "hard_sigmoid", *found)
            return
        below = self.producer(step.inputs[0])
        if below is None:
            return
        if isinstance(below.op, Conv2D | DepthwiseConv2D | FullyConnected):
            if below.op.activation == "relu6" and below.op.bias:
                below.op = replace(below.op, activation="none")
                below.arrays["bias"] = below.arrays["bias"] - np.float32(3)
                step.op = Activation("hard_sigmoid")
        elif below.op == Binary("mul"):
            for x, gate in (below.inputs, below.inputs[::-1]):
                found = self.clipped_shift(gate)
                if found is not None and found[0] == x:
                    self.become(step, "hard_swish", x, [step.inputs[0], *found[1]])
                    return

    def product(self, step: Step) -> None:
        """Match x * hard_sigmoid(x)."""
        for x, gate in (step.inputs, step.inputs[::-1]):
            below = self.producer(gate)
            if (
                below is not None
                and below.op == Activation("hard_sigmoid")
                and below.inputs == (x,)
            ):
                self.become(step, "hard_swish", x, [gate])
                return

    def run(self) -> list[Step | None]:
        for step in self.steps:
            if step is None or not isinstance(step.op, Binary):
                continue
            if _is_scalar(step.op, "mul", 1 / 6) and step.op.activation == "none":
                self.sixth(step)
            elif step.op == Binary("mul"):
                self.product(step)
        return self.steps


def recognise(first: int, steps: list[Step], outputs: list[int]) -> tuple[list[Step], list[int]]:
    """Return the steps and outputs of a network with its idioms recognised.

    Args:
        first: number of the network's inputs, which is the number of the first step's value.
        steps: the nodes in order.
        outputs: the values that the network returns.
    """
    numbers = list(range(first))
    kept: list[Step] = []
    for step in _Recogniser(first, steps, outputs).run():
        numbers.append(first + len(kept))  # never read where the step is gone
        if step is not None:
            step.inputs = tuple([numbers[value] for value in step.inputs])
            kept.append(step)
    return kept, [numbers[value] for value in outputs]
