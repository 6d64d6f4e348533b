"""Evaluations on the machines of a Ray cluster (Moritz et al. 2018, https://www.ray.io).

Every worker is a Ray actor with resources of its own: a CPU, GPUs, or the phone that is attached to
its host, which the host offers as the resource ``phone:SERIAL``. A worker does one task at a time.
One that dies is replaced, wherever there are resources, and its task is done again, by whichever
worker is free first.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from latlas import __version__
from latlas.profiler.errors import DeviceError, LatlasError, SearchError, UsageError
from latlas.profiler.target import Target
from latlas.search.evaluation import Outcome, Pool, Site, Task

MAX_DEATHS = 3
"""A task during which so many workers died is the architecture's failure, not the machines'."""

_LOOK_S = 60.0
_STOP_S = 30.0
_CONNECT_S = 10.0
_ATTEMPTS = 3
_STORE_BYTES = 1 << 27
"""Of a cluster on this machine: tasks and outcomes are a few bytes."""


@dataclass(frozen=True)
class Station:
    """A worker to be started.

    Attributes:
        open: opens what it measures with; it is sent to the worker's machine.
        cpus: that it takes, as Ray counts them.
        gpus: that it takes.
        resources: what else its machine must offer, e.g. ``{"phone:0A1B": 1}``.
        here: whether it must be on this machine.
    """

    open: Callable[[], AbstractContextManager[Site]]
    cpus: float = 1.0
    gpus: float = 0.0
    resources: Mapping[str, float] = field(default_factory=dict)
    here: bool = False

    def __str__(self) -> str:
        """Return what it needs, for people."""
        needs = {"CPU": self.cpus, "GPU": self.gpus, **self.resources}
        text = ", ".join(f"{amount:g} {name}" for name, amount in needs.items() if amount)
        return (text or "no resources") + (" on this machine" if self.here else "")


@contextmanager
def connect(address: str = "", cpus: int = 1) -> Iterator[Mapping[str, float]]:
    """Connect to a Ray cluster, or start one on this machine; give the resources that it has.

    Args:
        address: of the cluster, ``HOST:PORT``; empty starts one, which ends with the block. Within
            a process that is connected already, that connection is used.
        cpus: how many of them a cluster on this machine offers.

    Raises:
        UsageError: Ray is not installed.
        SearchError: there is no cluster at the address.
    """
    ray = _import_ray()
    if ray.is_initialized():
        yield ray.cluster_resources()
        return
    options: dict[str, Any] = {"address": address}
    if address:
        _require_listening(address)
    else:
        options = {
            "address": "local",
            "num_cpus": cpus,
            "include_dashboard": False,
            "object_store_memory": _STORE_BYTES,
            "_node_ip_address": "127.0.0.1",
        }
    _init(options)
    try:
        yield ray.cluster_resources()
    finally:
        ray.shutdown()


_TOKEN_HINT = (
    "; machines of a cluster need the same ~/.ray/auth_token and the same RAY_AUTH_MODE "
    "(docs/clusters.md)"
)
"""Ray tells a wrong token in its log alone."""


def _init(options: Mapping[str, Any]) -> None:
    import ray

    for attempt in range(_ATTEMPTS):
        try:
            ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)
            return
        except Exception as problem:  # of many kinds; a busy machine is not up in Ray's 30 s
            ray.shutdown()
            local = options["address"] == "local"
            if attempt == _ATTEMPTS - 1 or not local:
                hint = "" if local else _TOKEN_HINT
                raise SearchError(
                    f"cannot use Ray ({options['address']}): {str(problem)[:300]}{hint}"
                ) from problem


def _require_listening(address: str) -> None:
    """Raise `SearchError` where nothing listens: Ray itself would try for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon:
        return  # e.g. auto
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_S).close()
    except (OSError, ValueError, OverflowError) as problem:
        raise SearchError(
            f"no Ray cluster at {address}: {problem}; start one with `ray start --head`, or leave "
            "--ray-address away"
        ) from problem


def _import_ray() -> Any:
    # Ray reports its use over the network unless it is told not to before it is imported.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray

        _ = ray.init  # a folder called ray, in which one is, can be imported as well
    except (ImportError, AttributeError) as problem:
        raise UsageError(
            "more than one worker needs Ray, which is not installed: pip install 'latlas[cluster]'"
        ) from problem
    return ray


class Cluster:
    """A pool on the machines that `connect` connected to; a context manager.

    Args:
        others: finds out, in this process, the metrics for which no worker is started.
        tell: told what people should know, e.g. that a worker died.
        wait_s: after so many seconds in which no worker could be started, that is told.
    """

    def __init__(
        self,
        others: Pool,
        tell: Callable[[str], None],
        wait_s: float = _LOOK_S,
    ) -> None:
        self.others = others
        self.tell = tell
        self.wait_s = wait_s
        self._crews: dict[str, _Crew] = {}

    def __enter__(self) -> Self:
        """Return the pool; `start` gives it workers."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the workers; those of phones put back what they changed."""
        _stop([member for crew in self._crews.values() for member in crew.members])

    def start(self, metric: str, stations: Sequence[Station]) -> None:
        """Begin to start the workers that find a metric out."""
        self._crews[metric] = _Crew(metric, stations, self.tell)

    def identity(self, metric: str) -> dict[str, Any]:
        """Wait for the first worker of a metric, and return what its figures depend on.

        Raises:
            LatlasError: no worker can begin, for the reason given.
        """
        crew = self._crews[metric]
        while crew.identity is None:
            self._look([crew])
        return crew.identity

    def submit(self, tasks: Iterable[Task]) -> None:
        """Give tasks to the crews that measure their metric."""
        for task in tasks:
            if task.metric in self._crews:
                self._crews[task.metric].waiting.append(task)
            else:
                self.others.submit([task])

    def finished(self) -> Iterator[tuple[Task, Outcome]]:
        """Yield tasks with their outcomes as workers finish them."""
        while True:
            self._dispatch()
            yield from self.others.finished()
            self._dispatch()
            busy = [crew for crew in self._crews.values() if crew.busy]
            if not busy:
                return
            yield from self._look(busy)

    def _dispatch(self) -> None:
        for crew in self._crews.values():
            crew.dispatch()

    def _look(self, crews: Sequence[_Crew]) -> list[tuple[Task, Outcome]]:
        """Wait for something to happen in some crews, and return what was found out."""
        import ray

        members = {
            member.pending: (crew, member)
            for crew in crews
            for member in crew.members
            if member.pending is not None
        }
        done, _ = ray.wait(list(members), num_returns=1, timeout=self.wait_s)
        if not done and not any(crew.working for crew in crews):
            needs = "; ".join(sorted({str(member.station) for _, member in members.values()}))
            self.tell(f"waiting for machines that can start workers, each of which takes {needs}")
        found = []
        for reference in done:
            crew, member = members[reference]
            found += crew.take(member)
        return found


@dataclass
class _Member:
    """A worker: starting, idle (nothing is pending), or at a task."""

    station: Station
    actor: Any
    pending: Any
    task: Task | None = None
    deaths: int = 0


class _Crew:
    """The workers of one metric, and the tasks that wait for them."""

    def __init__(
        self, metric: str, stations: Sequence[Station], tell: Callable[[str], None]
    ) -> None:
        self.metric = metric
        self.tell = tell
        self.waiting: deque[Task] = deque()
        self.identity: dict[str, Any] | None = None
        self.deaths: Counter[Task] = Counter()
        self.members = [_start(station) for station in stations]

    @property
    def working(self) -> bool:
        """Whether a worker is at a task."""
        return any(member.task for member in self.members)

    @property
    def busy(self) -> bool:
        """Whether something is not found out yet."""
        return bool(self.waiting) or self.working

    def dispatch(self) -> None:
        """Give tasks to idle workers."""
        for member in self.members:
            if member.pending is None and self.waiting:
                member.task = self.waiting.popleft()
                member.pending = member.actor.measure.remote(member.task.genes)

    def take(self, member: _Member) -> list[tuple[Task, Outcome]]:
        """Take what a worker answered, or replace it when it died.

        Raises:
            LatlasError: what went wrong would go wrong everywhere.
        """
        import ray

        try:
            answer = ray.get(member.pending)
        except ray.exceptions.RayTaskError as problem:
            self._dismiss(member, _cause(problem))
            return []
        except ray.exceptions.RayError:
            return self._replace(member)
        task, member.task, member.pending, member.deaths = member.task, None, None, 0
        if task is not None:
            return [(task, answer)]
        if self.identity is not None:
            _require_alike(self.identity, answer, self.metric)
        self.identity = answer
        return []

    def _replace(self, member: _Member) -> list[tuple[Task, Outcome]]:
        """Start another worker instead of one that died, and see to its task."""
        task = member.task
        deaths = member.deaths + 1 if task is None else 0  # as they start, in a row
        self.members.remove(member)
        if task is None and deaths >= MAX_DEATHS:
            raise SearchError(
                f"{deaths} workers in a row died as they started (each takes {member.station}): "
                "Ray's logs, below /tmp/ray on their machines, say why"
            )
        self.members.append(_start(member.station, deaths))
        if task is None:
            return []
        self.deaths[task] += 1
        if self.deaths[task] >= MAX_DEATHS:
            text = f"{MAX_DEATHS} workers died of it, or while they were at it"
            return [(task, Outcome(error=text))]
        self.tell(f"a worker died; what it was at ({self.metric}) is done again by another one")
        self.waiting.appendleft(task)
        return []

    def _dismiss(self, member: _Member, problem: LatlasError | MemoryError) -> None:
        """Go on without a worker whose device is gone, while there are others."""
        if not isinstance(problem, DeviceError) or len(self.members) == 1:
            raise problem
        self.tell(f"the others go on without a worker (it takes {member.station}): {problem}")
        self.members.remove(member)
        if member.task is not None:
            self.waiting.appendleft(member.task)
        _stop([member])


def _start(station: Station, deaths: int = 0) -> _Member:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    options: dict[str, Any] = {
        "num_cpus": station.cpus,
        "num_gpus": station.gpus,
        "resources": dict(station.resources),
    }
    if station.here:
        node = ray.get_runtime_context().get_node_id()
        options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(node, soft=False)
    # Pickled by itself: it may hold a user's class, which is found once the worker has our path.
    opener = ray.cloudpickle.dumps(station.open)
    actor = ray.remote(_Worker).options(**options).remote(opener, __version__, sys.path)
    return _Member(station, actor, actor.start.remote(), deaths=deaths)


def _stop(members: Sequence[_Member]) -> None:
    import ray

    ready = [member for member in members if member.task is not None or member.pending is None]
    ray.wait(
        [member.actor.stop.remote() for member in ready],
        num_returns=len(ready),
        timeout=_STOP_S,
    ) if ready else None
    for member in members:
        ray.kill(member.actor)


def _cause(problem: Any) -> LatlasError | MemoryError:
    """Return what a worker raised."""
    cause = problem.cause
    if isinstance(cause, LatlasError | MemoryError):
        return cause
    return SearchError(f"a worker failed: {str(problem).strip()[-500:]}")


def _require_alike(first: Mapping[str, Any], other: Mapping[str, Any], metric: str) -> None:
    """Raise an error unless two workers would find out the same."""
    if first == other:
        return
    if "target" in first and "target" in other:
        one, another = (Target.from_json(each["target"]) for each in (first, other))
        one.require_same(another, f"a worker that finds out {metric}")
    raise SearchError(
        f"workers would find out {metric} differently: {str(first)[:300]} against "
        f"{str(other)[:300]}: give all machines the same files"
    )


class _Worker:
    """What runs in a worker's process."""

    def __init__(
        self,
        opener: bytes,
        version: str,
        path: Sequence[str],
    ) -> None:
        self.opener = opener
        self.version = version
        self.path = path
        self.stack = ExitStack()
        self.site: Site

    def start(self) -> dict[str, Any]:
        """Open what it measures with, and return what its figures depend on."""
        if self.version != __version__:
            raise SearchError(
                f"a worker has latlas {__version__}, and the search has {self.version}: install "
                "the same on all machines"
            )
        # Where the user's own module was found, it is found here too, if there is such a folder.
        sys.path += [folder for folder in self.path if folder not in sys.path]
        open_site: Callable[[], AbstractContextManager[Site]] = _import_ray().cloudpickle.loads(
            self.opener
        )
        self.site = self.stack.enter_context(open_site())
        return self.site.identity

    def measure(self, genes: tuple[int, ...]) -> Outcome:
        """Find out about one architecture."""
        (outcome,) = self.site.measure([genes])
        return outcome

    def stop(self) -> None:
        """Close what it measures with."""
        self.stack.close()
