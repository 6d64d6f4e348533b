"""A table of blocks: every choice of every layer of a space measured as one unit.

It is the form in which FBNet (Wu et al. 2019), ProxylessNAS (Cai et al. 2019) and MoGA (Chu et al.
2020) look latencies up. A block knows what its kernels do to each other; it says nothing about
other spaces, and there are more blocks than kernels.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from latlas.predictor.calibration import PLAIN_SUM, Calibration, fit_calibration
from latlas.predictor.genes import BlockSpace, GeneLatency
from latlas.predictor.latencies import FLOOR
from latlas.predictor.observations import at_usual_speed, fixed_cost_us, whole_us
from latlas.profiler.errors import GraphError, PredictorError, UnknownKernelError
from latlas.profiler.fold import fold
from latlas.profiler.graph import Graph
from latlas.profiler.ops import Op, Shape
from latlas.profiler.table import Table
from latlas.profiler.target import Target

_Signature = tuple[Shape, tuple[tuple[Op, tuple[int, ...]], ...]]
"""A block: the shape that it reads, and its nodes, whose inputs are counted from that value."""


def count_blocks(space: BlockSpace) -> int:
    """Return how many blocks `blocks_of` yields."""
    return sum(math.prod(space.choices[at] for at in group) for group in space.groups)


def blocks_of(space: BlockSpace) -> Iterator[tuple[int, tuple[int, ...], Graph]]:
    """Yield every choice of every block: its index, the values of its genes, its network."""
    for index, group in enumerate(space.groups):
        choices = [range(space.choices[position]) for position in group]
        for values in itertools.product(*choices):
            yield index, values, space.block(index, values)


@dataclass(frozen=True)
class BlockTable:
    """Latencies of networks as sums of blocks that were measured.

    Attributes:
        target: what they are valid for.
        blocks_us: by block, as `signature_of` writes it, its time without the fixed cost of an
            invocation.
        calibration: from the sum of blocks and their number to the whole network.
    """

    target: Target
    blocks_us: Mapping[_Signature, float] = field(repr=False)
    calibration: Calibration

    def latency_ms(self, graphs: Sequence[Graph]) -> NDArray[np.float64]:
        """Return the latency of networks that are chains of blocks, shape (graphs,).

        Raises:
            UnknownKernelError: a network holds what is no block of the table.
        """
        sums = [self.blocks_in(fold(graph)) for graph in graphs]
        total_us = np.array([sum(blocks) for blocks in sums], np.float64)
        counts = np.array([len(blocks) for blocks in sums], np.float64)
        return self.calibration.apply(total_us, counts) / 1e3

    def blocks_in(self, graph: Graph) -> list[float]:
        """Return the time of every block of a network in inference form, in microseconds.

        Raises:
            UnknownKernelError: part of it is no block of the table.
            GraphError: the network is quantised.
        """
        if not graph.is_float:
            raise GraphError("blocks are measured in float32: predict int8 networks from kernels")
        chain = _Chain(graph, self.blocks_us)
        found = chain.cut()
        if found is None:
            node = graph.nodes[min(chain.furthest, len(graph.nodes) - 1)]
            raise UnknownKernelError(
                f"no block of the table fits the network from node {chain.furthest} "
                f"({node.op.name}) on: profile its space with --granularity block at the same "
                "resolution, or predict from kernels"
            )
        return found

    def compile(self, space: BlockSpace) -> GeneLatency:
        """Return the latencies of a space's chromosomes.

        Raises:
            UnknownKernelError: the table lacks blocks of the space.
        """
        tables: list[list[tuple[float, float]]] = [[] for _ in space.groups]
        missing = []
        for index, values, block in blocks_of(space):
            if not block.nodes:  # a layer that is left out
                tables[index].append((0.0, 0.0))
                continue
            time_us = self.blocks_us.get(signature_of(fold(block)))
            if time_us is None:
                missing.append((index, values))
            else:
                tables[index].append((time_us, 1.0))
        if missing:
            index, values = missing[0]
            raise UnknownKernelError(
                f"the table lacks {len(missing)} blocks of the space, such as choice {values} of "
                f"block {index}: profile the space with --granularity block into it"
            )
        arrays = [np.array(table, np.float64) for table in tables]
        return GeneLatency(space.choices, space.groups, arrays, self.calibration)


def fit_blocks(table: Table, *, calibrated: bool = True) -> BlockTable:
    """Read a table that was profiled at block granularity.

    Args:
        table: measured blocks, and whole networks of the same space.
        calibrated: fit sums of blocks to the whole networks; else they are taken as they are.

    Raises:
        PredictorError: there are no blocks in it, or too few whole networks to calibrate on.
    """
    usable = at_usual_speed(table)
    time_us = {
        signature_of(measurement.to_graph()): whole_us(measurement)
        for measurement in usable
        if measurement.unit == "block"
    }
    if not time_us:
        raise PredictorError(
            f"the table {table.folder} holds no measured blocks: run `latlas profile --space moga "
            "--granularity block` first"
        )
    probes = [measurement for measurement in usable if measurement.unit == "probe"]
    fixed_us = fixed_cost_us(probes, min(time_us.values()))
    blocks_us = {
        block: max(total_us - fixed_us, FLOOR * total_us) for block, total_us in time_us.items()
    }
    plain = BlockTable(table.target, blocks_us, PLAIN_SUM)
    if not calibrated:
        return plain
    whole = []
    for measurement in usable:
        if measurement.unit != "network":
            continue
        try:
            found = plain.blocks_in(measurement.to_graph())
        except UnknownKernelError:
            continue  # a table that was cut short lacks some blocks of its networks
        whole.append((sum(found), len(found), whole_us(measurement)))
    columns = np.asarray(whole, np.float64).reshape(-1, 3).T
    return BlockTable(table.target, blocks_us, fit_calibration(*columns))


def signature_of(graph: Graph) -> _Signature:
    """Return what identifies a block in inference form, wherever it stands in a network."""
    return graph.inputs[0], tuple([(node.op, node.inputs) for node in graph.nodes])


class _Chain:
    """Cuts a network into known blocks: the longest first, back where that leads nowhere.

    A block's last node makes its result, so that the block from node p on reads value p.
    """

    def __init__(self, graph: Graph, blocks_us: Mapping[_Signature, float]) -> None:
        self.graph = graph
        self.blocks_us = blocks_us
        self.lengths = sorted({len(nodes) for _, nodes in blocks_us if nodes}, reverse=True)
        self.furthest = 0

    def cut(self) -> list[float] | None:
        """Return the times of the blocks in order, or None where there is no way."""
        way: list[tuple[int, Iterator[tuple[int, float]]]] = [(0, self.blocks_at(0))]
        times: list[float] = []
        dead: set[int] = set()
        while way:
            start, blocks = way[-1]
            if start == len(self.graph.nodes):
                return times
            self.furthest = max(self.furthest, start)
            block = next((each for each in blocks if each[0] not in dead), None)
            if block is None:
                dead.add(start)
                way.pop()
                del times[-1:]  # of the block that led here
            else:
                end, time_us = block
                way.append((end, self.blocks_at(end)))
                times.append(time_us)
        return None

    def blocks_at(self, start: int) -> Iterator[tuple[int, float]]:
        """Yield where blocks that begin at a node end, and their times, the longest first."""
        most = self.graph.nodes[start : start + max(self.lengths, default=0)]
        moved = tuple([(n.op, tuple([value - start for value in n.inputs])) for n in most])
        for length in self.lengths:
            time_us = self.blocks_us.get((self.graph.shapes[start], moved[:length]))
            if time_us is not None and length <= len(moved):
                yield start + length, time_us
