"""NAS-Bench-201 cells on phones, from 50 or 200 measured cells of the same phone.

    python benchmarks/nasbench201.py --data DIR [--json] [--draws 10]

DIR holds nb201_1999.csv: six columns of operators, then a column of milliseconds for each device.
In every draw, N random cells are learned from and all others predicted, by every method alike:

- additive-N: linear regression on one-hot operators of the live edges;
- counts-N: linear regression on numbers of live operators;
- raw-N: linear regression on one-hot operators of all edges;
- latlas-N: predictor/additive.py on the features of predictor/architectures.py.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from few_shot import read_columns
from numpy.typing import NDArray
from scipy.stats import spearmanr

from latlas.console import emit, table
from latlas.predictor import architectures
from latlas.predictor.additive import additive_terms, fit_additive

Array = NDArray[Any]
FILE = "nb201_1999.csv"
GROUPS = ("live", "counts", "structure")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--cells", type=int, nargs="+", default=[50, 200])
    arguments = parser.parse_args()
    path = arguments.data / FILE
    if not path.is_file():
        emit({"absent": [FILE]}, arguments.json, f"absent: {FILE}")
        return
    names, columns = read_columns(path)
    cells = np.stack([columns[f"edge{i}"] for i in range(6)], axis=1).astype(int)
    methods = make_methods(cells)
    document: dict[str, Any] = {}
    for device in (name for name in names if not name.startswith("edge")):
        document[device.removesuffix("_ms")] = {
            f"{method}-{count}": _score(predict, columns[device], count, arguments.draws)
            for count in arguments.cells
            for method, predict in methods.items()
        }
    rows = [
        (
            device,
            method,
            *(f"{row[key]:.{digits}f}" if key in row else "" for key, digits in _KEYS.items()),
        )
        for device, found in document.items()
        for method, row in found.items()
    ]
    heads = ("device", "method", "MAPE", "within 10%", "spearman", "90% holds")
    emit(document, arguments.json, table(heads, rows))


_KEYS = {"mape": 2, "within10": 1, "spearman": 3, "covered": 1}


def make_methods(cells: Array) -> dict[str, Callable[[Array, Array], tuple[Array, Array | None]]]:
    """Return, by name, functions from measured cells and latencies to all latencies."""
    features = architectures.features(cells)
    terms = additive_terms({name: features[name] for name in GROUPS}, smooth=("live", "counts"))

    def linear(x: Array) -> Callable[[Array, Array], tuple[Array, Array | None]]:
        design = np.column_stack([np.ones(len(x)), x])

        def predict(known: Array, latency: Array) -> tuple[Array, Array | None]:
            return design @ np.linalg.lstsq(design[known], latency, rcond=None)[0], None

        return predict

    def latlas(known: Array, latency: Array) -> tuple[Array, Array | None]:
        return fit_additive(terms, known, latency).predict(np.arange(len(cells)))

    return {
        "additive": linear(features["live edges"]),
        "counts": linear(features["live"]),
        "raw": linear(features["edges"]),
        "latlas": latlas,
    }


def _score(
    predict: Callable[[Array, Array], tuple[Array, Array | None]],
    latency: Array,
    count: int,
    draws: int,
) -> dict[str, float]:
    rows = []
    for draw in range(draws):
        order = np.random.default_rng(draw).permutation(len(latency))
        known, others = order[:count], order[count:]
        predicted, deviation = predict(known, latency[known])
        error = np.abs(predicted[others] / latency[others] - 1)
        held = np.nan
        if deviation is not None:
            off = np.abs(predicted - latency)[others]
            held = 100 * float((off <= 1.645 * deviation[others]).mean())
        within = 100 * float((error <= 0.1).mean())
        rank = float(spearmanr(predicted[others], latency[others])[0])
        rows.append((100 * float(error.mean()), within, rank, held))
    mape, within, rank, held = np.mean(rows, axis=0)
    found = {"mape": mape, "within10": within, "spearman": rank, "n": len(latency) - count}
    return found | ({"covered": held} if np.isfinite(held) else {})


if __name__ == "__main__":
    main()
