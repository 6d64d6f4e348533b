"""Is NSGA-II with latlas' crowding distance as good as pymoo's own?

    python benchmarks/zdt.py [--seeds 5] [--json]

Hypervolume of ZDT1-3 after 200 generations of 100, ZDT4 and ZDT6 after 400, against the reference
point (1.1, 1.1): pymoo's NSGA-II as it is, and with `weighted_survival` of equal weights. The bar
is 98% of pymoo's median on ZDT1-3 and 96% on ZDT4 and ZDT6.
"""

from __future__ import annotations

import argparse

import numpy as np
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.optimize import minimize
from pymoo.problems import get_problem

from latlas.console import emit, table
from latlas.search.nsga2 import weighted_survival
from latlas.search.pareto import hypervolume

PROBLEMS = {"zdt1": 200, "zdt2": 200, "zdt3": 200, "zdt4": 400, "zdt6": 400}
BARS = {200: 0.98, 400: 0.96}


def volume(name: str, generations: int, seed: int, ours: bool) -> float:
    """Return the hypervolume of what one run ends with."""
    options = {"survival": weighted_survival([1, 1])} if ours else {}
    algorithm = NSGA2(pop_size=100, **options)
    found = minimize(get_problem(name), algorithm, ("n_gen", generations), seed=seed)
    return hypervolume(found.F, ["min", "min"], [1.1, 1.1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    document = {}
    for name, generations in PROBLEMS.items():
        runs = [
            [volume(name, generations, seed, ours) for ours in (False, True)]
            for seed in range(1, arguments.seeds + 1)
        ]
        own, ours = np.median(runs, axis=0).tolist()
        document[name] = {
            "generations": generations,
            "pymoo": own,
            "latlas": ours,
            "ratio": ours / own,
            "bar": BARS[generations],
            "runs": runs,
        }
    rows = [
        (
            name,
            found["generations"],
            f"{found['pymoo']:.4f}",
            f"{found['latlas']:.4f}",
            f"{found['ratio']:.1%}",
            f"{found['bar']:.0%}",
        )
        for name, found in document.items()
    ]
    heads = ("problem", "generations", "pymoo", "latlas", "ratio", "bar")
    emit(document, arguments.json, table(heads, rows))


if __name__ == "__main__":
    main()
