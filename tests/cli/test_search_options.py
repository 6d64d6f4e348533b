"""What a search can be told: targets, constraints, accuracies, spaces; on a simulated device."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from simulated_device import Simulation

from latlas.commands import profile, report, search, verify
from latlas.predictor import file
from latlas.predictor.calibration import Calibration
from latlas.predictor.fit import fit
from latlas.predictor.observations import observe
from latlas.profiler.errors import SearchError, TargetMismatchError, UsageError
from latlas.search.latency import read_sources
from latlas.search.spaces import open_space
from latlas.search.study import Study
from latlas.searching import device_stations, open_latency
from latlas.studies import space_of
from latlas.targets import DeviceChoice

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("simulated")
    simulation = Simulation()
    table = simulation.write(
        folder / "table", simulation.measurements(simulation.networks(12, seed=0))
    )
    file.save(fit(observe(table), trees=5), folder / "cpu.latlas")
    return folder / "cpu.latlas"


def invoke(command: Any, *arguments: object) -> Any:
    result = CliRunner().invoke(command, [*map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


PLUG_IN = """
import time
from pathlib import Path
from latlas.search.spaces import MogaSpace, Space
def accuracy(genes):
    with Path("log").open("a") as log:
        log.write(f"{genes}\\n")
    if genes[0] == 3:
        raise RuntimeError("does not converge")
    return 0.5 + sum(genes) / 1000
def slow(genes):
    time.sleep(0.2)
    return accuracy(genes)
class Relative(Space):
    choices = (12,) * 14
    def decode(self, genes):
        return MogaSpace(self.resolution, 0.5, self.classes, self.channels).decode(genes)
class ByClass:
    standard_error = 0.01
    def __init__(self, space):
        self.size = len(space.choices)
    @property
    def identity(self):
        return {"size": self.size}
    def evaluate(self, genes):
        return [sum(one) / 12 / self.size for one in genes]
"""


@pytest.fixture
def plug_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the user's own code, which one is in."""
    (tmp_path / "own_accuracy.py").write_text(PLUG_IN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "own_accuracy", raising=False)
    return tmp_path


def test_several_targets_constraints_and_accuracies_of_ones_own(
    predictor: Path, plug_in: Path
) -> None:
    slower = replace(file.load(predictor), calibration=Calibration(3.0, 0.0, 0.0, 0.0, 5))
    slower = replace(slower, target=replace(slower.target, device="a phone"))
    file.save(slower, plug_in / "phone.latlas")
    arguments: list[object] = [
        *("--resolution", 32, "--accuracy", "own_accuracy:accuracy", "-o", plug_in / "study"),
        *("--latency", f"here={predictor}", "--latency", "phone=phone.latlas"),
        *("--objective", "accuracy:max:2", "--objective", "latency@phone:min", "--json"),
        *("--max", "params=4e6", "--min", "accuracy=0.5", "--screen"),
        *("--population", 8, "--seed", 1),
    ]
    document = invoke(search.main, *arguments, "--evaluations", 30)
    study = Study.open(plug_in / "study")
    assert document["targets"]["latency_ms@phone"]["device"] == "a phone"
    assert [one.metric for one in study.objectives] == ["accuracy", "latency_ms@phone"]
    assert [one.metric for one in study.constraints] == ["params", "accuracy"]
    history = study.history
    assert len(history) == 30
    failed = [trial for trial in history if trial.error]
    assert {trial.error for trial in failed} <= {"RuntimeError: does not converge"}
    screened = [trial for trial in history if trial.params > 4e6]
    assert screened and all("accuracy left out, since params" in t.note for t in screened)
    asked = (plug_in / "log").read_text().splitlines()
    assert asked == [str(t.genes) for t in history if t not in screened]
    for entry in document["front"]:
        assert entry["params"] <= 4e6 and entry["test_accuracy"] is None
        assert entry["latency_ms@phone"] > entry["latency_ms"] > 0

    for name, device in (("", "a simulated phone"), ("phone", "a phone")):
        with pytest.raises(TargetMismatchError, match=device):
            invoke(verify.main, plug_in / "study", "--latency", name)
    with pytest.raises(UsageError, match="latency_ms@phone"):
        invoke(verify.main, plug_in / "study", "--latency", "gpu")


@pytest.mark.parametrize("space", ["fairnas", f"toml:{EXAMPLES / 'mobilenet_v3.toml'}"])
def test_any_space_is_searched_with_accuracies_of_ones_own(
    predictor: Path, plug_in: Path, space: str
) -> None:
    arguments = [
        *("--space", space, "--resolution", 32, "--latency", predictor, "--json"),
        *("--accuracy", "own_accuracy:ByClass", "--classes", 10, "--population", 5),
    ]
    document = invoke(search.main, *arguments, "-o", plug_in / "study", "--evaluations", 10)
    assert document["tried"] == 10
    own = Study.open(plug_in / "study").settings["accuracy"]["own"]
    assert own == {"size": len(open_space(space).choices)}


def test_a_space_of_ones_own_is_searched_resumed_and_verified(
    predictor: Path, plug_in: Path
) -> None:
    arguments = [
        *("--space", "own_accuracy:Relative", "--resolution", 32, "--latency", predictor),
        *("--accuracy", "own_accuracy:accuracy", "--population", 5, "-o", "study", "--json"),
    ]
    assert invoke(search.main, *arguments, "--evaluations", 10)["tried"] == 10
    study = Study.open(plug_in / "study")
    assert study.settings["space"]["name"] == "own_accuracy:Relative"
    del sys.modules["own_accuracy"]
    assert invoke(search.main, *arguments, "--evaluations", 15)["tried"] == 15
    # Beside one that fails, quick ones are asked for again, each by itself.
    assert len(set((plug_in / "log").read_text().splitlines())) == 15

    del sys.modules["own_accuracy"]
    with pytest.raises(SearchError, match="--space own_accuracy:Relative"):
        space_of(study)
    assert "own_accuracy" not in sys.modules
    named = ("--space", "own_accuracy:Relative")
    with pytest.raises(TargetMismatchError, match="a simulated phone"):
        invoke(verify.main, plug_in / "study", *named)
    assert space_of(study).name == "Relative"
    page = invoke(report.main, plug_in / "study", "-o", "study.html", *named, "--json")
    assert page["page"] == "study.html"

    plan = ("--space", "own_accuracy:Relative", "--resolution", 32, "--plan", "--json")
    assert invoke(profile.main, *plan)["plan"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--latency", "a"), "-o is missing"),
        (("-o", "study"), "--latency is missing"),
        (("--latency", "a", "--latency", "b", "-o", "s"), "a name of its own"),
        (("--latency", "a", "-o", "s", "--max", "power=3"), "no metric 'power' in this search"),
        (("--latency", "a", "-o", "s", "--max", "latency"), "METRIC=LIMIT"),
        (("--latency", "a", "-o", "s", "--min", "accuracy=much"), "METRIC=LIMIT"),
        (("--latency", "a", "-o", "s", "--objective", "accuracy"), "METRIC:max"),
        (("--latency", "a", "-o", "s", "--objective", "accuracy:up"), "METRIC:max"),
        (("--latency", "a", "-o", "s", "--objective", "accuracy:max:x"), "METRIC:max"),
        (("--latency", "a", "-o", "s", "--weights", "1:1"), "three numbers"),
        (("--latency", "a", "-o", "s", "--target-ms", "3"), "--reward"),
        (("--latency", "a", "-o", "s", "--reward", "soft"), "evolution and ppo"),
        (("--latency", "a", "-o", "s", "--searcher", "tabu"), "no searcher 'tabu'"),
        (("--latency", "a", "-o", "s", "--set-searcher", "x=1"), "no setting 'x'"),
        (("--latency", "a", "-o", "s", "--accuracy", "none"), "known are supernet"),
        (("--latency", "a", "-o", "s", "--accuracy", "no.such:thing"), "no.such:thing"),
        (("--latency", "a", "-o", "s", "--set", "N=4"), "no setting 'N'"),
        (("--latency", "a", "-o", "s", "--space", "json:loads"), "is no search space"),
        (("--latency", "a", "-o", "s", "--folds", "3"), "--accuracy train:RECIPE, not 'supernet'"),
        (("--latency", "a", "-o", "s", "--set-searcher", "x"), "--set-searcher takes KEY=VALUE"),
        (
            ("--latency", "a", "-o", "s", "--population", "4", "--set-searcher", "population=8"),
            "give one",
        ),
        (("--latency", "a", "-o", "s", "--gpus-per-evaluation", "1"), "--workers"),
        (
            ("--latency", "a", "-o", "s", "--accuracy", "table:x.csv", "--epochs", "2"),
            "--epochs is for what is trained here",
        ),
        (
            ("--latency", "a", "-o", "s", "--accuracy", "train:digits", "--repeats", "2"),
            "give both",
        ),
    ],
    ids=str,
)
def test_wrong_usage_is_said_before_anything_is_written(
    plug_in: Path, arguments: tuple[str, ...], words: str
) -> None:
    if "--reward" in arguments:
        arguments = (*arguments, "--target-ms", "3")
    with pytest.raises(UsageError, match=words):
        invoke(search.main, *arguments)
    assert [path.name for path in plug_in.iterdir()] in (["own_accuracy.py"],)


@pytest.mark.parametrize(
    ("searcher", "workers"),
    [("nsga2", 1), ("random", 1), ("evolution", 1), ("ppo", 1), ("nsga2", 2)],
)
def test_killed_and_resumed(
    predictor: Path, plug_in: Path, searcher: str, workers: int, request: pytest.FixtureRequest
) -> None:
    # Small generations, so that all have learned before the second kill.
    small = {
        "nsga2": ("--population", "4"),
        "evolution": ("--population", "4", "--set-searcher", "sample=2"),
    }.get(searcher, ())
    if searcher != "nsga2":
        small += ("--set-searcher", "batch=3")

    def arguments(accuracy: str, study: str, workers: int = 1) -> list[str]:
        return [
            *("--workers", str(workers)),
            *("--resolution", "32", "--latency", str(predictor), "-o", study),
            *("--searcher", searcher, "--accuracy", f"own_accuracy:{accuracy}", "--json"),
            *("--evaluations", "14", "--seed", "3", *small),
        ]

    history = plug_in / "killed" / "history.jsonl"
    again = arguments("slow", "killed", workers)
    if workers > 1:
        again += ["--ray-address", request.getfixturevalue("ray_hosts").address]
    for wanted in (2, 9) if workers == 1 else (9,):
        command = [sys.executable, "-m", "latlas", "search", *again]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while not history.exists() or history.read_bytes().count(b"\n") < wanted:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        process.kill()
        process.wait()
    subprocess.run([sys.executable, "-m", "latlas", "search", *again], check=True)
    evaluated = (plug_in / "log").read_text().splitlines()
    assert len(evaluated) <= 14 + 2  # only what was in flight at a kill is evaluated again
    invoke(search.main, *arguments("accuracy", "whole"))
    killed, whole = (Study.open(plug_in / name).history for name in ("killed", "whole"))
    assert [replace(trial, seconds=0) for trial in killed] == [
        replace(trial, seconds=0) for trial in whole
    ]


TRAINED = """
from latlas.profiler.graph_builder import GraphBuilder
from latlas.search.blocks import classifier, conv_bn, mbconv
from latlas.search.spaces import Space
class Small(Space):
    choices = (4, 3)
    def decode(self, genes):
        b = GraphBuilder((1, self.resolution, self.resolution, self.channels))
        x = conv_bn(b, b.input, 8 * (genes[0] + 1), 3, stride=2, act="relu")
        x = mbconv(b, x, 16, 3 + 2 * genes[1], expanded=32)
        return b.build(classifier(b, b.mean(x), self.classes))
"""
RECIPE = """
epochs = 5
ema = 0.9
resolution = 8
[optimizer]
kind = "rmsprop"
weight_decay = 1e-4
[learning_rate]
value = 0.01
per = 0
[augmentation]
crop = "pad"
padding = 1
"""


def test_killed_in_the_middle_of_a_training(predictor: Path, plug_in: Path) -> None:
    (plug_in / "own_small.py").write_text(TRAINED)
    (plug_in / "recipe.toml").write_text(RECIPE)

    def command(study: str) -> list[str]:
        return [
            *(sys.executable, "-m", "latlas", "search", "--space", "own_small:Small"),
            *("--latency", str(predictor), "--accuracy", "train:recipe.toml", "--folds", "2"),
            *("--searcher", "random", "--set-searcher", "batch=1", "--evaluations", "1"),
            *("--resolution", "32", "--classes", "10", "-o", study),
        ]

    process = subprocess.Popen(command("killed"), stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (kept := list((plug_in / "killed").glob("training/*/[0-9].npz"))):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.wait()
    with np.load(kept[0]) as state:
        assert 0 < len(state["losses"]) < 5
    subprocess.run(command("killed"), check=True, stderr=subprocess.DEVNULL)
    subprocess.run(command("whole"), check=True, stderr=subprocess.DEVNULL)
    killed, whole = (Study.open(plug_in / name) for name in ("killed", "whole"))
    assert [replace(trial, seconds=0) for trial in killed.history] == [
        replace(trial, seconds=0) for trial in whole.history
    ]
    assert all(trial.accuracy > 0.3 for trial in whole.history)
    assert whole.settings["accuracy"]["folds"] == 2
    assert not list((plug_in / "killed" / "training").iterdir())


def test_cells_are_measured_and_predicted_straight_from_their_graphs() -> None:
    space = open_space("nasnet", resolution=32, classes=10, settings={"N": "1", "F": "8"})
    (source,) = read_sources(["device:local/cpu"])
    with open_latency(source, space) as site:
        outcomes = site.measure(space.sample(2, seed=0))
    assert all(outcome.value > 0 and not outcome.error for outcome in outcomes)


def test_devices_are_measured_by_workers_of_the_cluster(plug_in: Path, ray_hosts: Any) -> None:
    document = invoke(
        search.main,
        *("--resolution", 32, "--classes", 10, "--latency", "device:local/cpu", "--json"),
        *("--accuracy", "own_accuracy:ByClass", "-o", plug_in / "study", "--evaluations", 4),
        *("--population", 4, "--ray-address", ray_hosts.address),
    )
    assert document["targets"]["latency_ms"]["delegate"] == "cpu"
    history = Study.open(plug_in / "study").history
    assert len(history) == 4 and all(trial.latency_ms > 0 for trial in history)


def test_a_phone_is_measured_by_the_host_that_offers_it() -> None:
    space = open_space("moga", resolution=32)
    (source,) = read_sources(["device:A,B/gpu"])
    choice = DeviceChoice(threads=2)
    offered, other = device_stations(source, space, choice, {"CPU": 4.0, "phone:A": 1.0})
    assert (offered.resources, offered.here, offered.cpus) == ({"phone:A": 1}, False, 0)
    assert (other.resources, other.here) == ({}, True)
    assert str(offered) == "1 phone:A" and str(other) == "no resources on this machine"
    opened = pickle.loads(pickle.dumps(offered)).open
    assert opened.args == (space, replace(choice, device="A", delegates=("gpu",)))
