"""Accuracies and latencies of your own.

On the command line, accuracies are a function or a class, named package.module:Name:

    PYTHONPATH=examples latlas search --space moga --latency here-cpu.latlas \
        --accuracy own_oracle:accuracy -o studies/own-oracle

In Python, a latency is any function of a batch of architectures, here a limit of memory bandwidth:

    python examples/own_oracle.py FOLDER
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from latlas.profiler.count import count
from latlas.search.evaluation import Evaluator, InProcess, measure_with
from latlas.search.nsga2 import WeightedNSGA2
from latlas.search.protocols import Genes, Trial
from latlas.search.sizes import sizes_of
from latlas.search.spaces import open_space
from latlas.search.study import Study, run

SPACE = open_space("moga", resolution=96, classes=10)


def accuracy(genes: Genes) -> float:
    """Return a made-up accuracy that grows with the network: train and validate here.

    An exception is this candidate's failure: it is recorded, and the search goes on.
    """
    sizes = count(SPACE.decode(genes))
    return sizes.params / (sizes.params + 1e6)


def latencies_ms(batch: Sequence[Genes]) -> list[float]:
    """Return one latency for every architecture: a roofline, or your own simulator or device."""
    sizes = [count(SPACE.decode(genes)) for genes in batch]
    return [max(one.madds / 20e6, one.params * 4 / 4e6) for one in sizes]  # 20 G/s, 4 GB/s


def main(folder: Path, evaluations: int = 200) -> list[Trial]:
    """Search with both, and return the front."""
    measures = {
        "latency_ms": measure_with(latencies_ms, "latency_ms"),
        "accuracy": measure_with(lambda batch: [accuracy(one) for one in batch], "accuracy"),
    }
    evaluator = Evaluator(SPACE, InProcess(measures), list(measures), sizes_of(SPACE))
    study = Study.create(folder, {"space": SPACE.identity, "seed": 0})
    return run(study, WeightedNSGA2(SPACE.choices, seed=0), evaluator, evaluations=evaluations)


if __name__ == "__main__":
    for trial in main(Path(sys.argv[1])):
        print(f"{trial.latency_ms:.2f} ms {trial.accuracy:.3f} {trial.genes}")
