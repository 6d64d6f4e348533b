"""Whole networks on real phones' GPUs, predicted by networks of other families.

    python benchmarks/phone_data.py --data DIR [--json]

DIR holds ``tflite_gpu_kernels.csv`` and ``tflite_cnn_models.csv`` of qed-usc/mobile-ml-benchmark,
or files of the same form; devices are discovered from their columns. Every family of networks is
left out in turn, and predicted by a predictor that was fitted on the others: ``measured`` sums the
listed times of its kernels and calibrates, ``predicted`` looks up no kernel at all, not even those
that other families share. What has no figures, a file, a device, a family or a network, is told
with the reason. With --json every key is a device with the figures of both methods, in percent;
where no device has figures, ``absent`` has the reasons.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import phone_recordings as recordings

from latlas.console import emit, table
from latlas.predictor.evaluation import leave_out
from latlas.predictor.fit import fit
from latlas.predictor.metrics import metrics
from latlas.predictor.observations import Observations
from latlas.predictor.predictor import LatencyPredictor
from latlas.predictor.sizes import kernel_class
from latlas.profiler.errors import PredictorError, UsageError

Fit = Callable[[Observations], LatencyPredictor]

LISTED, WHOLE = "_us", "|gpu|float|mean"
"""What the names of a device's columns end in, in the two files."""


def evaluate(seen: Observations, fit: Fit = fit) -> tuple[dict[str, Any], list[str]]:
    """Leave out every family in turn.

    Returns:
        Figures of both methods, in percent, and why families are absent from them. Without any
        family there are no figures.
    """
    families: dict[str, list[str]] = defaultdict(list)
    for network in seen.networks:
        families[recordings.family(network.name)].append(network.name)
    by_name = {network.name: network for network in seen.networks}
    whole: dict[str, list[float]] = defaultdict(list)
    kernels: dict[str, list[float]] = defaultdict(list)
    by_family: dict[str, float] = {}
    absent = []
    for family, names in families.items():
        fitted = []

        def fit_others(others: Observations) -> LatencyPredictor:
            fitted.append(fit(others))  # noqa: B023
            return replace(fitted[-1], table_us={})  # noqa: B023

        try:
            found = leave_out(
                seen, recordings.family, names=names, accept_unknown=True, fit=fit_others
            )
        except (PredictorError, UsageError) as problem:
            absent.append(str(problem))
            continue
        (predictor,) = fitted
        for result in found.networks:
            network, prediction = by_name[result.name], result.prediction
            assert network.listed_us is not None
            counts = np.array([len(network.kernels)])
            listed = predictor.calibration.apply(np.array([sum(network.listed_us)]), counts)
            (half,) = predictor.intervals.half_width(*np.zeros((3, 1)))
            whole["held_measured"].append(abs(np.log(listed[0] / network.latency_us)) <= half)
            whole["truth"].append(network.latency_us)
            whole["measured"].append(float(listed[0]))
            whole["predicted"].append(prediction.latency_ms * 1e3)
            whole["held_predicted"].append(result.within_bounds)
            whole["width"].append(prediction.high_ms / prediction.latency_ms - 1)
        by_family[family] = 100 * float(np.mean([abs(each.error) for each in found.networks]))
        for each in found.kernels:
            error = abs(each.predicted_us / each.measured_us - 1)
            kernels[kernel_class(each.kernel)].append(error)
    if not by_family:
        return {}, absent
    figures: dict[str, Any] = {}
    for method in ("measured", "predicted"):
        agreement = metrics(whole[method], whole["truth"])
        figures[method] = {
            "mape": 100 * agreement.mape,
            "within10": 100 * agreement.within10,
            "n": agreement.n,
            "intervals": 100 * float(np.mean(whole[f"held_{method}"])),
        }
    figures["predicted"] |= {
        "interval_width": 100 * float(np.median(whole["width"])),
        "families": by_family,
        "kernels": {
            name: {"mape": 100 * float(np.mean(errors)), "n": len(errors)}
            for name, errors in sorted(kernels.items())
        },
    }
    return figures, absent


def evaluate_folder(folder: Path, fit: Fit = fit) -> tuple[dict[str, Any], list[str]]:
    """Return figures of every device in a folder, and what has none and why."""
    document: dict[str, Any] = {}
    absent = []
    tables = []
    for name in (recordings.KERNELS, recordings.MODELS):
        try:
            tables.append(recordings.read_rows(folder / name))
        except (OSError, ValueError, csv.Error) as problem:
            absent.append(f"{name}: {getattr(problem, 'strerror', None) or problem}")
            continue
        if not tables[-1] or "model" not in tables[-1][0]:
            absent.append(f"{name}: no row with a model")
    if absent:
        return {}, absent
    kernels, models = tables
    devices = recordings.devices(kernels, models)
    for column in kernels[0]:
        device = (column or "").removesuffix(LISTED)
        if column != device and device not in devices:
            absent.append(f"{device}: no column {device}{WHOLE} in {recordings.MODELS}")
    for device in devices:
        try:
            seen = recordings.observations(kernels, models, device)
        except (LookupError, TypeError) as problem:
            absent.append(f"{device}: its rows cannot be read: {problem!r}")
            continue
        absent += [f"{device}: {name}: {reason}" for name, reason in seen.left_out.items()]
        if not seen.networks:
            absent.append(f"{device}: no network was measured whole")
            continue
        figures, missing = evaluate(seen, fit)
        absent += [f"{device}: {reason}" for reason in missing]
        if figures:
            document[device] = figures
        print(f"{seen.target}: done", file=sys.stderr)
    return document, absent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    devices, absent = evaluate_folder(arguments.data)
    if arguments.json:
        for reason in absent:
            print(f"absent: {reason}", file=sys.stderr)
    emit(devices or {"absent": absent}, arguments.json, _text(devices, absent))


def _text(devices: dict[str, Any], absent: list[str]) -> str:
    missing = "".join(f"\nabsent: {reason}" for reason in absent)
    rows = []
    for device, methods in devices.items():
        for method, found in methods.items():
            figures = f"{found['mape']:.1f}", f"{found['within10']:.0f}", str(found["n"])
            rows.append((device, method, *figures, f"{found['intervals']:.0f}"))
    header = ("device", "kernels", "MAPE %", "within 10%", "networks", "in 90% intervals")
    names = sorted({name for found in devices.values() for name in found["predicted"]["kernels"]})
    types = []
    for name in names:
        errors = [found["predicted"]["kernels"].get(name) for found in devices.values()]
        types.append((name, *(f"{each['mape']:.1f}" if each else "" for each in errors)))
    return (
        f"{table(header, rows)}\n\nMAPE % of kernels\n"
        f"{table(('kernels', *devices), types)}{missing}"
    )


if __name__ == "__main__":
    main()
