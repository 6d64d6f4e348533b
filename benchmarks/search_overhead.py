"""What does a search cost beside evaluating accuracy?

    python benchmarks/search_overhead.py --latency PREDICTOR [--table TABLE] [--json]

CPU time of the process per candidate, of asking, of latencies and parameters, and of telling, on
the spaces of MoGA and MnasNet; and of a whole NSGA-II of 200 generations of 100. What is paid once
(compiling the predictor for the space, the first batch with the controller's compilation) is given
apart; blocks are counted as they come, most of them for the first searcher. Accuracy is a random
number here.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from analytic import SPACES, open_predictor

from latlas.console import emit, table
from latlas.predictor.genes import gene_latency
from latlas.search.nsga2 import WeightedNSGA2
from latlas.search.protocols import Genes, SearchSpace, Trial
from latlas.search.rewards import MnasnetReward
from latlas.search.searchers import NAMES, open_searcher
from latlas.search.sizes import BlockSizes

CANDIDATES = 1000
BAR_MS = 5.0


class Oracles:
    """Trials of a batch, and the time that they took."""

    def __init__(self, space: Any, latency: Any) -> None:
        self.latency = latency
        self.sizes = BlockSizes(space)
        self.rng = np.random.default_rng(0)

    def __call__(self, batch: Sequence[Genes]) -> list[Trial]:
        latency_ms = self.latency.latency_ms(batch).tolist()
        params = self.sizes.params(batch).tolist()
        accuracy = self.rng.random(len(batch)).tolist()
        names = ("accuracy", "latency_ms", "params")
        return [
            Trial(genes, dict(zip(names, row, strict=True)))
            for genes, *row in zip(batch, accuracy, latency_ms, params, strict=True)
        ]


def cost_ms(space: SearchSpace, name: str, oracles: Oracles) -> dict[str, float]:
    """Return CPU milliseconds per candidate; the first batch, left out, took `first_ms`."""
    searcher = open_searcher(name, space, reward=MnasnetReward.hard(10.0))
    spent = dict.fromkeys(("ask_ms", "oracles_ms", "tell_ms"), 0.0)
    count = 0
    first_ms = 0.0
    while count < CANDIDATES:
        began = time.process_time()
        batch = searcher.ask()
        asked = time.process_time()
        trials = oracles(batch)
        known = time.process_time()
        searcher.tell(trials)
        told = time.process_time()
        if not first_ms:
            first_ms = 1e3 * (told - began)
            continue
        count += len(batch)
        for part, seconds in zip(spent, (asked - began, known - asked, told - known), strict=True):
            spent[part] += 1e3 * seconds
    each = {part: value / count for part, value in spent.items()}
    return {**each, "total_ms": sum(each.values()), "first_ms": first_ms}


def whole_search_s(space: SearchSpace, oracles: Oracles) -> float:
    """Return the seconds of NSGA-II with 200 generations of 100."""
    searcher = WeightedNSGA2(space.choices, population=100)
    began = time.process_time()
    for _ in range(200):
        searcher.tell(oracles(searcher.ask()))
    return time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--latency", type=Path, required=True, help="A predictor's file.")
    parser.add_argument("--table", type=Path, help="A table, to be looked up too.")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    sources = {"predictor": arguments.latency, "table": arguments.table}
    document: dict[str, Any] = {}
    rows = []
    for kind, path in ((kind, path) for kind, path in sources.items() if path is not None):
        predictor = open_predictor(path)
        for space in (space() for space in SPACES.values()):
            began = time.process_time()
            latency = gene_latency(space, predictor)
            compiling_s = time.process_time() - began
            found: dict[str, Any] = {"compiling_s": compiling_s, "searchers": {}}
            oracles = Oracles(space, latency)
            for name in NAMES:
                cost = cost_ms(space, name, oracles)
                found["searchers"][name] = cost
                columns = (cost[key] for key in ("ask_ms", "oracles_ms", "tell_ms", "total_ms"))
                shown = (f"{value:.3f}" for value in columns)
                rows.append((kind, space.name, name, *shown, f"{cost['first_ms'] / 1e3:.1f}"))
            found["nsga2_200x100_s"] = whole_search_s(space, oracles)
            document[f"{kind}, {space.name}"] = found
    heads = ("latency", "space", "searcher", "ask ms", "oracles ms", "tell ms", "all ms", "first s")
    once = [
        f"{name}: compiled in {found['compiling_s']:.1f} s; NSGA-II of 200 x 100 in "
        f"{found['nsga2_200x100_s']:.1f} s"
        for name, found in document.items()
    ]
    worst = max(cost["total_ms"] for f in document.values() for cost in f["searchers"].values())
    emit(
        document,
        arguments.json,
        "\n".join([table(heads, rows), "", *once, f"worst {worst:.2f} ms, bar {BAR_MS} ms"]),
    )


if __name__ == "__main__":
    main()
