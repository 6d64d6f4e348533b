"""What a fitted predictor knows and rests on, as plain dictionaries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from latlas.predictor.few_shot import FewShotFit
    from latlas.predictor.predictor import LatencyPredictor


def describe_transfer(few: FewShotFit) -> dict[str, Any]:
    """Return what a predictor rests on beside its own table, as a plain dictionary."""
    mixture = few.predictor.mixture
    assert mixture is not None
    return {
        "expected_error": few.expected_error,
        "left_out_error": few.left_out_error,
        "networks": few.networks,
        "kernels_measured": few.listed,
        "left_out": dict(few.left_out),
        "sources": [
            {
                "target": source.target.to_json(),
                "speed": float(mixture.speeds[index]),
                "weights": {name: float(row[index]) for name, row in mixture.weights.items()},
            }
            for index, source in enumerate(mixture.sources)
        ],
    }


def describe(predictor: LatencyPredictor) -> dict[str, Any]:
    """Return what a predictor knows and how well, as a plain dictionary."""
    from collections import Counter
    from dataclasses import asdict

    from latlas.predictor.sizes import kernel_class

    mixed = predictor.mixture.weights if predictor.mixture is not None else {}
    kernels = Counter(kernel_class(kernel) for kernel in predictor.table_us)
    return {
        "target": predictor.target.to_json(),
        "fusion_rules": predictor.rules_version,
        "types": {
            kind: {
                "kernels": count,
                "learned": kind in predictor.forests or kind in mixed,
                "error": predictor.type_error.get(kind),
            }
            for kind, count in sorted(kernels.items())
        },
        "calibration": asdict(predictor.calibration),
        "intervals": asdict(predictor.intervals),
    }
