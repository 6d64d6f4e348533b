"""Which model learns kernels best: the comparison behind `latlas.predictor`.

    python benchmarks/kernel_models.py --data DIR [--json]

DIR is that of `phone_data.py`. On every device, families of networks are left out in turn; their
kernels are predicted by each model in the table, and summed and calibrated as `latlas fit` does.
The figures are means over devices and two seeds.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import phone_recordings as recordings
from numpy.typing import NDArray
from sklearn.ensemble import (
    ExtraTreesRegressor,
    HistGradientBoostingRegressor,
    RandomForestRegressor,
)

from latlas.console import emit, table
from latlas.predictor import features
from latlas.predictor.calibration import solve
from latlas.predictor.latencies import kernel_latencies
from latlas.predictor.observations import Observations
from latlas.predictor.sizes import kernel_class

SEEDS = (0, 1)


@dataclass(frozen=True)
class Model:
    """A regressor, what of the time it learns, and what it does not see."""

    make: Callable[[int], Any]
    per: str = "work"  # ln(us / work), ln(us / madds) or ln(us)
    without: tuple[str, ...] = ()


def trees(**options: Any) -> Callable[[int], Any]:
    return lambda seed: ExtraTreesRegressor(60, random_state=seed, **options)


MODELS = {
    "extra trees, 80% of the features": Model(trees(max_features=0.8)),
    "… 50% of the features": Model(trees(max_features=0.5)),
    "… at least 3 rows in a leaf": Model(trees(max_features=0.8, min_samples_leaf=3)),
    "… of ln(us / multiply-adds)": Model(trees(max_features=0.8), "madds"),
    "… of ln(us)": Model(trees(max_features=0.8), "time"),
    "… without the variant": Model(trees(max_features=0.8), without=("variant",)),
    "random forest": Model(lambda s: RandomForestRegressor(60, max_features=0.8, random_state=s)),
    "gradient boosting": Model(
        lambda s: HistGradientBoostingRegressor(
            max_iter=150, learning_rate=0.08, min_samples_leaf=5, random_state=s
        )
    ),
    "gradient boosting of ln(us)": Model(
        lambda s: HistGradientBoostingRegressor(
            max_iter=150, learning_rate=0.08, min_samples_leaf=5, random_state=s
        ),
        "time",
    ),
}


def offset(x: NDArray[Any], per: str) -> NDArray[Any]:
    """Return the logarithm of what the time is divided by."""
    padding = x[:, features.NAMES.index("log_padding")]
    return np.asarray({"work": x[:, 0], "madds": x[:, 0] - padding, "time": np.zeros(len(x))}[per])


def errors(seen: Observations, model: Model, seed: int) -> tuple[list[float], list[float]]:
    """Return relative errors of networks and of kernels, every family left out in turn."""
    kernels = list(dict.fromkeys(kernel for n in seen.networks for kernel in n.kernels))
    row = {kernel: index for index, kernel in enumerate(kernels)}
    everything = features.matrix(kernels, seen.target)
    base = offset(everything, model.per)
    kept = [index for index, name in enumerate(features.NAMES) if name not in model.without]
    x = everything[:, kept]
    classes = np.array([kernel_class(kernel) for kernel in kernels])
    all_us = kernel_latencies(seen).latency_us
    families = defaultdict(list)
    for network in seen.networks:
        families[recordings.family(network.name)].append(network.name)
    of_networks, of_kernels = [], []
    for names in families.values():
        rest = seen.without(names)
        known = kernel_latencies(rest)
        rows = np.array([row[kernel] for kernel in known.latency_us])
        y = np.log(list(known.latency_us.values())) - base[rows]
        weight = np.sqrt(list(known.weight.values()))
        predicted = np.full(len(kernels), np.nan)
        for name in set(classes):
            learn, ask = classes[rows] == name, classes == name
            learn = learn if learn.any() else np.full(len(rows), True)
            fitted = model.make(seed).fit(x[rows[learn]], y[learn], sample_weight=weight[learn])
            predicted[ask] = np.exp(fitted.predict(x[ask]) + base[ask])
        whole = [
            (sum(known.latency_us[k] for k in n.kernels), len(n.kernels), n.latency_us)
            for n in rest.networks
        ]
        a, b, c = solve(*np.array(whole).T)
        left_out = [network for network in seen.networks if network.name in names]
        for network in left_out:
            total = predicted[[row[kernel] for kernel in network.kernels]].sum()
            latency_us = a * total + b * len(network.kernels) + c
            of_networks.append(float(latency_us / network.latency_us - 1))
        for kernel in dict.fromkeys(kernel for n in left_out for kernel in n.kernels):
            of_kernels.append(float(predicted[row[kernel]] / all_us[kernel] - 1))
    return of_networks, of_kernels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    kernels = recordings.read_rows(arguments.data / recordings.KERNELS)
    models = recordings.read_rows(arguments.data / recordings.MODELS)
    devices = recordings.devices(kernels, models)
    seen = {device: recordings.observations(kernels, models, device) for device in devices}
    document: dict[str, Any] = {}
    for name, model in MODELS.items():
        document[name] = {}
        for device in devices:
            found = [errors(seen[device], model, seed) for seed in SEEDS]
            networks, single = (np.abs([each[i] for each in found]) for i in (0, 1))
            document[name][device] = {
                "kernel_mape": 100 * float(single.mean()),
                "mape": 100 * float(networks.mean()),
                "within10": 100 * float((networks <= 0.1).mean()),
            }
    rows = []
    for name, per_device in document.items():
        figures = np.array([list(each.values()) for each in per_device.values()])
        mapes = [f"{each['mape']:.1f}" for each in per_device.values()]
        rows.append((name, *mapes, *(f"{value:.1f}" for value in figures.mean(axis=0))))
    header = ("model", *devices, "mean of kernels", "mean of networks", "within 10%")
    emit(document, arguments.json, table(header, rows))


if __name__ == "__main__":
    main()
