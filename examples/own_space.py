"""A search space of your own: a class with `choices` and `decode`.

    PYTHONPATH=examples latlas search --space own_space:TwoBranches --resolution 32 --classes 10 \
        --latency device:local/cpu --accuracy train:digits -o studies/own-space
    PYTHONPATH=examples latlas verify studies/own-space --space own_space:TwoBranches

In Python (python examples/own_space.py FOLDER), here with made-up latencies and accuracies.
A space of blocks needs no Python: write it in TOML (docs/spaces.md). This one has two branches.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from latlas.profiler.graph import Graph
from latlas.profiler.graph_builder import GraphBuilder
from latlas.search.evaluation import Evaluator, InProcess, measure_with
from latlas.search.nsga2 import WeightedNSGA2
from latlas.search.protocols import Trial
from latlas.search.sizes import sizes_of
from latlas.search.spaces import Space
from latlas.search.study import Study, run

WIDTHS, KERNELS = (8, 16, 24, 32), (3, 5, 7)


class TwoBranches(Space):
    """Genes: width and kernel of the left branch, of the right one, and whether they are added."""

    choices = (len(WIDTHS), len(KERNELS), len(WIDTHS), len(KERNELS), 2)

    def decode(self, genes: Sequence[int]) -> Graph:
        """Return the network of a chromosome."""
        *branches, add = genes
        b = GraphBuilder((1, self.resolution, self.resolution, self.channels))
        stem = b.conv(b.input, 16, 3, stride=2, activation="relu6")
        ends = []
        for width, kernel in (branches[:2], branches[2:]):
            x = b.depthwise(stem, KERNELS[kernel], activation="relu6")
            ends.append(b.conv(x, int(WIDTHS[width] * self.width), 1, activation="relu6"))
        x = b.add(*(b.conv(end, 32, 1) for end in ends)) if add else b.concat(ends)
        return b.build(b.dense(b.mean(x, keepdims=False), self.classes))


def main(folder: Path, evaluations: int = 80) -> list[Trial]:
    """Search it."""
    space = TwoBranches(resolution=32, classes=10)
    measures = {
        name: measure_with(lambda batch: [(1 + sum(genes)) / 20 for genes in batch], name)
        for name in ("latency_ms", "accuracy")
    }
    evaluator = Evaluator(space, InProcess(measures), list(measures), sizes_of(space))
    study = Study.create(folder, {"space": space.identity, "seed": 0})
    return run(study, WeightedNSGA2(space.choices, seed=0), evaluator, evaluations=evaluations)


if __name__ == "__main__":
    for trial in main(Path(sys.argv[1])):
        print(trial.genes, dict(trial.values))
