"""``latlas search``: search a space for architectures that are accurate and fast."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from latlas.console import (
    FOLDER,
    chosen_space,
    emit,
    json_option,
    space_options,
    training_options,
)
from latlas.lazy_group import LazyGroup
from latlas.searching import (
    Search,
    Workers,
    front_documents,
    front_text,
    open_reward,
    run_search,
)
from latlas.targets import DeviceChoice, oracle_options

if TYPE_CHECKING:
    from latlas.search.latency import LatencySource
    from latlas.search.objectives import Constraint, Objective
    from latlas.search.protocols import Searcher, Trial
    from latlas.search.rewards import Reward
    from latlas.search.spaces import Space
    from latlas.search.study import Study

F = TypeVar("F", bound=Callable[..., Any])

SUBCOMMANDS = {
    "export": "Train what a search chose, write it as .tflite files and measure them.",
    "compare": "Compare searchers, latency targets, or fronts found for different devices.",
}
"""What is done with studies, and what the overview says of it: modules ``search_NAME``."""


def goal_options(command: F) -> F:
    """Add the options that say what is searched for."""
    options = [
        click.option(
            "--objective",
            "objectives",
            metavar="METRIC:max|min[:WEIGHT]",
            multiple=True,
            help="What to optimise; may be given again. By default accuracy:max:2, every latency "
            "with min:2, and params:max:1, as MoGA does.",
        ),
        click.option(
            "--weights",
            metavar="A:L:P",
            help="Weights of accuracy, latencies and parameters, if no --objective is given.",
        ),
        click.option(
            "--max",
            "most",
            metavar="METRIC=LIMIT",
            multiple=True,
            help="A constraint, e.g. latency_ms=75 or params=6e6; may be given again.",
        ),
        click.option(
            "--min",
            "least",
            metavar="METRIC=LIMIT",
            multiple=True,
            help="A constraint, e.g. accuracy=0.7; may be given again.",
        ),
        click.option(
            "--screen",
            is_flag=True,
            help="Do not train architectures that break a constraint on size or latency.",
        ),
        click.option(
            "--reward",
            metavar="accuracy|soft|hard|absolute",
            help="Of evolution and ppo: MnasNet's soft or hard, TuNAS' absolute; by default the "
            "accuracy alone.",
        ),
        click.option(
            "--target-ms",
            type=click.FloatRange(0, min_open=True),
            metavar="MS",
            help="The latency that the reward aims at.",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def worker_options(command: F) -> F:
    """Add the options that say who evaluates; the command gets them as ``workers``."""
    options = [
        click.option(
            "--workers",
            type=click.IntRange(1, 10_000),
            default=1,
            show_default=True,
            help="Evaluate so many architectures at a time, with Ray.",
        ),
        click.option(
            "--ray-address",
            metavar="HOST:PORT",
            default="",
            help="A Ray cluster whose machines evaluate; by default this machine does.",
        ),
        click.option(
            "--gpus-per-evaluation",
            type=click.FloatRange(0, 1000),
            default=0.0,
            show_default=True,
            help="GPUs that a worker takes, as Ray counts them.",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@click.group(
    "search",
    cls=LazyGroup,
    modules="latlas.commands.search_",
    overview=SUBCOMMANDS,
    invoke_without_command=True,
    subcommand_metavar="[COMMAND]",
)
@click.option(
    "--space",
    metavar="NAME|toml:FILE|MODULE:NAME",
    default="moga",
    show_default=True,
    help="moga, fairnas, mnasnet, nasnet, or one of your own: a TOML file, or a class derived from "
    "latlas.search.spaces.Space.",
)
@click.option(
    "--searcher",
    metavar="nsga2|evolution|ppo|random|MODULE:NAME",
    default="nsga2",
    show_default=True,
    help="nsga2: weighted NSGA-II (MoGA).",
)
@click.option(
    "--set-searcher",
    metavar="KEY=VALUE",
    multiple=True,
    help="A setting of the searcher, e.g. population=40; may be given again.",
)
@click.option(
    "--latency",
    "latencies",
    metavar="[NAME=]SOURCE",
    multiple=True,
    help="Where latencies come from: a predictor, a table, or a device itself, written "
    "device:local/cpu or device:SERIAL[,SERIAL]/gpu. May be given again for more targets, with "
    "names: latency_ms is the first's, latency_ms@NAME every other's.",
)
@click.option(
    "--accuracy",
    metavar="supernet|train:RECIPE|table:FILE|MODULE:NAME",
    default="supernet",
    show_default=True,
    help="Where accuracies come from: a supernet, training each alone by a recipe, a recorded "
    "table, or MODULE:NAME, a function of yours, of genes.",
)
@training_options
@click.option("-o", "--output", type=FOLDER, help="The study's folder.")
@click.option("--evaluations", type=click.IntRange(1), default=400, show_default=True)
@click.option(
    "--samples",
    type=click.IntRange(1),
    help="End after the searcher has asked so often, repeated architectures included.",
)
@click.option("--population", type=click.IntRange(4, 10_000), help="--set-searcher population=…")
@click.option(
    "--resolution",
    type=click.IntRange(1, 4096),
    default=224,
    show_default=True,
    help="Height and width of the input of the networks whose latency counts.",
)
@space_options
@goal_options
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--tflite", is_flag=True, help="Write the front's networks as .tflite files too.")
@worker_options
@oracle_options
@json_option
def main(
    space: str,
    searcher: str,
    set_searcher: tuple[str, ...],
    latencies: tuple[str, ...],
    accuracy: str,
    dataset: str,
    epochs: int | None,
    folds: int,
    repeats: int,
    output: Path | None,
    evaluations: int,
    samples: int | None,
    population: int | None,
    resolution: int,
    width: float | None,
    classes: int | None,
    settings: tuple[str, ...],
    objectives: tuple[str, ...],
    weights: str | None,
    most: tuple[str, ...],
    least: tuple[str, ...],
    screen: bool,
    reward: str | None,
    target_ms: float | None,
    seed: int,
    tflite: bool,
    workers: int,
    ray_address: str,
    gpus_per_evaluation: float,
    choice: DeviceChoice,
    as_json: bool,
) -> None:
    """Search for architectures that are accurate and fast.

    An interrupted search goes on where it was when the same command is given again.

    \b
    latlas search --space moga --latency here-cpu.latlas --accuracy supernet \\
        --dataset digits -o studies/first
    """
    if click.get_current_context().invoked_subcommand is not None:
        return
    from latlas.profiler.errors import UsageError
    from latlas.search.accuracy import AccuracyChoice, open_accuracy
    from latlas.search.latency import read_sources
    from latlas.search.spaces import parse_settings

    if output is None:
        raise UsageError("-o is missing: the study's folder")
    team = Workers(workers, ray_address, gpus_per_evaluation)
    if team.gpus and not team.distributed:
        raise UsageError(
            "--gpus-per-evaluation is for --workers or --ray-address: one search on this machine "
            "has all of its GPUs"
        )
    sources = read_sources(latencies)
    opened = chosen_space(space, resolution, width, classes, settings)
    goals = read_objectives(objectives, weights, sources)
    limits = read_constraints(most, least, sources)
    given = parse_settings(set_searcher, "--set-searcher")
    if population is not None:
        if "population" in given:
            raise UsageError("--population and --set-searcher population=… are one: give one")
        given["population"] = str(population)
    search = Search(
        opened,
        open_searcher(searcher, opened, goals, limits, open_reward(reward, target_ms), seed, given),
        sources,
        open_accuracy(AccuracyChoice(accuracy, opened, output, dataset, epochs, folds, repeats)),
        goals,
        limits,
        evaluations,
        samples,
        screen,
        choice,
        team,
    )
    found = run_search(output, search)
    if tflite:
        write_front(found.study, opened, found.front)
    front = front_documents(found, search.accuracy)
    document = {
        "study": str(output),
        "targets": {
            metric: identity["target"]
            for metric, identity in found.study.settings["latency"].items()
        },
        "tried": len(found.study.history),
        "accuracy": found.report,
        "front": front,
    }
    emit(document, as_json, front_text(front, found.oracle.standard_error))


def open_searcher(
    name: str,
    space: Space,
    objectives: Sequence[Objective],
    constraints: Sequence[Constraint],
    reward: Reward | None,
    seed: int,
    settings: dict[str, str],
) -> Searcher:
    """Return the searcher that is named.

    Raises:
        UsageError: there is none, or it has no such setting, or takes no reward.
    """
    from latlas.profiler.errors import UsageError
    from latlas.search import searchers

    if reward is not None and name in ("nsga2", "random"):
        raise UsageError(f"--reward is for evolution and ppo; {name} knows objectives alone")
    return searchers.open_searcher(
        name, space, objectives, constraints, reward, seed=seed, settings=settings
    )


def read_metric(text: str, option: str, sources: Sequence[LatencySource]) -> str:
    """Return the metric that a user names; ``latency`` will do for ``latency_ms``.

    Raises:
        UsageError: there is no such metric in this search.
    """
    from latlas.profiler.errors import UsageError

    known = {name: name for name in ("accuracy", "params", "madds")}
    for source in sources:
        own = source.metric.removeprefix("latency_ms")
        known |= {f"latency_ms{own}": source.metric, f"latency{own}": source.metric}
        if source.name:
            known |= {
                f"latency_ms@{source.name}": source.metric,
                f"latency@{source.name}": source.metric,
            }
    if text not in known:
        metrics = ", ".join(dict.fromkeys(known.values()))
        raise UsageError(f"{option}: no metric {text!r:.80} in this search; there are {metrics}")
    return known[text]


def read_objectives(
    texts: Sequence[str], weights: str | None, sources: Sequence[LatencySource]
) -> list[Objective]:
    """Return the objectives of a search.

    Raises:
        UsageError: a text is no objective, or objectives and weights are both given.
    """
    from latlas.profiler.errors import SearchError, UsageError
    from latlas.search.objectives import Objective

    if not texts:
        accuracy, latency, params = parse_weights(weights or "2:2:1")
        return [
            Objective("accuracy", "max", accuracy),
            *(Objective(source.metric, "min", latency) for source in sources),
            Objective("params", "max", params),
        ]
    if weights is not None:
        raise UsageError("--weights and --objective are two ways to say the same: give one")
    found = []
    for text in texts:
        option = f"--objective {text}"
        metric, *rest = text.split(":")
        try:
            direction, weight = rest[0], float(rest[1]) if len(rest) > 1 else 1.0
            if len(rest) > 2 or direction not in ("max", "min"):
                raise ValueError
            name = read_metric(metric, option, sources)
            found.append(Objective(name, "max" if direction == "max" else "min", weight))
        except (IndexError, ValueError, SearchError) as problem:
            raise UsageError(
                f"{option}: an objective is METRIC:max|min:WEIGHT, e.g. accuracy:max:2"
            ) from problem
    if len({one.metric for one in found}) < len(found):
        raise UsageError("--objective: a metric is there twice")
    return found


def read_constraints(
    most: Sequence[str], least: Sequence[str], sources: Sequence[LatencySource]
) -> list[Constraint]:
    """Return the constraints of a search.

    Raises:
        UsageError: a text is no constraint.
    """
    from latlas.profiler.errors import SearchError, UsageError
    from latlas.search.objectives import Constraint

    found = []
    for bound, texts in (("max", most), ("min", least)):
        for text in texts:
            name, _, limit = text.partition("=")
            metric = read_metric(name, f"--{bound} {text}", sources)
            try:
                found.append(Constraint(metric, "max" if bound == "max" else "min", float(limit)))
            except (ValueError, SearchError) as problem:
                raise UsageError(
                    f"--{bound} {text}: a constraint is METRIC=LIMIT, e.g. latency_ms=75"
                ) from problem
    return found


def parse_weights(text: str) -> list[float]:
    """Return the numbers of ``2:2:1``.

    >>> parse_weights("2:2:1")
    [2.0, 2.0, 1.0]

    Raises:
        UsageError: the text is not three numbers, one of them positive.
    """
    from latlas.profiler.errors import UsageError

    try:
        numbers = [float(part) for part in text.split(":")]
    except ValueError:
        numbers = []
    if len(numbers) != 3 or not all(0 <= n < 1e6 for n in numbers) or not sum(numbers):
        raise UsageError(f"--weights takes three numbers such as 2:2:1, not {text!r}")
    return numbers


def write_front(study: Study, space: Space, front: Sequence[Trial]) -> None:
    """Write the networks of a front as .tflite files with random weights.

    Where the first target is one of int8, they are quantised.
    """
    from latlas.profiler.errors import SearchError
    from latlas.profiler.files import write_atomically
    from latlas.profiler.quantise import for_precision
    from latlas.profiler.tflite.writer import to_tflite
    from latlas.studies import target_of

    precision = target_of(study).precision
    for rank, trial in enumerate(front, start=1):
        path = study.folder / "architectures" / f"{rank}.tflite"
        with write_atomically(path, SearchError) as file:
            file.write(to_tflite(for_precision(space.decode(trial.genes), precision)))
