"""Evaluations on a Ray cluster of two hosts on this machine."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from slow_site import slow_site

from latlas.profiler.errors import DeviceError, SearchError, UsageError
from latlas.search.cluster import Cluster, Station, connect
from latlas.search.evaluation import InProcess, Outcome, Task, measure_with
from latlas.search.memory import Remembering
from latlas.search.study import Study

TESTS = Path(__file__).parents[1]
NODE = {
    "include_dashboard": False,
    "node_ip_address": "127.0.0.1",
    "object_store_memory": 80_000_000,
}

pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning:ray.*"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.*"),
]


@pytest.fixture(scope="module")
def address(ray_hosts: Any) -> Iterator[str]:
    with connect(ray_hosts.address) as resources:
        assert resources["CPU"] == 4 and resources["phone:A"] == 1
        yield ray_hosts.address


def tasks(*numbers: int, metric: str = "accuracy") -> list[Task]:
    return [Task(metric, (number,)) for number in numbers]


def others() -> InProcess:
    return InProcess({"latency_ms": measure_with(lambda genes: [1.0] * len(genes), "latency_ms")})


def found(
    stations: dict[str, list[Station]], wanted: list[Task], told: list[str] | None = None
) -> dict[Task, Outcome]:
    with Cluster(others(), (told if told is not None else []).append) as cluster:
        for metric, each in stations.items():
            cluster.start(metric, each)
            assert cluster.identity(metric) == {"kind": "slow"}
        cluster.submit(wanted)
        return dict(cluster.finished())


def test_workers_share_the_tasks_and_are_closed(address: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    station = Station(partial(slow_site, log, 0.1, processes=2))
    wanted = [*tasks(*range(10)), *tasks(1, 2, metric="latency_ms")]
    outcomes = found({"accuracy": [station] * 2}, wanted)
    assert outcomes.keys() == set(wanted)
    assert outcomes[wanted[7]].value == 0.07
    assert outcomes[wanted[-1]].value == 1.0
    lines = [line.split() for line in log.read_text().splitlines()]
    assert len({line[0] for line in lines}) == 2  # two processes
    assert sorted(int(line[1]) for line in lines if line[1] != "closed") == list(range(10))
    assert sum(line[1] == "closed" for line in lines) == 2


def test_a_phone_is_measured_where_it_is_attached(address: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    stations = [
        Station(partial(slow_site, log, 0.5, "phone"), cpus=0, resources={"phone:A": 1}),
        Station(partial(slow_site, log, 0.5, "local"), cpus=0, here=True),
    ]
    wanted = tasks(*range(8), metric="latency_ms@gpu")
    outcomes = found({"latency_ms@gpu": stations}, wanted)
    assert {outcome.note for outcome in outcomes.values()} == {"phone", "local"}
    told = list[str]()
    away = Station(partial(slow_site, log, 0.0), cpus=0, resources={"phone:B": 1})
    with Cluster(others(), told.append, wait_s=0.2) as cluster:
        cluster.start("accuracy", [away])
        cluster.submit(tasks(1))
        assert cluster._look(list(cluster._crews.values())) == []
    assert told == ["waiting for machines that can start workers, each of which takes 1 phone:B"]


def test_workers_share_a_gpu_and_see_no_other(ray_hosts: Any, address: str, tmp_path: Path) -> None:
    """Ray counts GPUs as it is told, so that none need be there."""
    host = ray_hosts.add_node(num_cpus=2, num_gpus=1, **NODE)
    try:
        half = Station(partial(slow_site, tmp_path / "log", 0.1, "gpu", 2), gpus=0.5)
        outcomes = found({"accuracy": [half] * 2}, tasks(*range(6)))
    finally:
        ray_hosts.remove_node(host)
    assert {outcome.note for outcome in outcomes.values()} == {"CUDA_VISIBLE_DEVICES=0"}
    processes = {line.split()[1] for line in (tmp_path / "log").read_text().splitlines()}
    assert len(processes) == 2
    told = list[str]()
    with Cluster(others(), told.append, wait_s=0.2) as cluster:
        cluster.start("accuracy", [half])
        cluster.submit(tasks(1))
        assert cluster._look(list(cluster._crews.values())) == []
    assert told == [
        "waiting for machines that can start workers, each of which takes 1 CPU, 0.5 GPU"
    ]


def test_a_lost_phone_leaves_its_networks_to_the_others(address: str, tmp_path: Path) -> None:
    log, told = tmp_path / "log", list[str]()
    lost = Station(partial(slow_site, log, 0.5, "lost"), cpus=0)
    other = Station(partial(slow_site, log, 0.5, "other"), cpus=0)
    outcomes = found({"accuracy": [lost, other]}, tasks(*range(6)), told)
    assert {outcome.note for outcome in outcomes.values()} == {"other"}
    assert len(outcomes) == 6 and "unplugged" in "".join(told)
    with pytest.raises(DeviceError, match="phone lost: unplugged"):
        found({"accuracy": [lost]}, tasks(1))
    broken = Station(partial(slow_site, log, 0.05, "broken"), cpus=0)
    with pytest.raises(DeviceError, match="no such phone"):
        found({"accuracy": [broken]}, tasks(1))


def test_what_kills_its_workers_is_a_failure(address: str, tmp_path: Path) -> None:
    told = list[str]()
    station = Station(partial(slow_site, tmp_path / "log", 0.0), cpus=0)
    outcomes = found({"accuracy": [station]}, tasks(1, 66, 2), told)
    assert [outcomes[task].error for task in tasks(1, 2)] == ["", ""]
    assert "3 workers died" in outcomes[tasks(66)[0]].error
    assert sum("a worker died" in text for text in told) == 2


def test_killed_workers_are_replaced_and_nothing_is_lost_or_done_twice(
    address: str, tmp_path: Path
) -> None:
    log = tmp_path / "log"

    def kill(outcomes: dict[Task, Outcome]) -> None:
        if len(outcomes) in (4, 9):
            os.kill(int(log.read_text().split()[-2]), signal.SIGKILL)

    survive(log, [Station(partial(slow_site, log, 0.1))] * 3, kill)


def test_a_host_that_dies_loses_nothing(ray_hosts: Any, address: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    host = ray_hosts.add_node(num_cpus=2, resources={"mortal": 2}, **NODE)
    mortal = Station(partial(slow_site, log, 0.2, "mortal"), resources={"mortal": 1})
    stations = [mortal, mortal, Station(partial(slow_site, log, 0.2, "other"))]

    def kill(outcomes: dict[Task, Outcome]) -> None:
        notes = [outcome.note for outcome in outcomes.values()]
        if notes[-1] == "mortal" and notes.count("mortal") == 2:
            ray_hosts.remove_node(host, allow_graceful=False)

    outcomes = survive(log, stations, kill)
    assert {outcome.note for outcome in outcomes.values()} == {"mortal", "other"}


def survive(
    log: Path, stations: list[Station], kill: Callable[[dict[Task, Outcome]], None]
) -> dict[Task, Outcome]:
    """Evaluate 20 architectures while something is killed; return what was found out."""
    wanted, outcomes = tasks(*range(20)), dict[Task, Outcome]()
    journal = log.with_name("finished.jsonl")
    with Cluster(others(), lambda text: None) as cluster:
        cluster.start("accuracy", stations)
        with Remembering(cluster, journal) as pool:
            pool.submit(wanted)
            for task, outcome in pool.finished():
                outcomes[task] = outcome
                kill(outcomes)
    assert outcomes.keys() == set(wanted) and not any(one.error for one in outcomes.values())
    done = Counter(re.findall(r"\d+ (\d+)\n", log.read_text()))
    # What a worker had finished, and was killed before it could say so.
    assert sum(count - 1 for count in done.values()) <= 2
    with Remembering(others(), journal) as memory:
        memory.submit(wanted)
        assert dict(memory.finished()) == outcomes
    return outcomes


SEARCH = """
import sys
from functools import partial
from pathlib import Path
sys.path[:0] = [{tests!r}, {tests!r} + "/search"]
from slow_site import slow_site
from test_study import CHOICES, SETTINGS, TinySpace, searcher
from latlas.search.cluster import Cluster, Station, connect
from latlas.search.evaluation import Evaluator, InProcess, measure_with
from latlas.search.memory import Remembering
from latlas.search.study import Study
from latlas.search.sizes import sizes_of
from latlas.search.study import Study, run
folder = Path({folder!r})
others = InProcess({{"latency_ms": measure_with(lambda genes: [1.0 + sum(g) for g in genes], "")}})
with connect({address!r}), Cluster(others, print) as cluster:
    study = Study.create(folder, SETTINGS)
    cluster.start("accuracy", [Station(partial(slow_site, Path({log!r}), 0.1), cpus=0.5)] * 3)
    with Remembering(cluster, folder / "finished.jsonl") as pool:
        evaluator = Evaluator(TinySpace(), pool, ["latency_ms", "accuracy"], sizes_of(TinySpace()))
        run(study, searcher(), evaluator, evaluations={evaluations}, progress=False)
"""


def test_a_killed_search_goes_on_to_the_same_history(address: str, tmp_path: Path) -> None:
    def start(name: str) -> subprocess.Popen[bytes]:
        script = SEARCH.format(
            tests=str(TESTS), folder=str(tmp_path / name), log=str(tmp_path / f"{name}.log"),
            address=address, evaluations=26,
        )  # fmt: skip
        return subprocess.Popen([sys.executable, "-c", script])

    process = start("killed")
    finished = tmp_path / "killed" / "finished.jsonl"
    deadline = time.monotonic() + 60
    while not finished.exists() or finished.read_bytes().count(b"accuracy") < 13:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    process.wait()
    known = finished.read_bytes().count(b"accuracy")
    for name in ("killed", "whole"):
        assert start(name).wait(timeout=60) == 0
    killed, whole = (Study.open(tmp_path / name).history for name in ("killed", "whole"))
    assert len(whole) == 26
    assert [(t.genes, t.values, t.generation) for t in killed] == [
        (t.genes, t.values, t.generation) for t in whole
    ]
    evaluated = re.findall(r"\d+ \d+\n", (tmp_path / "killed.log").read_text())
    assert 26 <= len(evaluated) <= 26 + 3  # of what was finished, nothing was repeated
    assert known < 26


def test_without_ray_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"pip install 'latlas\[cluster\]'"), connect():
        pass


def test_no_cluster_at_the_address(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    for address in ("127.0.0.1:1", "ray://127.0.0.1:1", "127.0.0.1:x", "127.0.0.1:99999"):
        with pytest.raises(SearchError, match="no Ray cluster at"), connect(address):
            pass


def test_a_cluster_that_refuses(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**options: Any) -> None:
        raise ConnectionError("Failed to connect")

    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr("ray.shutdown", lambda: None)  # of the connection that other tests use
    monkeypatch.setattr("ray.init", refuse)
    with pytest.raises(SearchError, match=r"Failed to connect; .*auth_token"), connect(address):
        pass


HERE = """
import sys
from functools import partial
from pathlib import Path
sys.path.append({tests!r})
from slow_site import slow_site
from latlas.search.cluster import Cluster, Station, connect
from latlas.search.evaluation import InProcess, Task
with connect(cpus=2), Cluster(InProcess({{}}), print) as cluster:
    cluster.start("accuracy", [Station(partial(slow_site, Path({log!r}), 0.0))] * 2)
    cluster.submit([Task("accuracy", (1,)), Task("accuracy", (2,))])
    print(sorted(outcome.value for _, outcome in cluster.finished()))
"""


def test_a_cluster_on_this_machine_alone(ray_hosts: Any, tmp_path: Path) -> None:
    script = HERE.format(tests=str(TESTS), log=str(tmp_path / "log"))
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=200)
    assert found.stdout.decode().splitlines()[-1:] == ["[0.01, 0.02]"], found.stderr.decode()
