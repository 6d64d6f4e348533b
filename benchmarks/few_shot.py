"""A new device from 10 or 20 measurements, on latencies that others measured on real devices.

    python benchmarks/few_shot.py --data DIR [--json] [--draws 5]

Every part is an experiment: sources, a pool from which samples are taken, and query items that are
never measured.

- help (nb201_help.csv): HELP's protocol. Sources are its nine training devices, each known through
  a ridge on its cells 0-899; the pool is the same cells; query cells are 900-1899 whose latency
  lies between the 10% and 90% quantiles. Another file's devices take turns where these are unknown.
- nas (tflite_nas_models.csv): each GPU in turn from the float columns of other devices and from
  FLOPs and size; no column of the same device is a source. Half of the models are the pool.
- blocks (transformer_blocks_DEVICE.json): each device in turn from the others; half is the pool.

`designed` samples are chosen by latlas before anything of the target is seen, `random` ones are the
mean over draws. `expected` is the error that latlas predicts without seeing a query item.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from latlas.console import emit, say, table
from latlas.predictor import architectures
from latlas.predictor.transfer import Prior, Sources, prepare

Array = NDArray[Any]

TRAINING = (
    "1080ti_1",
    "1080ti_32",
    "1080ti_256",
    "silver_4114",
    "silver_4210r",
    "samsung_a50",
    "pixel3",
    "essential_ph_1",
    "samsung_s7",
)
SPLITS = 5
"""Splits into pool and query items where the protocol does not fix one."""


@dataclass(frozen=True, eq=False)
class Experiment:
    """One split of one target: everything that a few-shot method may and may not see."""

    target: str
    prior: Prior
    latency: Array
    query: Array


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--samples", type=int, nargs="+", default=[10, 20])
    arguments = parser.parse_args()
    document: dict[str, Any] = {"absent": []}
    for part, (pattern, experiments) in PARTS.items():
        if not list(arguments.data.glob(pattern)):
            document["absent"].append(pattern)
            continue
        found = list(experiments(arguments.data))
        if not found:
            document["absent"].append(f"{pattern}: fewer than two devices")
            continue
        document[part] = evaluate(found, arguments.samples, arguments.draws)
    emit(document, arguments.json, as_text(document))


def evaluate(experiments: list[Experiment], samples: list[int], draws: int) -> dict[str, Any]:
    """Return figures by number of samples, way of choosing and target, and their mean."""
    found: dict[str, Any] = {}
    for count in samples:
        for way in ("designed", "random"):
            by_target: dict[str, list[dict[str, float]]] = {}
            for each in experiments:
                for draw in range(draws if way == "random" else 1):
                    row = run(each, count, None if way == "designed" else draw)
                    by_target.setdefault(each.target, []).append(row)
            rows = {target: _mean(each) for target, each in by_target.items()}
            found[f"{way}-{count}"] = rows | {"mean": _mean(list(rows.values()))}
    return found


def _mean(rows: list[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def run(experiment: Experiment, count: int, draw: int | None) -> dict[str, float]:
    """Measure `count` items of the pool, chosen by design or at random, and predict the query."""
    prior = experiment.prior
    if draw is None:
        chosen = np.array(prior.choose(count))
    else:
        chosen = np.random.default_rng(draw).choice(prior.pool, count, replace=False)
    fitted = prior.fit(chosen, experiment.latency[chosen])
    query = experiment.query
    predicted, deviation = fitted.predict(query)
    real = experiment.latency[query]
    error = np.abs(predicted / real - 1)
    return {
        "spearman": float(spearmanr(predicted, real)[0]),
        "mape": 100 * float(error.mean()),
        "within10": 100 * float((error <= 0.1).mean()),
        "expected": 100 * fitted.expected_error(query),
        "planned": 100 * prior.expected_error(chosen, query),
        "covered": 100 * float((np.abs(predicted - real) <= 1.645 * deviation).mean()),
        "n": len(query),
    }


def help_experiments(data: Path) -> Iterator[Experiment]:
    names, columns = read_columns(data / "nb201_help.csv")
    cells = np.stack([columns[f"edge{i}"] for i in range(6)], axis=1).astype(int)[:1900]
    latency = {name: columns[name][:1900] for name in names if not name.startswith("edge")}
    pool_size = min(900, len(cells) // 2)
    training = [name for name in TRAINING if name in latency]
    fixed = len(training) >= 2 and len(training) < len(latency)
    pool, others = np.arange(pool_size), np.arange(pool_size, len(cells))
    features = architectures.features(cells)
    predicted = {name: ridge(features, latency[name], pool) for name in latency}
    for target in latency:
        if fixed and target in training:
            continue
        known = training if fixed else [d for d in latency if _device(d) != _device(target)]
        if not known:
            continue
        measured = np.stack([latency[name] for name in known], axis=1)
        measured[others] = np.nan
        sources = Sources(
            np.stack([predicted[name] for name in known], axis=1),
            tuple(_device(name) for name in known),
            features=features,
            measured=measured,
        )
        low, high = np.quantile(latency[target][others], (0.1, 0.9))
        inside = (latency[target][others] >= low) & (latency[target][others] <= high)
        yield Experiment(target, prepare(sources, pool), latency[target], others[inside])


def _device(column: str) -> str:
    """Return the device of a column such as 1080ti_32, its batch size left off."""
    stem, _, last = column.rpartition("_")
    return stem if stem and last.isdigit() and "1080ti" in stem else column


def ridge(features: Mapping[str, Array], latency: Array, known: Array) -> Array:
    """Return a ridge's predictions of all items, in units of the median."""
    x = np.hstack(list(features.values()))
    x = x - x[known].mean(axis=0)
    y = latency / np.median(latency[known])
    mean = y[known].mean()
    square = x[known].T @ x[known] + np.eye(x.shape[1])
    weights = np.linalg.solve(square, x[known].T @ (y[known] - mean))
    return np.asarray(np.maximum(mean + x @ weights, 0.02))


def nas_experiments(data: Path) -> Iterator[Experiment]:
    names, columns = read_columns(data / "tflite_nas_models.csv")
    settings = [name.removesuffix("|mean") for name in names if name.endswith("|float|mean")]
    for target in (name for name in settings if "|gpu|" in name):
        known = [name for name in settings if name.split("|")[0] != target.split("|")[0]]
        if not known:
            continue
        sources = Sources(
            np.stack([columns[f"{name}|mean"] for name in known], axis=1),
            tuple(name.split("|")[0] for name in known),
            kin=tuple("|gpu|" in name for name in known),
            features={"size": np.stack([columns["FLOPS"], columns["size"]], axis=1)},
        )
        yield from _splits(target.split("|")[0] + " gpu", sources, columns[f"{target}|mean"])


def block_experiments(data: Path) -> Iterator[Experiment]:
    blocks = {
        path.stem.removeprefix("transformer_blocks_"): json.loads(path.read_text())
        for path in sorted(data.glob("transformer_blocks_*.json"))
    }
    if len(blocks) < 2:
        return
    names = sorted(set.intersection(*(set(each) for each in blocks.values())))
    # A tenth of the pool and a tenth as query: covariances of all items would be large.
    names = [str(n) for n in np.random.default_rng(0).permutation(names)[:2400]]
    latency = {device: np.array([each[n] for n in names]) for device, each in blocks.items()}
    numbers = [[float(word) for word in name.split("_") if word.isdigit()] for name in names]
    width = max(map(len, numbers))
    kinds = sorted({_kind(name) for name in names})
    traits = np.array([row + [0.0] * (width - len(row)) for row in numbers])
    kind = np.array([[float(_kind(name) == each) for each in kinds] for name in names])
    for target, values in latency.items():
        known = [device for device in latency if device != target]
        source = np.stack([latency[device] for device in known], axis=1)
        mean = source.mean(axis=1, keepdims=True)
        groups = {"kind": kind * mean, "numbers": np.log1p(traits) * mean}
        yield from _splits(target, Sources(source, tuple(known), features=groups), values)


def _kind(name: str) -> str:
    return "_".join([word for word in name.split("_") if not word.isdigit()])


def _splits(target: str, sources: Sources, latency: Array) -> Iterator[Experiment]:
    for split in range(SPLITS):
        order = np.random.default_rng(1000 + split).permutation(len(latency))
        pool, query = np.sort(order[: len(order) // 2]), np.sort(order[len(order) // 2 :])
        yield Experiment(target, prepare(sources, pool, seed=split), latency, query)


def read_columns(path: Path) -> tuple[list[str], dict[str, Array]]:
    """Return the numeric columns of a CSV file, without rows in which a figure is missing."""
    with path.open(newline="") as file:
        head, *rows = csv.reader(file)
    kept = [i for i, name in enumerate(head) if name != "model"]
    whole = [row for row in rows if len(row) == len(head) and {"", "-"}.isdisjoint(row)]
    if len(whole) < len(rows):
        say(f"{path.name}: {len(rows) - len(whole)} rows left out, in which a figure is missing")
    values = np.array([[float(row[i]) for i in kept] for row in whole])
    return [head[i] for i in kept], {head[i]: values[:, j] for j, i in enumerate(kept)}


PARTS = {
    "help": ("nb201_help.csv", help_experiments),
    "nas": ("tflite_nas_models.csv", nas_experiments),
    "blocks": ("transformer_blocks_*.json", block_experiments),
}


def as_text(document: dict[str, Any]) -> str:
    rows = [
        (part, method, target, f"{row['spearman']:.3f}")
        + tuple(f"{row[name]:.1f}" for name in ("mape", "within10", "expected", "covered"))
        for part, methods in document.items()
        if part != "absent"
        for method, targets in methods.items()
        for target, row in targets.items()
    ]
    heads = ("part", "samples", "target", "spearman", "MAPE", "within 10%", "expected", "90% holds")
    lines = [table(heads, rows)] if rows else []
    return "\n".join(lines + [f"absent: {name}" for name in document["absent"]])


if __name__ == "__main__":
    main()
