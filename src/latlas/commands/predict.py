"""``latlas predict``: predict the latency of .tflite models."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from latlas.console import (
    FILE,
    emit,
    input_shapes_option,
    json_option,
    load_models,
    model_files,
    say,
    table,
)

if TYPE_CHECKING:
    from latlas.predictor.coverage import KernelShare
    from latlas.predictor.predictor import KernelEstimates, LatencyPredictor
    from latlas.profiler.graph import Graph
    from latlas.profiler.kernel import Kernel

BATCH = 64
"""Models that are read and predicted at once."""

MANY = 20
"""So many models take long enough for a progress bar."""

NAMED = 5
"""Unknown kernels that an error names."""


@click.command("predict")
@click.argument("models", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option("--with", "predictor_file", type=FILE, required=True, help="What `latlas fit` wrote.")
@click.option(
    "--accept-unknown",
    is_flag=True,
    help="Estimate kernels that nothing is known about; such a latency is marked with a ~.",
)
@click.option("--kernels", is_flag=True, help="List every kernel with its latency and its source.")
@click.option("--csv", "as_csv", is_flag=True, help="Print comma-separated values.")
@input_shapes_option
@json_option
def main(
    models: tuple[Path, ...],
    predictor_file: Path,
    accept_unknown: bool,
    kernels: bool,
    as_csv: bool,
    input_shape: tuple[str, ...],
    as_json: bool,
) -> None:
    """Predict the latency of MODELS: .tflite, .keras, .onnx, .pt2, SavedModels, or folders of them.

    Bounds should hold nine networks in ten. The shares say how much of the latency comes from
    kernels that were measured, predicted, and unknown, or transferred from other devices.

    \b
    latlas predict model.tflite --with here-cpu.latlas
    latlas predict my_models/ --with here-cpu.latlas --csv
    """
    from latlas.predictor import file
    from latlas.profiler.errors import UsageError

    if as_csv and as_json:
        raise UsageError("--csv or --json, not both")
    predictor = file.load(predictor_file)
    documents = list(_documents(predictor, models, input_shape, kernels))
    unknown = {d["model"]: d["unknown"] for d in documents if d["unknown"]}
    if unknown and not accept_unknown:
        raise _unknown_kernels(unknown, predictor)
    for name, texts in unknown.items():
        say(f"{name}: {len(texts)} unknown kernel(s) are estimated")
    document = {"target": predictor.target.to_json(), "predictions": documents}
    if as_csv:
        print(_csv(documents, kernels), end="")
        return
    emit(document, as_json, "" if as_json else _text(predictor, documents, kernels))


def _documents(
    predictor: LatencyPredictor, models: Sequence[Path], input_shape: Sequence[str], listed: bool
) -> Iterator[dict[str, Any]]:
    """Read and predict models batch by batch, unknown kernels accepted; `listed` lists kernels."""
    from tqdm import tqdm

    from latlas.profiler.kernel import split
    from latlas.profiler.quantise import for_precision

    rules = predictor.rules
    files = model_files(models)
    with tqdm(total=len(files), unit="model", disable=None if len(files) >= MANY else True) as bar:
        for start in range(0, len(files), BATCH):
            graphs = load_models(files[start : start + BATCH], input_shape)
            precision = predictor.target.precision
            networks = [split(for_precision(graph, precision), rules) for graph in graphs.values()]
            estimates = predictor.estimate([k for kernels in networks for k in kernels])
            predictions = predictor.predict_kernels(
                networks, accept_unknown=True, estimates=estimates
            )
            shares = _shares(predictor, networks, estimates)
            for (name, graph), prediction, kernels in zip(
                graphs.items(), predictions, shares, strict=True
            ):
                yield {
                    "model": name,
                    **asdict(prediction),
                    "unknown_share": prediction.unknown_share,
                    "estimate": bool(prediction.unknown),
                    **_coverage(kernels, listed),
                    **_size(graph),
                }
            bar.update(len(graphs))


def _shares(
    predictor: LatencyPredictor,
    networks: Sequence[Sequence[Kernel]],
    estimates: KernelEstimates,
) -> Iterator[tuple[KernelShare, ...]]:
    import numpy as np

    from latlas.predictor.coverage import kernel_shares

    lengths = np.array([len(kernels) for kernels in networks], np.int64)
    times_us = predictor.within_us(estimates, lengths)
    start = 0
    for kernels in networks:
        part = slice(start, start + len(kernels))
        start = part.stop
        yield kernel_shares(kernels, times_us[part], estimates.source[part])


def _coverage(kernels: Sequence[KernelShare], listed: bool) -> dict[str, Any]:
    from latlas.predictor.coverage import coverage_by_type

    by_type = {kind: asdict(each) for kind, each in coverage_by_type(kernels).items()}
    kernel_list = {"kernel_list": [asdict(kernel) for kernel in kernels]} if listed else {}
    return {"coverage": by_type, **kernel_list}


def _size(graph: Graph) -> dict[str, int]:
    from latlas.profiler.count import count

    size = count(graph)
    # A .tflite holds folded batch norm: these are stored numbers, not learned ones.
    return {"stored_params": size.params, "madds": size.madds, "se_madds": size.se_madds}


def _unknown_kernels(unknown: dict[str, tuple[str, ...]], predictor: LatencyPredictor) -> Exception:
    from latlas.profiler.errors import UnknownKernelError

    texts = list(dict.fromkeys(text for each in unknown.values() for text in each))
    named = ", ".join(map(repr, texts[:NAMED]))
    more = f" and {len(texts) - NAMED} more" if len(texts) > NAMED else ""
    models = ", ".join(list(unknown)[:NAMED]) + (" …" if len(unknown) > NAMED else "")
    return UnknownKernelError(
        f"nothing is known about {len(texts)} kernel(s) of {models} on {predictor.target}: "
        f"{named}{more}; profile the model(s) with `latlas profile --models` into the same table "
        "and fit again, or accept an estimate with --accept-unknown"
    )


_COLUMNS = (
    *("model", "latency_ms", "low_ms", "high_ms", "estimate", "kernels"),
    *("measured_share", "transferred_share", "predicted_share", "unknown_share"),
    *("madds", "se_madds", "stored_params"),
)


def _csv(documents: Sequence[dict[str, Any]], kernels: bool) -> str:
    """Return a line for every model, or for every kernel of every model."""
    columns: Sequence[str] = _COLUMNS
    rows: list[dict[str, Any]] = list(documents)
    if kernels:
        columns = ("model", "kernel", "type", "latency_us", "share", "source")
        rows = [{"model": d["model"], **kernel} for d in documents for kernel in d["kernel_list"]]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _text(predictor: LatencyPredictor, documents: Sequence[dict[str, Any]], kernels: bool) -> str:
    sources = _sources(predictor)
    rows = [
        (
            d["model"],
            f"{'~' if d['estimate'] else ''}{d['latency_ms']:.3f}",
            f"{d['low_ms']:.3f}",
            f"{d['high_ms']:.3f}",
            *(f"{d[f'{source}_share']:.0%}" for source in sources),
            f"{d['madds'] / 1e6:.1f}",
            f"{d['stored_params']:,}",
        )
        for d in documents
    ]
    header = ("model", "latency ms", "low", "high", *sources)
    lines = [f"target: {predictor.target}", ""]
    lines.append(table((*header, "MAdds M", "stored params"), rows))
    if any(d["estimate"] for d in documents):
        lines.append("~ an estimate: it has kernels that nothing is known about")
    if predictor.mixture is not None:
        names = "; ".join(str(source.target) for source in predictor.mixture.sources)
        lines.append(f"transferred: not measured here, but follows from {names}")
    for d in documents:
        if d["extrapolated"]:
            lines.append(
                f"{d['model']}: {len(d['extrapolated'])} predicted kernel(s) lie outside the range "
                "of those measured (--json names them)"
            )
    if len(documents) == 1 or kernels:
        for d in documents:
            lines += ["", f"{d['model']}: {d['kernels']} kernels"]
            lines.append(_coverage_table(d["coverage"], sources))
            lines += ["", _kernel_table(d["kernel_list"])] if kernels else []
    return "\n".join(lines)


def _sources(predictor: LatencyPredictor) -> tuple[str, ...]:
    """Return where latencies of kernels can come from."""
    transferred = () if predictor.mixture is None else ("transferred",)
    return ("measured", *transferred, "predicted", "unknown")


def _coverage_table(coverage: dict[str, dict[str, Any]], sources: Sequence[str]) -> str:
    rows = [
        (
            kind,
            f"{sum(each[f'{source}_share'] for source in sources):.1%}",
            *(f"{each[source]} ({each[f'{source}_share']:.1%})" for source in sources),
        )
        for kind, each in coverage.items()
    ]
    return table(("kernel type", "share", *sources), rows)


def _kernel_table(kernels: Sequence[dict[str, Any]]) -> str:
    rows = [
        (k["kernel"], k["type"], f"{k['latency_us']:.1f}", f"{k['share']:.1%}", k["source"])
        for k in kernels
    ]
    return table(("kernel", "type", "us", "share", "source"), rows)
