"""From tables of other devices to a predictor of a new one, with few measurements on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latlas.campaigns import known_measurements, measure, report_document, report_text
from latlas.console import say
from latlas.targets import DeviceChoice, open_runner

if TYPE_CHECKING:
    from latlas.predictor.few_shot import FewShotFit, FewShotPlan
    from latlas.predictor.predictor import LatencyPredictor
    from latlas.profiler.graph import Graph
    from latlas.profiler.jobs import CampaignJob
    from latlas.profiler.kernel import FusionRules, Kernel
    from latlas.profiler.measurement import Measurement
    from latlas.profiler.target import Delegate
    from latlas.search.spaces import Space

POOL = 60
"""So many random networks at least to choose from, where the sources bring none."""

EACH = 3
"""And so many for every one that is chosen."""


@dataclass(frozen=True)
class SourceTables:
    """What is known about other devices.

    Attributes:
        predictors: one of each.
        networks: whole networks that were measured on them, by name, in inference form.
    """

    predictors: tuple[LatencyPredictor, ...]
    networks: Mapping[str, Graph]

    @property
    def precision(self) -> str:
        """The precision of all sources; empty where they differ."""
        kinds = {predictor.target.precision for predictor in self.predictors}
        return kinds.pop() if len(kinds) == 1 else ""

    def rules(self, delegate: Delegate, adapter: str = "") -> FusionRules:
        """Return the fusion rules of a new device: those that a source was split by, if detected.

        Raises:
            UsageError: there is no source.
        """
        from latlas.profiler.errors import UsageError
        from latlas.profiler.fusion import rules_for, rules_named
        from latlas.profiler.fusion.detected import PREFIX

        if not self.predictors:
            raise UsageError("--few-shot needs tables of other devices: give --from once for each")
        version = self.predictors[0].rules_version
        if version.startswith(PREFIX):
            return rules_named(version, delegate, adapter)
        return rules_for(delegate, adapter)


@dataclass(frozen=True)
class FewShotJobs:
    """What is to be measured on the new device.

    Attributes:
        plan: which networks were chosen.
        measured: networks that the table holds already.
        jobs: of the chosen networks.
        minutes: that it will take, roughly.
    """

    plan: FewShotPlan | None
    measured: tuple[str, ...]
    jobs: tuple[CampaignJob, ...]
    minutes: float

    def to_json(self) -> dict[str, Any]:
        """Return a plain dictionary."""
        found = asdict(self.plan) if self.plan is not None else {}
        return {
            "networks": list(found.get("chosen", ())),
            "measured": list(self.measured),
            "expected_error": found.get("expected_error"),
            "chosen_from": found.get("networks"),
            "left_out": found.get("left_out", {}),
            "minutes": self.minutes,
        }

    @property
    def text(self) -> str:
        """The plan for people."""
        there = f", beside {len(self.measured)} there already" if self.measured else ""
        if self.plan is None:
            return f"nothing left to measure{there}"
        lines = [f"  {name}" for name in self.plan.chosen]
        lines += [
            f"{len(self.jobs)} of {self.plan.networks} networks{there}: about "
            f"{self.minutes:.1f} device minutes",
            f"expected mean error on the others: {self.plan.expected_error:.1%}",
        ]
        if left_out := self.plan.left_out:
            lines.append(
                f"{len(left_out)} networks cannot be chosen: they hold no kernel, or one that a "
                f"source does not know, for example {next(iter(left_out.values()))!r}"
            )
        return "\n".join(lines)


def open_sources(paths: Sequence[Path], seed: int) -> SourceTables:
    """Read tables, and predictor files that `latlas fit` wrote.

    Raises:
        TableError: a table cannot be read.
        PredictorError: a file cannot be read, or a table does not make a predictor.
    """
    from latlas.predictor import file
    from latlas.predictor.fit import fit
    from latlas.predictor.observations import observe
    from latlas.profiler.graph import Graph
    from latlas.profiler.table import Table

    predictors = []
    networks: dict[str, str] = {}
    for path in paths:
        if path.is_file():
            predictors.append(file.load(path))
            continue
        table = Table.open(path)
        predictors.append(fit(observe(table), seed=seed))
        for each in table.measurements:
            if each.unit == "network" and each.summary is not None:
                other = networks.get(each.name, each.graph)
                name = each.name if other == each.graph else f"{each.name} of {path}"
                networks[name] = each.graph
    return SourceTables(
        tuple(predictors), {name: Graph.from_text(text) for name, text in networks.items()}
    )


def plan_few(
    sources: SourceTables,
    networks: Mapping[str, Graph],
    count: int,
    choice: DeviceChoice,
    known: Sequence[Measurement],
    *,
    precision: str = "",
    listed: bool | None = None,
    seed: int = 0,
) -> FewShotJobs:
    """Choose networks so that a table holds `count` of them in the end.

    Args:
        sources: what is known about other devices.
        networks: that can be chosen, in either form.
        count: how many are measured, those of the table included.
        choice: of the device, with a precision.
        known: what the table holds already.
        precision: of the new device's target; by default the one to expect of what is chosen.
        listed: whether the device lists operators; by default as is usual.
        seed: of the plan.

    Raises:
        UsageError: several delegates are chosen.
        PredictorError: there are too few networks whose kernels the sources know, or the sources
            are not of the new device's kind.
    """
    from latlas.predictor.few_shot import check_sources, plan
    from latlas.profiler import plan as planning
    from latlas.profiler.errors import UsageError
    from latlas.profiler.jobs import CampaignJob, network_id
    from latlas.profiler.quantise import for_precision
    from latlas.profiler.workload import NETWORK_EFFORT

    if len(choice.delegates) > 1:
        raise UsageError("--few-shot takes one delegate: give --delegate cpu or --delegate gpu")
    (delegate,) = choice.delegates
    precision = precision or _expected_precision(choice, sources)
    rules = sources.rules(delegate)
    check_sources(sources.predictors, rules.version, precision)
    measured = {m.name: m.to_graph() for m in known if m.unit == "network" and m.summary}
    failed = {m.name for m in known if m.unit == "network" and not m.summary}
    graphs = {
        name: for_precision(graph, precision)
        for name, graph in networks.items()
        if name not in failed
    } | measured
    missing = count - len(measured)
    if missing <= 0:
        return FewShotJobs(None, tuple(measured), (), 0.0)
    chosen = plan(
        sources.predictors,
        split_networks(graphs, rules, precision),
        missing,
        measured=measured,
        seed=seed,
    )
    profile = delegate == "cpu" if listed is None else listed
    jobs = tuple(
        CampaignJob(network_id(name), name, "network", graphs[name], NETWORK_EFFORT, profile)
        for name in chosen.chosen
    )
    costs = planning.CostModel.learn(delegate, known)
    minutes = planning.make_plan([(job, 1.0) for job in jobs], costs).minutes
    return FewShotJobs(chosen, tuple(measured), jobs, minutes)


def split_networks(
    networks: Mapping[str, Graph], rules: FusionRules, precision: str
) -> dict[str, tuple[Kernel, ...]]:
    """Return the kernels of networks in the target's precision, by name."""
    from latlas.profiler.kernel import split
    from latlas.profiler.quantise import for_precision

    return {name: split(for_precision(graph, precision), rules) for name, graph in networks.items()}


def measure_few(
    sources: SourceTables,
    networks: Mapping[str, Graph],
    count: int,
    choice: DeviceChoice,
    folder: Path,
    *,
    warmup_ms: float | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Measure networks on a new device into a table, what it holds already included.

    Returns:
        The plan, the campaign's report and what could not be measured, as a plain dictionary.

    Raises:
        UsageError, DeviceError, RunnerError: there is no such device, or it is gone.
        PredictorError: the sources are not of the new device's kind.
        KeyboardInterrupt: Ctrl-C; what was measured is kept.
    """
    from latlas.predictor.few_shot import check_sources

    with open_runner(choice) as runner:
        say(f"target: {runner.target}")
        target = runner.target
        rules = sources.rules(target.delegate, target.adapter)
        check_sources(sources.predictors, rules.version, target.precision)
        planned = plan_few(
            *(sources, networks, count, choice, known_measurements(folder)),
            precision=target.precision,
            listed=runner.lists_operators,
            seed=seed,
        )
        say(planned.text)
        if not planned.jobs:
            return {"plan": planned.to_json(), "report": None, "failed": []}
        report, failed = measure(
            *(runner, folder, planned.jobs, seed, None, warmup_ms), fusion_rules=rules.version
        )
    say(report_text(folder, report))
    if report.interrupted:
        raise KeyboardInterrupt
    return {"plan": planned.to_json(), "report": report_document(report), "failed": failed}


def fit_table(
    folder: Path, sources: SourceTables, networks: Mapping[str, Graph], seed: int
) -> FewShotFit:
    """Fit a predictor of a new device from its table.

    Args:
        folder: of the table.
        sources: what is known about other devices.
        networks: others, which show how the sources differ, in either form.
        seed: of the fit.

    Raises:
        TableError: the table cannot be read.
        PredictorError: it holds too few networks whose kernels the sources know, or the sources
            are not of its kind.
    """
    from latlas.predictor.few_shot import check_sources, fit_few
    from latlas.predictor.observations import observe
    from latlas.profiler.table import Table

    observations = observe(Table.open(folder))
    precision = observations.target.precision
    check_sources(sources.predictors, observations.rules.version, precision)
    others = split_networks(networks, observations.rules, precision)
    return fit_few(observations, sources.predictors, others, seed=seed)


def pool_of(
    sources: SourceTables,
    space: Space | None,
    general: bool,
    models: Mapping[str, Graph],
    count: int,
    seed: int,
) -> dict[str, Graph]:
    """Return the networks to choose from: of a space, models, or those that the sources measured.

    With `general`, or where there is none of these, they are random networks of every family.
    """
    from latlas.profiler.samples.networks import designed_networks
    from latlas.workloads import space_networks

    drawn = max(POOL, EACH * count)
    if space is not None:
        return space_networks(space, drawn, seed) | dict(models)
    if models and not general:
        return dict(models)
    if not general and len(sources.networks) > count:
        return dict(sources.networks)
    return designed_networks(drawn, seed) | dict(models)


def with_precision(choice: DeviceChoice, sources: SourceTables) -> DeviceChoice:
    """Return a choice that names a precision: if it did not, what the sources' networks are of.

    Raises:
        UsageError: it is of int8 and on a GPU.
    """
    usual = "int8" if sources.precision == "int8" else "fp32"
    found = replace(choice, precision=choice.precision or usual)
    _ = found.int8
    return found


def _expected_precision(choice: DeviceChoice, sources: SourceTables) -> str:
    """Return the precision of a table that is still to be measured.

    In which one a GPU calculates networks of float32 is for its runner to say: before it is asked,
    it is taken to be that of the sources.
    """
    if "gpu" in choice.delegates and sources.precision != "int8":
        return sources.precision or choice.precision
    return choice.precision
