"""``latlas predict``: predict the latency of .tflite models."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from latlas.console import FILE, emit, input_shapes_option, json_option, load_models, say, table


@click.command("predict")
@click.argument("models", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option("--with", "predictor_file", type=FILE, required=True, help="What `latlas fit` wrote.")
@click.option(
    "--accept-unknown",
    is_flag=True,
    help="Count kernels that nothing is known about as average ones.",
)
@input_shapes_option
@json_option
def main(
    models: tuple[Path, ...],
    predictor_file: Path,
    accept_unknown: bool,
    input_shape: tuple[str, ...],
    as_json: bool,
) -> None:
    """Predict the latency of MODELS (.tflite files or folders of them).

    Bounds should hold nine networks in ten. The shares say how much of the latency comes from
    kernels that were measured, predicted, and guessed.
    """
    from latlas.predictor import file
    from latlas.profiler.count import count

    predictor = file.load(predictor_file)
    graphs = load_models(models, input_shape)
    predictions = predictor.predict(list(graphs.values()), accept_unknown=accept_unknown)
    documents = []
    for (name, graph), prediction in zip(graphs.items(), predictions, strict=True):
        size = count(graph)
        documents.append(
            {"model": name}
            | asdict(prediction)
            | {
                "unknown_share": prediction.unknown_share,
                # A .tflite holds folded batch norm: these are stored numbers, not learned ones.
                "stored_params": size.params,
                "madds": size.madds,
                "se_madds": size.se_madds,
            }
        )
        if prediction.unknown:
            say(f"{name}: {len(prediction.unknown)} unknown kernel(s) count as average ones")
    rows = [
        (
            d["model"],
            f"{d['latency_ms']:.3f}",
            f"{d['low_ms']:.3f}",
            f"{d['high_ms']:.3f}",
            f"{d['measured_share']:.0%}",
            f"{d['predicted_share']:.0%}",
            f"{d['unknown_share']:.0%}",
            f"{d['madds'] / 1e6:.1f}",
            f"{d['stored_params']:,}",
        )
        for d in documents
    ]
    header = (
        "model",
        "latency ms",
        "low",
        "high",
        "measured",
        "predicted",
        "unknown",
        "MAdds M",
        "stored params",
    )
    text = f"target: {predictor.target}\n\n{table(header, rows)}"
    emit({"target": predictor.target.to_json(), "predictions": documents}, as_json, text)
