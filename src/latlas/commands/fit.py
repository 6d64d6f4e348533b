"""``latlas fit``: learn a predictor from a latency table, and from those of other devices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from latlas.campaigns import known_measurements
from latlas.console import (
    FILE,
    FOLDER,
    chosen_space,
    emit,
    input_shapes_option,
    json_option,
    load_models,
    space_options,
    table,
    warmup_option,
)
from latlas.fitted import describe, describe_transfer
from latlas.targets import DeviceChoice, target_options
from latlas.workloads import GENERAL

if TYPE_CHECKING:
    from latlas.few_shot import SourceTables
    from latlas.predictor.few_shot import FewShotFit
    from latlas.predictor.predictor import LatencyPredictor
    from latlas.profiler.graph import Graph
    from latlas.search.spaces import Space


@click.command("fit")
@click.argument("folder", metavar="[TABLE]", type=FOLDER, required=False)
@click.option("-o", "--output", type=FILE, help="The predictor file to write.")
@click.option(
    "--from",
    "sources",
    type=click.Path(path_type=Path, exists=True),
    multiple=True,
    help="A table of another device, or a predictor fitted on one: what few measurements on this "
    "device leave open follows from it. Once for every device.",
)
@click.option(
    "--few-shot",
    "count",
    metavar="N",
    type=click.IntRange(5, 1000),
    help="Measure first: N networks on the new device that tell most about it, into --table.",
)
@click.option("--table", "new", type=FOLDER, help="--few-shot: the new device's table.")
@click.option(
    "--plan",
    "only_plan",
    is_flag=True,
    help="--few-shot: show what would be measured and how good the predictor is expected to be.",
)
@click.option(
    "--space",
    help="--few-shot: choose networks of this space; `general` are random ones of every family. "
    "If unset, those that the tables of --from hold.",
)
@click.option(
    "--models",
    type=click.Path(path_type=Path),
    multiple=True,
    help="--few-shot: choose among model files, or those of a folder.",
)
@click.option(
    "--resolution",
    type=click.IntRange(1, 4096),
    help="--few-shot: height and width of the input of the space's networks, by default 224.",
)
@space_options
@warmup_option
@input_shapes_option
@target_options
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@json_option
def main(
    folder: Path | None,
    output: Path | None,
    sources: tuple[Path, ...],
    count: int | None,
    new: Path | None,
    only_plan: bool,
    space: str | None,
    models: tuple[Path, ...],
    resolution: int | None,
    width: float | None,
    classes: int | None,
    settings: tuple[str, ...],
    warmup_ms: float | None,
    input_shape: tuple[str, ...],
    choice: DeviceChoice,
    seed: int,
    as_json: bool,
) -> None:
    """Learn a predictor from the latency table TABLE and write it to a file.

    With --from, TABLE may hold as few as five networks: kernels that it does not show follow from
    other devices' tables. With --few-shot, the networks are chosen and measured first.

    \b
    latlas fit tables/here-cpu -o here-cpu.latlas
    latlas fit --few-shot 20 --from tables/a --from tables/b --device SERIAL --delegate gpu \\
        --table tables/new -o new.latlas
    """
    from latlas.few_shot import open_sources

    sized = resolution is not None or width is not None or classes is not None or bool(settings)
    if count is None:
        measuring = {
            "--table": new is not None,
            "--plan": only_plan,
            "--space": space is not None,
            "--models": bool(models),
            "--resolution, --width, --classes or --set": sized,
            "--warmup-ms": warmup_ms is not None,
            "--input-shape": bool(input_shape),
            "--device and its options": choice != DeviceChoice(),
        }
        _require_no_measuring(folder, [name for name, value in measuring.items() if value])
        output = _required(output)
        assert folder is not None
        known = open_sources(sources, seed) if sources else None
        _fit(folder, known, known.networks if known else {}, output, seed, {}, as_json)
        return
    _require_measuring(folder, sources, new, only_plan, space, sized)
    from latlas.few_shot import measure_few, plan_few, pool_of, with_precision

    if not only_plan:
        output = _required(output)
    known = open_sources(sources, seed)
    choice = with_precision(choice, known)
    opened: Space | None = None
    if space is not None and space != GENERAL:
        opened = chosen_space(space, resolution, width, classes, settings)
    loaded = load_models(models, input_shape)
    pool = pool_of(known, opened, space == GENERAL, loaded, count, seed)
    if only_plan:
        planned = plan_few(known, pool, count, choice, known_measurements(new), seed=seed)
        emit({"plan": planned.to_json()}, as_json, planned.text)
        return
    assert new is not None
    assert output is not None
    measured = measure_few(known, pool, count, choice, new, warmup_ms=warmup_ms, seed=seed)
    _fit(new, known, pool, output, seed, measured, as_json)


def _require_no_measuring(folder: Path | None, given: Sequence[str]) -> None:
    from latlas.profiler.errors import UsageError

    if given:
        raise UsageError(f"{', '.join(given)}: only with --few-shot, which measures")
    if folder is None:
        raise UsageError("say which table to learn from: latlas fit TABLE -o FILE")


def _require_measuring(
    folder: Path | None,
    sources: Sequence[Path],
    new: Path | None,
    only_plan: bool,
    space: str | None,
    sized: bool,
) -> None:
    from latlas.profiler.errors import UsageError

    if not sources:
        raise UsageError("--few-shot needs tables of other devices: give --from once for each")
    if folder is not None:
        raise UsageError(
            f"--few-shot measures into a table: give it as --table {folder}, or leave --few-shot "
            "away to fit what was measured"
        )
    if new is None and not only_plan:
        raise UsageError("say where the figures go: --table tables/NAME (or --plan to see a plan)")
    if sized and space in (None, GENERAL):
        raise UsageError(
            "--resolution, --width, --classes and --set are for the networks of a search space: "
            "give one with --space"
        )


def _required(output: Path | None) -> Path:
    from latlas.profiler.errors import UsageError

    if output is None:
        raise UsageError("say which file to write: -o FILE")
    return output


def _fit(
    folder: Path,
    sources: SourceTables | None,
    networks: Mapping[str, Graph],
    output: Path,
    seed: int,
    measured: dict[str, Any],
    as_json: bool,
) -> None:
    """Fit, write and tell; `measured` is what was done before."""
    from latlas.predictor import file
    from latlas.predictor.fit import fit
    from latlas.predictor.observations import observe
    from latlas.profiler.table import Table

    few = None
    if sources is None:
        predictor = fit(observe(Table.open(folder)), seed=seed)
    else:
        from latlas.few_shot import fit_table

        few = fit_table(folder, sources, networks, seed)
        predictor = few.predictor
    file.save(predictor, output)
    document = measured | describe(predictor)
    document |= {"predictor": str(output), "bytes": output.stat().st_size}
    if few is not None:
        document["transfer"] = describe_transfer(few)
    emit(document, as_json, _text(predictor, few, document))


def _error(learned: bool, error: float | None) -> str:
    if error is None:
        return "not known" if learned else "look-up only"
    return f"{error:.1%}"


def _text(predictor: LatencyPredictor, few: FewShotFit | None, document: dict[str, Any]) -> str:
    calibration = predictor.calibration
    rows = [
        (kind, n["kernels"], _error(n["learned"], n["error"]))
        for kind, n in document["types"].items()
    ]
    rules = predictor.rules_version.split(" ")[0]
    lines = [f"target: {predictor.target}, fusion rules {rules}"]
    if rows:
        lines.append(table(("kernel type", "measured", "error when left out"), rows))
    lines.append(
        f"whole networks: {calibration.a:.3f} * sum + {calibration.b_us:.2f} us * kernels + "
        f"{calibration.c_us:.1f} us, error {calibration.error:.1%} on each of "
        f"{calibration.networks} networks left out of this fit in turn"
    )
    if not predictor.intervals.networks:
        lines.append(
            "how far predictions are off is not known: no network could be predicted from the "
            "others, so bounds are wide"
        )
    if few is not None:
        lines += _transfer_text(few, document["transfer"])
    lines.append(f"wrote {document['predictor']} ({document['bytes'] / 1e3:.0f} kB)")
    return "\n".join(lines)


def _transfer_text(few: FewShotFit, document: dict[str, Any]) -> list[str]:
    sources = document["sources"]
    rows: dict[tuple[str, ...], list[str]] = {}
    for kind in sources[0]["weights"]:
        cells = tuple(f"{source['weights'][kind]:.2f}" for source in sources)
        rows.setdefault(cells, []).append(kind)
    most = max(rows, key=lambda cells: len(rows[cells]))  # of which no network says anything
    counted = [(kind, *cells) for cells, kinds in rows.items() if cells != most for kind in kinds]
    counted.append(("all others" if counted else "all", *most))
    numbers = [str(index + 1) for index in range(len(sources))]
    mixture = few.predictor.mixture
    assert mixture is not None
    named = zip(numbers, mixture.sources, strict=True)
    lines = [f"source {number}: {source.target}" for number, source in named]
    heads = [f"us of source {number} counts" for number in numbers]
    lines.append(table(("kernel type", *heads), counted))
    lines += [f"not learned from: {name} has {text!r}" for name, text in few.left_out.items()]
    lines.append(
        f"expected mean error on networks that were not measured: {few.expected_error:.1%}; "
        f"each of the {few.networks} measured, from the others' whole latencies: "
        f"{few.left_out_error:.1%}"
    )
    return lines
