"""What a search tried and found."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from latlas.predictor.metrics import metrics
from latlas.profiler.errors import LatlasError, SearchError, TableError
from latlas.profiler.table import JOURNAL, Table
from latlas.profiler.target import Target
from latlas.report.architecture_drawing import architecture_drawing
from latlas.report.architecture_words import ArchitectureWords
from latlas.report.figure import MAX_VALUE, Axis, Block, Chart, Facts, Section, Series, Text, grid
from latlas.report.text import duration, latency, percent
from latlas.search.objectives import (
    Constraint,
    Objective,
    front_of,
    is_feasible,
    objective_values,
)
from latlas.search.pareto import Direction, hypervolume, pareto_front
from latlas.search.protocols import Trial
from latlas.search.rewards import Reward, Score, open_reward
from latlas.search.spaces import Space, restore_space
from latlas.search.study import Study
from latlas.verification import verified_folder, verified_id

LATENCY = "latency_ms"
DRAWN = 6
"""Architectures of the front that are drawn."""

LISTED = 40
"""Architectures of the front in the list."""

MAX_OBJECTIVES = 4
"""The hypervolume of more would take too long."""

CHECKPOINTS = 60
"""Places at which the hypervolume is worked out."""


def study_report(study: Study, name: str) -> list[Section]:
    """Return the sections on one study.

    Args:
        study: is read only.
        name: what the user calls it.

    Raises:
        SearchError: its settings or its history are damaged.
        TableError: a table that `latlas verify` wrote is damaged.
    """
    trials = study.history
    objectives, constraints = study.objectives, study.constraints
    front = front_of(trials, objectives, constraints)
    space, why_not = _space(study)
    targets = targets_of(study)
    sections = [
        Section(
            f"Study {name}",
            [
                *_what(study, space, trials, front, objectives, constraints, targets),
                *([Text(why_not, warning=True)] if why_not else []),
            ],
            level=1,
        )
    ]
    words = ArchitectureWords(space)
    if not trials:
        return [*sections, Section("Trials", [Text("Nothing was tried yet.")])]
    return [
        *sections,
        Section(
            "Accuracy against latency",
            [_tradeoff(trials, front, words, *target) for target in targets.items()],
        ),
        Section("The search", _progress(study, trials, objectives, constraints)),
        Section("The front", _front(front, space, list(targets))),
        Section("Predicted against measured", _verified(study, front, targets)),
    ]


def targets_of(study: Study) -> dict[str, str]:
    """Return what each latency of a study is valid for, in words; "" where it is not said.

    A study of one target may hold it without naming the metric.
    """
    settings = study.settings.get("latency")
    known = settings if isinstance(settings, dict) else {}
    found: dict[str, str] = {}
    for metric, latency_of in known.items():
        if metric.split("@")[0] == LATENCY and isinstance(latency_of, dict):
            found[metric] = _target(latency_of.get("target"))
    return found or {LATENCY: _target(known.get("target"))}


def _target(data: object) -> str:
    try:
        return str(Target.from_json(data))
    except TableError:
        return ""


def _space(study: Study) -> tuple[Space | None, str]:
    """Return the space, or why it is not known."""
    try:
        return restore_space(study.settings.get("space")), ""
    except SearchError as problem:
        return None, f"The architectures cannot be drawn: {problem}"


_TOLD = ("objectives", "constraints")
"""Settings of searchers that are shown already."""


def _plain(value: object) -> str:
    """Return a setting in words."""
    if isinstance(value, Mapping):
        told = {key: each for key, each in value.items() if key not in _TOLD and each is not None}
        return ", ".join(f"{key} {_plain(each)}" for key, each in told.items() if each != {})
    if isinstance(value, list):
        return "[" + ", ".join(map(_plain, value[:20])) + "]"
    return str(value)


def _what(
    study: Study,
    space: Space | None,
    trials: Sequence[Trial],
    front: Sequence[Trial],
    objectives: Sequence[Objective],
    constraints: Sequence[Constraint],
    targets: Mapping[str, str],
) -> Iterator[Block]:
    settings = study.settings
    failed = [trial for trial in trials if trial.error]
    asked = [f"{one.direction} {one.metric} (weight {one.weight:g})" for one in objectives]
    kept = [
        f"{one.metric} {'≤' if one.bound == 'max' else '≥'} {one.limit:g}" for one in constraints
    ]
    broken = sum(not trial.error and not is_feasible(trial, constraints) for trial in trials)
    yield Facts(
        [
            ("space", _plain(settings.get("space", ""))),
            ("size of the space", f"{space.size:.3g}" if space is not None else ""),
            ("searcher", _plain(settings.get("searcher", ""))),
            ("objectives", ", ".join(asked)),
            ("constraints", ", ".join(kept)),
            ("accuracy from", _plain(settings.get("accuracy", ""))),
            *((metric, target) for metric, target in targets.items()),
            ("tried", f"{len(trials)}, {len(failed)} of them failed"),
            ("break a constraint", str(broken) if constraints else ""),
            ("on the front", str(len(front))),
            (
                "evaluation took",
                duration(sum(max(trial.seconds, 0.0) for trial in trials), least=0.5),
            ),
        ]
    )
    if failed:
        reasons = Counter(trial.error for trial in failed)
        yield grid(("why architectures failed", "times"), reasons.most_common(), most=10)


def _words(trial: Trial, architecture: str = "") -> str:
    lines = [
        f"accuracy {percent(trial.accuracy)}",
        *(
            f"{name.replace('latency_ms', 'latency').replace('@', ' on ')} {latency(value)}"
            for name, value in trial.values.items()
            if name.startswith(LATENCY)
        ),
        *(
            f"{name} {trial.value(name) / 1e6:.3g} M"
            for name in ("params", "madds")
            if math.isfinite(trial.value(name))
        ),
        architecture,
        "genes " + ",".join(map(str, trial.genes)),
    ]
    return "\n".join(filter(None, lines))


def _tradeoff(
    trials: Sequence[Trial],
    front: Sequence[Trial],
    words: ArchitectureWords,
    metric: str,
    target: str,
) -> Chart:
    done = [trial for trial in trials if not trial.error]
    on_front = {trial.genes for trial in front}
    others = [trial for trial in done if trial.genes not in on_front]
    pair = [Objective("accuracy", "max"), Objective(metric, "min")]
    line = sorted(front_of(front, pair), key=lambda trial: trial.value(metric))
    series = [
        Series(
            f"tried ({len(others)})",
            [trial.value(metric) for trial in others],
            [100 * trial.accuracy for trial in others],
            [_words(trial, words.of(trial.genes)) for trial in others],
            colour=None,
        ),
        Series(
            "",
            [trial.value(metric) for trial in line],
            [100 * trial.accuracy for trial in line],
            mark="line",
            keep=True,
        ),
        Series(
            f"front ({len(front)})",
            [trial.value(metric) for trial in front],
            [100 * trial.accuracy for trial in front],
            [
                f"rank {i}\n{_words(trial, words.of(trial.genes))}"
                for i, trial in enumerate(front, start=1)
            ],
            keep=True,
        ),
    ]
    where = metric.partition("@")[2]
    title = "Accuracy against latency" + (f" on {where}" if where else "")
    note = f"{target}. The line joins what is best in these two alone." if target else ""
    return Chart(title, Axis("latency, ms"), Axis("accuracy, %"), series, note)


def reward_of(study: Study) -> Reward | None:
    """Return the reward that a study's searcher learns from; None where it has none of ours."""
    searcher = study.settings.get("searcher")
    identity = searcher.get("reward") if isinstance(searcher, dict) else None
    if not isinstance(identity, dict):
        return None
    options = {key: value for key, value in identity.items() if key not in ("kind", "metric")}
    if not all(type(value) in (int, float) for value in options.values()):
        return None
    kind = "soft" if identity.get("kind") == "mnasnet" else str(identity.get("kind"))
    if "metric" in identity:
        options["metric"] = str(identity["metric"])
    try:
        return open_reward(kind, **options)
    except (SearchError, TypeError):
        return None


def _progress(
    study: Study,
    trials: Sequence[Trial],
    objectives: Sequence[Objective],
    constraints: Sequence[Constraint],
) -> list[Block]:
    blocks: list[Block] = []
    curve = hypervolume_curve(trials, objectives, constraints)
    if curve:
        series = Series(
            "",
            [float(at) for at, _ in curve],
            [volume for _, volume in curve],
            [f"{at} evaluations\nhypervolume {volume:.4f}" for at, volume in curve],
            mark="line",
            keep=True,
        )
        axes = Axis("evaluations", zero=True), Axis("hypervolume", zero=True)
        note = "Share of the box between the best and the worst of every objective that was tried."
        blocks.append(Chart("Hypervolume of the front", *axes, [series], note))
    feasible = [(i, t) for i, t in enumerate(trials, start=1) if is_feasible(t, constraints)]
    reward = reward_of(study)
    if reward is not None:
        score = Score(reward, tuple(constraints))
        blocks += _best_so_far("Reward", "reward", "max", [(i, t, score(t)) for i, t in feasible])
    first = objectives[0]
    scale = 100 if first.metric == "accuracy" else 1
    label = "accuracy, %" if first.metric == "accuracy" else first.metric
    values = [(i, t, scale * t.value(first.metric)) for i, t in feasible]
    blocks += _best_so_far(f"The first objective: {first.metric}", label, first.direction, values)
    return blocks or [Text("No architecture was evaluated successfully.")]


def _best_so_far(
    title: str, label: str, direction: Direction, values: Sequence[tuple[int, Trial, float]]
) -> list[Block]:
    """Return a chart of a figure over evaluations, each with its number and its trial."""
    values = [each for each in values if math.isfinite(each[2])]
    if not values:
        return []
    better = max if direction == "max" else min
    best: list[float] = []
    for _, _, value in values:
        best.append(better(best[-1], value) if best else value)
    places = [float(i) for i, _, _ in values]
    series = [
        Series(
            "tried",
            places,
            [value for _, _, value in values],
            [
                f"evaluation {i}, generation {trial.generation}\n"
                f"{label} {value:.4g}\n{_words(trial)}"
                for i, trial, value in values
            ],
            colour=None,
        ),
        Series("best so far", places, best, mark="line"),
    ]
    return [Chart(title, Axis("evaluations", zero=True), Axis(label), series)]


def hypervolume_curve(
    trials: Sequence[Trial], objectives: Sequence[Objective], constraints: Sequence[Constraint] = ()
) -> list[tuple[int, float]]:
    """Return evaluations and the hypervolume of the front so far, from 0 to 1.

    It is the share of the box between the best and the worst value of every objective, over all
    feasible trials. Empty where an objective has a single value, or there are more than
    `MAX_OBJECTIVES`.

    >>> pair = [Objective("accuracy", "max"), Objective("latency_ms", "min")]
    >>> found = [Trial((i,), {"accuracy": a, "latency_ms": t})
    ...          for i, (a, t) in enumerate([(0.5, 2.0), (0.6, 1.0), (0.7, 2.0)])]
    >>> hypervolume_curve(found, pair)
    [(1, 0.0), (2, 0.5), (3, 0.5)]
    """
    if not 1 <= len(objectives) <= MAX_OBJECTIVES:
        return []
    good = np.array([is_feasible(trial, constraints) for trial in trials], bool)
    values = objective_values(trials, objectives)
    values[~good | ~(np.abs(values) <= MAX_VALUE).all(axis=1)] = np.nan
    known = values[~np.isnan(values).any(axis=1)]
    if not len(known):
        return []
    # All are minimised here, scaled so that the box is the unit cube.
    flipped = np.where([one.direction == "max" for one in objectives], -1.0, 1.0)
    low, high = (known * flipped).min(axis=0), (known * flipped).max(axis=0)
    if not ((high - low) > 0).all():
        return []
    scaled = (values * flipped - low) / (high - low)
    directions: list[Any] = ["min"] * len(objectives)
    count = len(trials)
    stops = np.unique(np.linspace(1, count, min(CHECKPOINTS, count)).round().astype(int)).tolist()
    found = []
    front = np.zeros((0, len(objectives)))
    begin = 0
    for stop in stops:
        front = np.concatenate([front, scaled[begin:stop]])
        front = front[pareto_front(front, directions)]
        begin = stop
        found.append((stop, hypervolume(front, directions, [1.0] * len(objectives))))
    return found


def _front(
    front: Sequence[Trial], space: Space | None, latencies: Sequence[str]
) -> Sequence[Block]:
    if not front:
        return [Text("No architecture is on the front: none succeeded and keeps the constraints.")]
    rows = [
        (
            *(f"rank {rank}", percent(trial.accuracy)),
            *(latency(trial.value(metric)) for metric in latencies),
            f"{trial.params / 1e6:.3g}" if math.isfinite(trial.params) else "–",
            ",".join(map(str, trial.genes)),
        )
        for rank, trial in enumerate(front, start=1)
    ]
    names = [metric.replace("latency_ms", "latency").replace("@", " on ") for metric in latencies]
    blocks: list[Block] = []
    if space is not None:
        blocks += _drawings(front, space)
    header = ("architecture", "accuracy", *names, "params M", "genes")
    return [*blocks, grid(header, rows, most=LISTED)]


def _drawings(front: Sequence[Trial], space: Space) -> list[Block]:
    """Draw some of the front, spread over its latencies."""
    ranked = sorted(enumerate(front, start=1), key=lambda each: each[1].latency_ms)
    places = np.unique(np.linspace(0, len(ranked) - 1, DRAWN).round().astype(int)).tolist()
    blocks: list[Block] = [
        Text(
            "From the input down: MB6 is an inverted bottleneck of expansion 6, the colour is the "
            "size of the window, SE squeeze-and-excitation, + a skip connection, /2 a stride."
        )
    ]
    for place in places:
        rank, trial = ranked[place]
        title = f"Rank {rank}: {percent(trial.accuracy)}, {latency(trial.latency_ms)}"
        try:
            blocks.append(architecture_drawing(space.decode(trial.genes), title))
        except LatlasError as problem:
            blocks.append(Text(f"Rank {rank} cannot be drawn: {problem}", warning=True))
    return blocks


def _verified(study: Study, front: Sequence[Trial], targets: Mapping[str, str]) -> Sequence[Block]:
    charts: list[Block] = []
    for metric in targets:
        folder = verified_folder(study, metric)
        # A metric's name is the study's: it must not lead out of its folder.
        if folder.parent == study.folder and (folder / JOURNAL).exists():
            charts += _measured(Table.open(folder), study.history, front, metric)
    return charts or [Text("Nothing of it was measured yet: `latlas verify` does that.")]


def _measured(
    table: Table, trials: Sequence[Trial], front: Sequence[Trial], metric: str
) -> Iterator[Block]:
    by_name = {verified_id(trial.genes): trial for trial in trials}
    on_front = {trial.genes for trial in front}
    pairs = [
        (by_name[m.id], m.summary.median_us / 1e3, m.verdict)
        for m in table.measurements
        if m.id in by_name and m.summary is not None
    ]
    pairs = [each for each in pairs if math.isfinite(each[0].value(metric))]
    failed = [m for m in table.measurements if m.id in by_name and m.summary is None]
    if pairs:
        found = metrics([t.value(metric) for t, _, _ in pairs], [ms for _, ms, _ in pairs])
        rank = "–" if found.spearman is None else f"{found.spearman:.3f}"
        note = f"{table.target}. Mean error {percent(found.mape)}, rank correlation {rank}."
        series = []
        groups = ("on the front", True, 0), ("no longer on the front", False, None)
        for name, wanted, colour in groups:
            chosen = [each for each in pairs if (each[0].genes in on_front) == wanted]
            if chosen:
                series.append(
                    Series(
                        f"{name} ({len(chosen)})",
                        [ms for _, ms, _ in chosen],
                        [trial.value(metric) for trial, _, _ in chosen],
                        [
                            f"measured {latency(ms)}, {verdict}\n"
                            f"predicted {latency(trial.value(metric))} "
                            f"({trial.value(metric) / ms - 1:+.1%})\n{_words(trial)}"
                            for trial, ms, verdict in chosen
                        ],
                        colour=colour,
                    )
                )
        axes = Axis("measured, ms"), Axis("predicted, ms")
        yield Chart(f"Architectures found ({metric})", *axes, series, note, diagonal=True)
    if failed:
        rows = [(m.name, m.verdict.replace("_", " "), m.reason) for m in failed]
        yield grid(("could not be measured", "verdict", "reason"), rows, most=20)
