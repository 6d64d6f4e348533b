"""``latlas fit``: learn a predictor from a latency table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from latlas.console import FILE, FOLDER, emit, json_option, table

if TYPE_CHECKING:
    from latlas.predictor.predictor import LatencyPredictor


@click.command("fit")
@click.argument("folder", metavar="TABLE", type=FOLDER)
@click.option("-o", "--output", type=FILE, required=True, help="The predictor file to write.")
@click.option("--seed", type=int, default=0, show_default=True)
@json_option
def main(folder: Path, output: Path, seed: int, as_json: bool) -> None:
    """Learn a predictor from the latency table TABLE and write it to a file."""
    from latlas.predictor import file
    from latlas.predictor.fit import fit
    from latlas.predictor.observations import observe
    from latlas.profiler.table import Table

    predictor = fit(observe(Table.open(folder)), seed=seed)
    file.save(predictor, output)
    document = describe(predictor) | {"predictor": str(output), "bytes": output.stat().st_size}
    rows = [
        (kind, n["kernels"], f"{n['error']:.1%}" if n["error"] is not None else "look-up only")
        for kind, n in document["types"].items()
    ]
    calibration = predictor.calibration
    text = "\n".join(
        [
            f"target: {predictor.target}, fusion rules {predictor.rules_version.split(' ')[0]}",
            table(("kernel type", "measured", "error when left out"), rows),
            f"whole networks: {calibration.a:.3f} * sum + {calibration.b_us:.2f} us * kernels + "
            f"{calibration.c_us:.1f} us, error {calibration.error:.1%} on each of "
            f"{calibration.networks} networks left out of this fit in turn",
            f"wrote {output} ({document['bytes'] / 1e3:.0f} kB)",
        ]
    )
    emit(document, as_json, text)


def describe(predictor: LatencyPredictor) -> dict[str, Any]:
    """Return what a predictor knows and how well, as a plain dictionary."""
    from collections import Counter
    from dataclasses import asdict

    from latlas.predictor.sizes import kernel_class

    kernels = Counter(kernel_class(kernel) for kernel in predictor.table_us)
    return {
        "target": predictor.target.to_json(),
        "fusion_rules": predictor.rules_version,
        "types": {
            kind: {"kernels": count, "error": predictor.type_error.get(kind)}
            for kind, count in sorted(kernels.items())
        },
        "calibration": asdict(predictor.calibration),
    }
