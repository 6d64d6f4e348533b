"""A new phone's GPU from other phones' tables and 20 whole networks measured on it.

    python benchmarks/kernel_tables.py --data DIR [--json] [--samples 10 20] [--draws 3]
        [--family FAMILY …]

DIR holds ``tflite_gpu_kernels.csv`` and ``tflite_cnn_models.csv`` as for phone_data.py. Each phone
in turn is the new one. Every family of networks is left out in turn of everything: of the other
phones' tables and of the networks that can be measured on the new one, and is then predicted.

- ``whole``: only whole latencies of the chosen networks are seen, as where no operators are listed.
- ``listed``: the times of their kernels are seen, too.
- ``alone``: the same networks with their kernels, and no other phone.
- ``scaled``: the other phone whose latencies, by one factor, agree best with those of the chosen
  networks.

Networks are chosen by design, or at random (means over draws). ``expected`` is what the fit says
about itself, ``planned`` what the plan says before anything is measured.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import phone_recordings as recordings
from numpy.typing import NDArray
from scipy.stats import spearmanr

from latlas.console import emit, table
from latlas.predictor.few_shot import fit_few, plan
from latlas.predictor.fit import fit
from latlas.predictor.observations import NetworkObservation, Observations
from latlas.predictor.predictor import LatencyPredictor

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Fold:
    """One family left out on one new phone.

    Attributes:
        seen: the new phone, without the family.
        query: networks of the family, as the new phone runs them.
        sources: the other phones, learned without the family.
    """

    target: str
    seen: Observations
    query: Sequence[NetworkObservation]
    sources: tuple[LatencyPredictor, ...]

    @property
    def truth_us(self) -> Array:
        return np.array([network.latency_us for network in self.query])

    def networks(self) -> dict[str, Any]:
        return {network.name: network.kernels for network in self.seen.networks}


@dataclass(frozen=True, eq=False)
class Found:
    """Predictions of the networks of a fold, whether their bounds hold, and the error expected."""

    predicted_us: Array
    held: Array | None = None
    expected: float | None = None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--samples", type=int, nargs="+", default=[20])
    parser.add_argument("--draws", type=int, default=3)
    names = [name for name, _ in recordings.FAMILIES]
    parser.add_argument("--family", nargs="+", choices=names, help="by default all, in turn")
    arguments = parser.parse_args()
    paths = [arguments.data / name for name in (recordings.KERNELS, recordings.MODELS)]
    absent = [str(path) for path in paths if not path.is_file()]
    document: dict[str, Any] = {"absent": absent}
    if not absent:
        every = list(folds(paths[0], paths[1], arguments.family))
        document |= compare(every, arguments.samples, arguments.draws)
    emit(document, arguments.json, as_text(document))


def folds(
    kernels_csv: Path, models_csv: Path, wanted: Collection[str] | None = None
) -> Iterator[Fold]:
    kernels, models = map(recordings.read_rows, (kernels_csv, models_csv))
    devices = recordings.devices(kernels, models)
    seen = {device: recordings.observations(kernels, models, device) for device in devices}
    families: dict[str, set[str]] = defaultdict(set)
    for each in seen.values():
        for network in each.networks:
            families[recordings.family(network.name)].add(network.name)
    for family in wanted or families:
        names = families[family]
        fitted = {device: fit(seen[device].without(names)) for device in devices}
        for target in devices:
            query = [network for network in seen[target].networks if network.name in names]
            others = tuple(fitted[device] for device in devices if device != target)
            yield Fold(target, seen[target].without(names), query, others)


def compare(every: Sequence[Fold], samples: Sequence[int], draws: int) -> dict[str, Any]:
    """Return figures by number of samples, way of choosing, method and target."""
    document: dict[str, Any] = {}
    for count in samples:
        rows: dict[tuple[str, str], dict[str, list[Any]]] = defaultdict(lambda: defaultdict(list))
        for fold in every:
            for draw in (None, *range(draws)):
                way = "designed" if draw is None else "random"
                chosen, planned = choose(fold, count, draw)
                for method, predict in METHODS.items():
                    rows[way, method][fold.target].append((fold, predict(fold, chosen), planned))
        for (way, method), targets in rows.items():
            figures = {target: _figures(each) for target, each in targets.items()}
            names = next(iter(figures.values()))
            mean = {name: _mean([each[name] for each in figures.values()]) for name in names}
            document.setdefault(f"{way}-{count}", {})[method] = figures | {"mean": mean}
    return document


def choose(fold: Fold, count: int, draw: int | None) -> tuple[Observations, float]:
    """Return what is seen of the new phone, and the error that the plan expects."""
    planned = plan(fold.sources, fold.networks(), count)
    names = set(planned.chosen)
    if draw is not None:
        every = [network.name for network in fold.seen.networks]
        names = set(np.random.default_rng(draw).choice(every, count, replace=False).tolist())
    kept = tuple(network for network in fold.seen.networks if network.name in names)
    return replace(fold.seen, networks=kept), planned.expected_error


def alone(fold: Fold, chosen: Observations) -> Found:
    return _ask(fit(chosen), fold, None)


def listed(fold: Fold, chosen: Observations) -> Found:
    few = fit_few(chosen, fold.sources, fold.networks())
    return _ask(few.predictor, fold, few.expected_error)


def whole(fold: Fold, chosen: Observations) -> Found:
    without = tuple(replace(network, listed_us=None) for network in chosen.networks)
    return listed(fold, replace(chosen, networks=without))


def scaled(fold: Fold, chosen: Observations) -> Found:
    best: tuple[float, Array] | None = None
    for source in fold.sources:
        known, asked = (
            np.array([p.latency_ms for p in source.predict_kernels(kernels, accept_unknown=True)])
            for kernels in ([n.kernels for n in part] for part in (chosen.networks, fold.query))
        )
        ratio = np.array([network.latency_us for network in chosen.networks]) / known
        spread = float(np.std(np.log(ratio)))
        if best is None or spread < best[0]:
            best = spread, np.median(ratio) * asked
    assert best is not None
    return Found(best[1])


METHODS: dict[str, Callable[[Fold, Observations], Found]] = {
    "whole": whole,
    "listed": listed,
    "alone": alone,
    "scaled": scaled,
}


def _ask(predictor: LatencyPredictor, fold: Fold, expected: float | None) -> Found:
    kernels = [network.kernels for network in fold.query]
    found = predictor.predict_kernels(kernels, accept_unknown=True)
    truth_ms = fold.truth_us / 1e3
    held = [p.low_ms <= t <= p.high_ms for p, t in zip(found, truth_ms, strict=True)]
    return Found(1e3 * np.array([p.latency_ms for p in found]), np.array(held), expected)


def _figures(rows: Sequence[tuple[Fold, Found, float]]) -> dict[str, float | None]:
    predicted = np.concatenate([found.predicted_us for _, found, _ in rows])
    truth = np.concatenate([fold.truth_us for fold, _, _ in rows])
    error = np.abs(predicted / truth - 1)
    held = _joined([found.held for _, found, _ in rows])
    return {
        "spearman": float(spearmanr(predicted, truth)[0]),
        "mape": 100 * float(error.mean()),
        "within10": 100 * float((error <= 0.1).mean()),
        "expected": _mean([found.expected for _, found, _ in rows], 100.0),
        "planned": 100 * float(np.mean([planned for _, _, planned in rows])),
        "covered": None if held is None else 100 * float(held.mean()),
        "n": len(truth),
    }


def _mean(values: Sequence[float | None], scale: float = 1.0) -> float | None:
    known = [value for value in values if value is not None]
    return scale * float(np.mean(known)) if known else None


def _joined(arrays: Sequence[Array | None]) -> Array | None:
    known = [array for array in arrays if array is not None]
    return np.concatenate(known) if known else None


def as_text(document: dict[str, Any]) -> str:
    names = ("mape", "within10", "expected", "planned", "covered")
    rows = [
        (samples, method, target, f"{row['spearman']:.3f}", *(_cell(row[n]) for n in names))
        for samples, methods in document.items()
        if samples != "absent"
        for method, targets in methods.items()
        for target, row in targets.items()
    ]
    heads = ("samples", "method", "target", "spearman", "MAPE", "within 10%", "expected")
    lines = [table((*heads, "planned", "90% holds"), rows)] if rows else []
    return "\n".join(lines + [f"absent: {name}" for name in document["absent"]])


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


if __name__ == "__main__":
    main()
