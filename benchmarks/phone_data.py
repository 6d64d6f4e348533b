"""Whole networks on real phones' GPUs, predicted by networks of other families.

    python benchmarks/phone_data.py --data DIR [--json]

DIR holds ``tflite_gpu_kernels.csv`` and ``tflite_cnn_models.csv`` of qed-usc/mobile-ml-benchmark,
or files of the same form; devices are discovered from their columns. Every family of networks is
left out in turn, and predicted by a predictor that was fitted on the others: ``measured`` sums the
listed times of its kernels and calibrates, ``predicted`` looks up no kernel at all, not even those
that other families share.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import phone_recordings as recordings

from latlas.console import emit, table
from latlas.predictor.fit import fit
from latlas.predictor.latencies import kernel_latencies
from latlas.predictor.metrics import metrics
from latlas.predictor.observations import Observations
from latlas.predictor.predictor import LatencyPredictor
from latlas.predictor.sizes import kernel_class

Fit = Callable[[Observations], LatencyPredictor]


def evaluate(seen: Observations, fit: Fit = fit) -> dict[str, Any]:
    """Leave out every family in turn; returns figures of both methods, in percent."""
    families: dict[str, list[str]] = defaultdict(list)
    for network in seen.networks:
        families[recordings.family(network.name)].append(network.name)
    whole: dict[str, list[float]] = defaultdict(list)
    kernels: dict[str, list[float]] = defaultdict(list)
    by_family: dict[str, float] = {}
    known = kernel_latencies(seen).latency_us
    for family, names in families.items():
        predictor = replace(fit(seen.without(names)), table_us={})
        networks = [network for network in seen.networks if network.name in names]
        found = predictor.predict_kernels([n.kernels for n in networks], accept_unknown=True)
        errors = []
        for network, prediction in zip(networks, found, strict=True):
            assert network.listed_us is not None
            counts = np.array([len(network.kernels)])
            listed = predictor.calibration.apply(np.array([sum(network.listed_us)]), counts)
            truth_ms = network.latency_us / 1e3
            errors.append(prediction.latency_ms / truth_ms - 1)
            (half,) = predictor.intervals.half_width(*np.zeros((3, 1)))
            whole["held_measured"].append(abs(np.log(listed[0] / network.latency_us)) <= half)
            whole["truth"].append(network.latency_us)
            whole["measured"].append(float(listed[0]))
            whole["predicted"].append(prediction.latency_ms * 1e3)
            whole["held_predicted"].append(prediction.low_ms <= truth_ms <= prediction.high_ms)
            whole["width"].append(prediction.high_ms / prediction.latency_ms - 1)
        by_family[family] = 100 * float(np.mean(np.abs(errors)))
        each = list(dict.fromkeys(kernel for network in networks for kernel in network.kernels))
        for kernel, time_us in zip(each, predictor.kernels_us(each)[0], strict=True):
            kernels[kernel_class(kernel)].append(abs(float(time_us) / known[kernel] - 1))
    result: dict[str, Any] = {}
    for method in ("measured", "predicted"):
        agreement = metrics(whole[method], whole["truth"])
        result[method] = {
            "mape": 100 * agreement.mape,
            "within10": 100 * agreement.within10,
            "n": agreement.n,
            "intervals": 100 * float(np.mean(whole[f"held_{method}"])),
        }
    result["predicted"] |= {
        "interval_width": 100 * float(np.median(whole["width"])),
        "families": by_family,
        "kernels": {
            name: {"mape": 100 * float(np.mean(errors)), "n": len(errors)}
            for name, errors in sorted(kernels.items())
        },
    }
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    paths = [arguments.data / name for name in (recordings.KERNELS, recordings.MODELS)]
    absent = [path for path in paths if not path.is_file()]
    if absent:
        print(f"absent: {', '.join(map(str, absent))}; both files are needed", file=sys.stderr)
        emit({}, arguments.json, "nothing to evaluate")
        return
    kernels, models = map(recordings.read_rows, paths)
    document = {}
    for device in recordings.devices(kernels, models):
        seen = recordings.observations(kernels, models, device)
        for name, reason in seen.left_out.items():
            print(f"{device}: {name} is left out: {reason}", file=sys.stderr)
        document[device] = evaluate(seen)
        print(f"{seen.target}: done", file=sys.stderr)
    emit(document, arguments.json, _text(document))


def _text(document: dict[str, Any]) -> str:
    rows = []
    for device, methods in document.items():
        for method, found in methods.items():
            figures = f"{found['mape']:.1f}", f"{found['within10']:.0f}", str(found["n"])
            rows.append((device, method, *figures, f"{found['intervals']:.0f}"))
    header = ("device", "kernels", "MAPE %", "within 10%", "networks", "in 90% intervals")
    names = sorted({name for found in document.values() for name in found["predicted"]["kernels"]})
    types = []
    for name in names:
        errors = [found["predicted"]["kernels"].get(name) for found in document.values()]
        types.append((name, *(f"{each['mape']:.1f}" if each else "" for each in errors)))
    return f"{table(header, rows)}\n\nMAPE % of kernels\n{table(('kernels', *document), types)}"


if __name__ == "__main__":
    main()
