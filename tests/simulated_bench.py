"""A bench on a delegate that exists only as fusion rules and a formula for times."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from latlas.profiler.graph import Graph, Node
from latlas.profiler.kernel import FusionRules, op_type
from latlas.profiler.target import Target

TARGET = Target("simulated", "none 1.0", "gpu", "simulated")


class SimulatedBench:
    """Times graphs by a formula.

    Args:
        rules: what the delegate really does.
        noise: relative standard deviation of a round.
        kept: share of its time that an operator keeps when it is merged.
        cache: share of the time for reading a value that is saved where it was just written.
        refused: types that cannot be run.
        level: by how much more everything takes in half of the rounds, where somebody else's
            work comes and goes.
    """

    target = TARGET

    def __init__(
        self,
        rules: FusionRules,
        *,
        noise: float = 0.0,
        kept: float = 0.05,
        cache: float = 0.0,
        refused: str = "",
        level: float = 0.0,
        seed: int = 0,
    ) -> None:
        self.rules = rules
        self.noise = noise
        self.kept = kept
        self.cache = cache
        self.refused = refused
        self.level = level
        self.rng = random.Random(seed)
        self.found: dict[str, list[float]] = {}
        self.asked: list[tuple[int, int]] = []

    def measure(self, graphs: Sequence[Graph], rounds: int) -> None:
        """Time every graph so many times more."""
        self.asked.append((len(graphs), rounds))
        for graph in graphs:
            if self.problem(graph):
                continue
            exact = self.exact_us(graph)
            times = [exact * self.disturbance() for _ in range(rounds)]
            self.found.setdefault(graph.to_text(), []).extend(times)

    def disturbance(self) -> float:
        """Return by what factor a round is off."""
        level = self.level if self.level and self.rng.random() < 0.5 else 0.0
        return math.exp(self.rng.gauss(0, self.noise)) * (1 + level)

    def times_us(self, graph: Graph) -> Sequence[float]:
        """Return what was measured."""
        return self.found.get(graph.to_text(), ())

    def problem(self, graph: Graph) -> str:
        """Return a complaint about graphs with an operator that is refused."""
        kinds = [op_type(node.op) for node in graph.nodes]
        return f"{self.refused} is not supported" if self.refused in kinds else ""

    def exact_us(self, graph: Graph) -> float:
        """Return the time without noise."""
        total = 50.0 + 1e-4 * sum(map(math.prod, graph.inputs))
        for group in self.rules.groups(graph):
            for place, position in enumerate(group):
                node = graph.nodes[position]
                whole_us = self.operator_us(graph, node)
                total += self.kept * whole_us if place else whole_us - self.saved_us(graph, node)
        return total

    def saved_us(self, graph: Graph, node: Node) -> float:
        """Return what a node saves that finds its inputs in the cache; a corner is too small."""
        if op_type(node.op) == "slice":
            return 0.0
        written = [graph.shapes[value] for value in node.inputs if value >= len(graph.inputs)]
        return self.cache * 1e-3 * sum(map(math.prod, written))

    def operator_us(self, graph: Graph, node: Node) -> float:
        """Return what one operator takes alone."""
        shapes = graph.input_shapes(node)
        if op_type(node.op) == "slice":
            return 1.0 + 1e-3 * math.prod(node.op.infer(shapes))
        moved = sum(map(math.prod, shapes)) + math.prod(node.op.infer(shapes))
        return 2.0 + 1e-3 * moved + 1e-5 * node.op.madds(shapes)
