"""A search from its parts: in this process, or with the workers of a cluster."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latlas.console import say, table
from latlas.targets import LOCAL, DeviceChoice, open_runner, parse_delegates

if TYPE_CHECKING:
    from latlas.search.accuracy import AccuracySource
    from latlas.search.cluster import Station
    from latlas.search.evaluation import Pool, Site
    from latlas.search.latency import LatencySource
    from latlas.search.objectives import Constraint, Objective
    from latlas.search.protocols import AccuracyOracle, Searcher, Trial
    from latlas.search.rewards import Reward
    from latlas.search.spaces import Space
    from latlas.search.study import Study


@dataclass(frozen=True)
class Workers:
    """Who evaluates.

    Attributes:
        number: of workers that find accuracies out.
        address: of a Ray cluster; empty means this machine.
        gpus: that one of them takes.
    """

    number: int = 1
    address: str = ""
    gpus: float = 0.0

    @property
    def distributed(self) -> bool:
        """Whether Ray runs them; a single one on this machine is this process itself."""
        return self.number > 1 or bool(self.address)


@dataclass(frozen=True)
class Search:
    """Everything that a search is made of.

    Attributes:
        space: where architectures come from.
        searcher: a new one; it proposes them.
        latencies: where latencies come from.
        accuracy: where accuracies come from.
        objectives: of the front.
        constraints: that the front keeps.
        evaluations: architectures to try, those of earlier runs included.
        samples: see `latlas.search.study.run`.
        screen: whether architectures that break a constraint are not trained.
        choice: how devices are used.
        workers: who evaluates.
    """

    space: Space
    searcher: Searcher
    latencies: Sequence[LatencySource]
    accuracy: AccuracySource
    objectives: Sequence[Objective]
    constraints: Sequence[Constraint] = ()
    evaluations: int = 400
    samples: int | None = None
    screen: bool = False
    choice: DeviceChoice = field(default_factory=DeviceChoice)
    workers: Workers = field(default_factory=Workers)


@dataclass(frozen=True)
class Found:
    """What a search came to.

    Attributes:
        study: its folder.
        front: the best in the first objective first.
        oracle: of the accuracies, opened.
        report: what the accuracies are worth; see `AccuracySource.report`.
    """

    study: Study
    front: list[Trial]
    oracle: AccuracyOracle
    report: dict[str, Any]


def run_search(folder: Path, search: Search) -> Found:
    """Run a search in a study's folder, or go on with it.

    Raises:
        UsageError: the parts do not fit, or Ray is needed and not installed.
        SearchError: the folder holds another study, or the search cannot go on.
    """
    from latlas.search.evaluation import Evaluator
    from latlas.search.latency import LATENCY
    from latlas.search.sizes import sizes_of
    from latlas.search.study import run

    metrics = [*(source.metric for source in search.latencies), "accuracy"]
    assert metrics[0] == LATENCY
    opened = _on_cluster if search.workers.distributed else _in_process
    with opened(folder, search) as (study, pool, oracle, report):
        evaluator = Evaluator(
            search.space,
            pool,
            metrics,
            sizes_of(search.space),
            constraints=search.constraints,
            screen=search.screen,
        )
        front = run(
            study,
            search.searcher,
            evaluator,
            evaluations=search.evaluations,
            samples=search.samples,
            objectives=search.objectives,
            constraints=search.constraints,
        )
    return Found(study, front, oracle, report)


_Opened = tuple["Study", "Pool", "AccuracyOracle", dict[str, Any]]


def open_reward(name: str | None, target_ms: float | None) -> Reward | None:
    """Return the reward that is named, None where none is.

    Raises:
        UsageError: there is no such reward, or it has no target.
    """
    from latlas.profiler.errors import SearchError, UsageError
    from latlas.search import rewards

    if name is None:
        if target_ms is not None:
            raise UsageError("--target-ms is a reward's: give --reward soft, hard or absolute")
        return None
    try:
        return rewards.open_reward(name, target_ms)
    except SearchError as problem:
        raise UsageError(f"--reward {name}: {problem}") from problem


@contextmanager
def _in_process(folder: Path, search: Search) -> Iterator[_Opened]:
    from latlas.search.accuracy import AccuracySite
    from latlas.search.evaluation import InProcess

    with ExitStack() as stack:
        sites: dict[str, Site] = {
            source.metric: stack.enter_context(open_latency(source, search.space, search.choice))
            for source in search.latencies
        }
        study = _study(folder, search, {metric: site.identity for metric, site in sites.items()})
        oracle, report = _open_accuracy(search.accuracy)
        sites["accuracy"] = AccuracySite(search.accuracy, oracle)
        measures = {metric: site.measure for metric, site in sites.items()}
        phones = {source.metric: len(source.devices[0]) for source in search.latencies}
        yield study, InProcess(measures, phones), oracle, report


@contextmanager
def _on_cluster(folder: Path, search: Search) -> Iterator[_Opened]:
    from latlas.search import memory
    from latlas.search.accuracy import accuracy_site
    from latlas.search.cluster import Cluster, Station, connect
    from latlas.search.evaluation import InProcess
    from latlas.search.latency import Predicted, open_predicted

    workers = search.workers
    with connect(workers.address, workers.number) as resources:
        predicted: dict[str, Predicted] = {
            source.metric: open_predicted(source, search.space)
            for source in search.latencies
            if not source.devices[0]
        }
        others = InProcess({metric: site.measure for metric, site in predicted.items()})
        with Cluster(others, say) as cluster:
            identities = {metric: site.identity for metric, site in predicted.items()}
            for source in search.latencies:
                if source.metric not in predicted:
                    stations = device_stations(source, search.space, search.choice, resources)
                    cluster.start(source.metric, stations)
            for source in search.latencies:
                if source.metric not in predicted:
                    identities[source.metric] = cluster.identity(source.metric)
            study = _study(folder, search, identities)
            oracle, report = _open_accuracy(search.accuracy)
            station = Station(partial(accuracy_site, search.accuracy), gpus=workers.gpus)
            cluster.start("accuracy", [station] * workers.number)
            with memory.Remembering(cluster, folder / memory.FILE) as pool:
                yield study, pool, oracle, report


def _study(folder: Path, search: Search, latencies: Mapping[str, dict[str, Any]]) -> Study:
    from latlas.search.study import Study

    settings = {
        "space": search.space.identity,
        "searcher": getattr(search.searcher, "identity", None),
        "latency": dict(latencies),
        "accuracy": search.accuracy.identity,
        "objectives": [asdict(one) for one in search.objectives],
        "constraints": [asdict(one) for one in search.constraints],
        "screen": search.screen,
    }
    return Study.create(folder, settings)


def _open_accuracy(source: AccuracySource) -> tuple[AccuracyOracle, dict[str, Any]]:
    oracle = source.open()
    report = source.report(oracle)
    for line in report.get("text", ()):
        say(line)
    return oracle, report


@contextmanager
def open_latency(
    source: LatencySource, space: Space, choice: DeviceChoice | None = None
) -> Iterator[Site]:
    """Give the latencies of a space's architectures from one source, in this process.

    Raises:
        UsageError: it names no predictor, table or device.
        DeviceError: a device cannot be used.
        TargetMismatchError: several phones are of different targets.
    """
    from latlas.search.latency import Together, open_predicted

    devices, _ = source.devices
    if not devices:
        yield open_predicted(source, space)
        return
    with ExitStack() as stack:
        sites = {
            device: stack.enter_context(device_site(space, each))
            for device, each in device_choices(source, choice or DeviceChoice()).items()
        }
        yield sites[devices[0]] if len(devices) == 1 else Together(sites, say)


@contextmanager
def device_site(space: Space, choice: DeviceChoice) -> Iterator[Site]:
    """Give the latencies that one device measures."""
    from latlas.predictor.oracle import DeviceOracle
    from latlas.search.latency import OnDevice

    with open_runner(choice) as runner:
        yield OnDevice(DeviceOracle(runner), space)


def device_stations(
    source: LatencySource, space: Space, choice: DeviceChoice, resources: Mapping[str, float]
) -> list[Station]:
    """Return a worker for every device of a source.

    A phone ``A`` that some machine of the cluster offers as the resource ``phone:A`` is measured
    there, others and ``local`` from this machine.
    """
    from latlas.search.cluster import Station

    stations = []
    for device, each in device_choices(source, choice).items():
        offered = f"phone:{device}" in resources
        stations.append(
            Station(
                partial(device_site, space, each),
                cpus=0,
                resources={f"phone:{device}": 1} if offered else {},
                here=not offered,
            )
        )
    return stations


def device_choices(source: LatencySource, choice: DeviceChoice) -> dict[str, DeviceChoice]:
    """Return how each device of a source is used.

    Raises:
        UsageError: it has several delegates, or this machine among phones.
    """
    from latlas.profiler.errors import UsageError

    devices, delegate = source.devices
    delegates = parse_delegates(delegate)
    if len(delegates) > 1:
        raise UsageError(
            f"--latency {source.where}: a source has one delegate, cpu or gpu; give --latency again"
        )
    if LOCAL in devices and len(devices) > 1:
        raise UsageError(f"--latency {source.where}: {LOCAL} is no phone, and measures alone")
    return {device: replace(choice, device=device, delegates=delegates) for device in devices}


def front_documents(found: Found, source: AccuracySource) -> list[dict[str, Any]]:
    """Return a front as plain dictionaries, with accuracies on data that the search never saw."""
    import math

    tests = source.test(found.oracle, [trial.genes for trial in found.front])
    return [
        {
            "rank": rank,
            "genes": list(trial.genes),
            "accuracy": trial.accuracy,
            "test_accuracy": None if math.isnan(test) else test,
            **{name: value for name, value in trial.values.items() if name != "accuracy"},
            "note": trial.note,
        }
        for rank, (trial, test) in enumerate(zip(found.front, tests.tolist(), strict=True), start=1)
    ]


def front_text(front: Sequence[Mapping[str, Any]], standard_error: float) -> str:
    """Return a front as a table."""
    metrics = [name for name in (front[0] if front else {}) if name.startswith("latency_ms")]
    tested = any(entry["test_accuracy"] is not None for entry in front)
    error = f" ± {standard_error:.1%}" if standard_error else ""
    rows = [
        (
            entry["rank"],
            f"{entry['accuracy']:.1%}{error}",
            *([f"{entry['test_accuracy']:.1%}"] if tested else []),
            *(f"{entry[name]:.3f}" for name in metrics),
            f"{entry['params'] / 1e6:.2f}",
            " ".join(map(str, entry["genes"])),
        )
        for entry in front
    ]
    latencies = [" ".join(["latency ms", *name.split("@")[1:]]) for name in metrics]
    test = ["on test images"] if tested else []
    return table(("rank", "accuracy", *test, *latencies, "params M", "genes"), rows)
