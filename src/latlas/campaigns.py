"""Campaigns on one target or on many: several delegates of a device, several phones at once.

Every target has a table of its own. Those of one device are measured one after the other, devices
beside each other; one that fails does not stop the others.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latlas.console import say
from latlas.targets import LOCAL, DeviceChoice, PhoneTargets, open_local, wanted_targets

if TYPE_CHECKING:
    from latlas.profiler.campaign import CampaignReport
    from latlas.profiler.device_config import TargetChoice
    from latlas.profiler.jobs import CampaignJob
    from latlas.profiler.measurement import Measurement
    from latlas.profiler.progress import Progress
    from latlas.profiler.runner import Runner
    from latlas.profiler.target import Delegate

Measure = Callable[[Sequence["CampaignJob"]], bool]
"""Measures jobs; returns whether all were measured in the time that there is."""

CONFIG = "device.toml"
"""The file beside the tables of a phone that says what it is; the user may edit it."""


@dataclass(frozen=True, slots=True)
class Planned:
    """What is to be measured on one target.

    Attributes:
        jobs: that the table shall hold in the end; those it holds already are skipped.
        document: the plan as a plain dictionary.
        text: the plan for people.
    """

    jobs: Sequence[CampaignJob]
    document: dict[str, Any]
    text: str


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be measured on every target.

    Attributes:
        plan: from a runner, and what its table holds already, to what is to be measured.
        seed: of the order of the jobs.
        budget_s: seconds for each target, since a plan is an estimate; None is no limit.
        warmup_ms: milliseconds of untimed runs where every model gets a process of its own; None
            finds out how many a target needs.
        patience_s: seconds that a slow device is waited for in all; None is the default of
            `latlas.profiler.campaign_settings.CampaignSettings`.
        fusion_rules: version of the rules that split the networks; None for the delegate's own.
        rounds: what goes on when all that is planned is measured: given a runner, the table's
            folder, what measures further jobs and what prints, returns a document.
    """

    plan: Callable[[Runner, Sequence[Measurement]], Planned]
    seed: int
    budget_s: float | None
    warmup_ms: float | None = None
    patience_s: float | None = None
    fusion_rules: str | None = None
    rounds: Callable[[Runner, Path, Measure, Callable[[str], None]], list[Any]] | None = None


@dataclass
class Outcome:
    """What became of one target.

    Attributes:
        device: ``local`` or a serial number.
        name: of the target on its device, e.g. ``cpu-4-7``; empty if it did not come to that.
        folder: of the table.
        document: what is printed as JSON: target, plan, report, failed jobs.
        report: of the campaign; None where it failed.
        error: why it failed.
    """

    device: str
    name: str
    folder: Path
    document: dict[str, Any] = field(default_factory=dict)
    report: CampaignReport | None = None
    error: Exception | None = None

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C ended its campaign."""
        return self.report is not None and self.report.interrupted

    def to_json(self) -> dict[str, Any]:
        """Return a plain dictionary."""
        where = {"device": self.device, "name": self.name, "table": str(self.folder)}
        return where | self.document | ({"error": str(self.error)} if self.error else {})


def run_campaigns(choice: DeviceChoice, folder: Path, order: Order) -> tuple[list[Outcome], bool]:
    """Measure what is ordered on every target that is chosen.

    A phone's tables lie in `folder`, one for each target; this machine's with one delegate is
    `folder` itself. With ``all`` or several devices, each has a folder of its own in it.

    Returns:
        An outcome for each target, or for a device that could not be used at all; and whether
        Ctrl-C ended it early.

    Raises:
        UsageError: the choice names nothing that exists.
    """
    devices = choice.devices()
    own = folder if choice.names_one else None
    stop = threading.Event()

    def run(position: int, device: str) -> list[Outcome]:
        return _Device(device, choice, folder, own, order, stop, position).run()

    if devices == (LOCAL,):
        outcomes = run(0, LOCAL)
        return outcomes, stop.is_set() or any(each.interrupted for each in outcomes)
    with ThreadPoolExecutor(len(devices)) as threads:
        futures = [threads.submit(run, i, device) for i, device in enumerate(devices)]
        waiting = set(futures)
        while waiting:
            try:
                _, waiting = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
            except KeyboardInterrupt:
                if stop.is_set():
                    # Threads cannot be ended. What is written is whole, and the next start puts
                    # back what is left on the phones.
                    os._exit(1)
                stop.set()
                say("interrupted: the batches that run are finished first (again: end at once)")
        return [outcome for future in futures for outcome in future.result()], stop.is_set()


@dataclass
class _Device:
    """The campaigns of one device, one after the other."""

    device: str
    choice: DeviceChoice
    root: Path
    own: Path | None  # folder of this device; None: one in the root, named when it is known
    order: Order
    stop: threading.Event
    position: int  # of its progress bar
    outcomes: list[Outcome] = field(default_factory=list)
    told: str = ""  # the plan that people have seen last

    def run(self) -> list[Outcome]:
        """Return an outcome for every target; nothing is raised, whatever happens."""
        try:
            opened = self.targets()
        except KeyboardInterrupt:
            self.stop.set()
            return self.outcomes
        except Exception as problem:
            return [*self.outcomes, Outcome(self.device, "", self.own or self.root, error=problem)]
        for outcome, open_target in opened:
            if self.stop.is_set():
                break
            self.outcomes.append(outcome)
            try:
                with open_target() as runner:
                    self.measure(runner, outcome)
            except KeyboardInterrupt:
                self.stop.set()
            except Exception as problem:  # of this target, not of the others
                outcome.error = problem
        return self.outcomes

    def outcome(self, name: str, of: int) -> Outcome:
        """Return the outcome of a target, to be filled.

        A phone may always get further targets, this machine's one table stays what it is.
        """
        assert self.own is not None
        alone = of == 1 and self.device == LOCAL
        return Outcome(self.device, name, self.own if alone else self.own / name)

    def targets(self) -> list[tuple[Outcome, Callable[[], Any]]]:
        """Return the targets that work, with a way to open each; note those that do not.

        Raises:
            UsageError: there is no such phone, or no binary or configuration for it.
            DeviceError: the phone cannot be used.
        """
        from latlas.profiler.errors import DeviceCommandError, RunnerError

        if self.device == LOCAL:
            self.own = self.own or self.root / LOCAL
            names = self.choice.delegates
            return [
                (
                    self.outcome(name, len(names)),
                    partial(open_local, replace(self.choice, delegates=(name,))),
                )
                for name in names
            ]
        phone = PhoneTargets(self.device, self.choice, self._own_configs())
        if self.own is None:
            self.own = self.root / f"{_slug(phone)}-{phone.unit[:6]}"
        found: list[tuple[Outcome, Callable[[], Any]]] = []
        working: list[TargetChoice] = []
        for target in phone.targets:
            outcome = self.outcome(table_name(target, self.choice), len(phone.targets))
            try:
                with self.open(phone, target) as runner:
                    backend = runner.target.backend if target.delegate == "gpu" else ""
            except (DeviceCommandError, RunnerError) as problem:
                outcome.error = problem
                self.outcomes.append(outcome)
                self.tell(f"not measured: {problem}")
                continue
            known = replace(target, backend=backend) if backend in ("opencl", "opengl") else target
            working.append(known)
            outcome = self.outcome(table_name(known, self.choice), len(phone.targets))
            found.append((outcome, partial(self.open, phone, known)))
        if found:
            phone.keep(self.own / CONFIG, working)
        return found

    def open(self, phone: PhoneTargets, target: TargetChoice) -> Any:
        def sleep(seconds: float) -> None:
            if self.stop.wait(seconds):
                raise KeyboardInterrupt

        return phone.open(target, say=self.tell, sleep=sleep)

    def measure(self, runner: Runner, outcome: Outcome) -> None:
        planned = self.order.plan(runner, known_measurements(outcome.folder))
        where = "" if self.device == LOCAL else f"{self.device} {outcome.name}: "
        self.tell(f"{where}target: {runner.target}")
        self.tell(planned.text if planned.text != self.told else f"{where}the same plan")
        self.told = planned.text
        failed: list[dict[str, Any]] = []
        outcome.document = {
            "target": runner.target.to_json(),
            "plan": planned.document,
            "failed": failed,
        }

        def go_on(jobs: Sequence[CampaignJob]) -> bool:
            spent_s = outcome.report.wall_s if outcome.report else 0.0
            budget_s = self.order.budget_s
            report, unmeasured = measure(
                runner,
                outcome.folder,
                jobs,
                self.order.seed,
                None if budget_s is None else max(budget_s - spent_s, 0.0),
                self.order.warmup_ms,
                self.order.patience_s,
                progress=self.bar(outcome),
                stop=self.stop,
                fusion_rules=self.order.fusion_rules,
            )
            failed.extend(unmeasured)
            outcome.report = outcome.report.and_then(report) if outcome.report else report
            outcome.document["report"] = report_document(outcome.report)
            return not (report.interrupted or report.left)

        complete = go_on(planned.jobs)
        if complete and self.order.rounds is not None:
            rounds = self.order.rounds(runner, outcome.folder, go_on, self.tell)
            outcome.document["rounds"] = rounds

    def bar(self, outcome: Outcome) -> Callable[[int, int], Any]:
        from tqdm import tqdm

        label = None if self.device == LOCAL else f"{self.device} {outcome.name}"

        def make(done: int, total: int) -> Any:
            return tqdm(
                total=total,
                initial=done,
                desc=label,
                position=self.position,
                unit="job",
                file=sys.stderr,
            )

        return make

    def tell(self, text: str) -> None:
        """Print a message without tearing the bars of other devices."""
        from tqdm import tqdm

        tqdm.write(text, file=sys.stderr)

    def _own_configs(self) -> list[Any]:
        """Return the configurations beside the tables, those of other phones included."""
        from latlas.profiler.device_config_file import load_config
        from latlas.profiler.errors import UsageError

        if self.own:
            path = self.own / CONFIG
            return [load_config(path)] if path.is_file() else []
        found = []
        for path in self.root.glob(f"*/{CONFIG}"):
            try:
                found.append(load_config(path))
            except UsageError as problem:  # another phone's, perhaps
                self.tell(f"left aside: {problem}")
        return found


def target_name(target: TargetChoice) -> str:
    """Return what a target's table is called among others of its phone.

    >>> from latlas.profiler.device_config import TargetChoice
    >>> target_name(TargetChoice("cpu", "4-7", 2)), target_name(TargetChoice("gpu"))
    ('cpu-4-7-2t', 'gpu')
    """
    if target.delegate == "gpu":
        return "-".join(filter(None, ("gpu", target.backend)))
    threads = f"{target.threads}t" if target.threads > 1 else ""
    return "-".join(filter(None, ("cpu", target.cores.replace(",", "+"), threads)))


def table_name(target: TargetChoice, choice: DeviceChoice) -> str:
    """Return what the folder of a target's table is called."""
    return target_name(target) + ("-int8" if choice.int8 else "")


@dataclass(frozen=True, slots=True)
class Before:
    """A target of a command, as far as it is known before a device is asked.

    Attributes:
        name: of its table among others.
        delegate: what runs the models.
        folder: of its table, there already or not; None where only the device knows which it is.
    """

    name: str
    delegate: Delegate
    folder: Path | None


def before(choice: DeviceChoice, folder: Path | None) -> list[Before]:
    """Return the targets that `run_campaigns` would measure, without asking a device.

    A phone's targets are those of the configuration beside its tables. Where there is none, or it
    does not say what the GPU runs on, the only table of a delegate is the one that is meant.

    Raises:
        UsageError: the configuration cannot be read.
    """
    from latlas.profiler.device_config_file import load_config
    from latlas.profiler.table import JOURNAL

    names = choice.delegates
    if choice.device == LOCAL and folder is not None:
        alone = len(names) == 1
        return [Before(name, name, folder if alone else folder / name) for name in names]
    if folder is None or not choice.names_one:
        return [Before(name, name, None) for name in names]
    path = choice.config or folder / CONFIG
    configured = load_config(path).targets if path.is_file() else ()
    found = []
    for target in wanted_targets(choice, configured):
        name = table_name(target, choice)
        said = target.backend if target.delegate == "gpu" else target.cores or target in configured
        places = [folder / name]
        if not said:
            tables = folder.glob(f"{target.delegate}*/{JOURNAL}")
            places = [t.parent for t in tables if t.parent.name.endswith("-int8") == choice.int8]
        (place,) = places if len(places) == 1 else [None]
        found.append(Before(place.name if place else name, target.delegate, place))
    return found


def _slug(phone: PhoneTargets) -> str:
    from latlas.profiler.device_config import config_of

    return config_of(phone.identity, ()).name


def known_measurements(folder: Path | None) -> Sequence[Measurement]:
    """Return what a table holds already, nothing where there is none yet."""
    from latlas.profiler.table import JOURNAL, Table

    if folder is None or not (folder / JOURNAL).exists():
        return ()
    return Table.open(folder).measurements


def measure(
    runner: Runner,
    folder: Path,
    jobs: Sequence[CampaignJob],
    seed: int,
    budget_s: float | None,
    warmup_ms: float | None = None,
    patience_s: float | None = None,
    progress: Callable[[int, int], Progress] | None = None,
    stop: threading.Event | None = None,
    fusion_rules: str | None = None,
) -> tuple[CampaignReport, list[dict[str, Any]]]:
    """Run a campaign into a table, with its progress on stderr.

    Args:
        runner: runs the models.
        folder: of the table.
        jobs: what to measure.
        seed: of the order.
        budget_s: seconds after which it ends, since a plan is an estimate; None is no limit.
        warmup_ms: as in `Order`.
        patience_s: as in `Order`.
        progress: makes a display, given the number of jobs already done and of all jobs.
        stop: set from another thread, ends it as Ctrl-C does.
        fusion_rules: as in `Order`.

    Returns:
        The campaign's report, and the jobs that the table holds without a figure: id, verdict and
        reason.
    """
    from latlas.predictor.calibration import MIN_NETWORKS
    from latlas.profiler.campaign import Campaign, CampaignSettings
    from latlas.profiler.table import Table

    settings = CampaignSettings(seed=seed, warmup_ms=warmup_ms)
    if patience_s is not None:
        settings = replace(settings, patience_s=patience_s)
    if budget_s is not None:
        settings = replace(settings, max_s=budget_s, networks_first=MIN_NETWORKS)
    report = Campaign(
        runner, folder, jobs, settings, fusion_rules=fusion_rules, progress=progress, stop=stop
    ).run()
    ids = {job.id for job in jobs}
    failed = [
        {"id": m.id, "verdict": m.verdict, "reason": m.reason}
        for m in Table.open(folder).measurements
        if m.summary is None and m.id in ids
    ]
    return report, failed


def report_document(report: CampaignReport) -> dict[str, Any]:
    """Return a campaign's report as a plain dictionary."""
    from dataclasses import asdict

    ratio = report.overhead_ratio
    return asdict(report) | {"overhead_ratio": ratio if ratio < float("inf") else None}


def report_text(
    folder: Path, report: CampaignReport, left: str = "give the same command again to go on"
) -> str:
    """Return a campaign's report for people; `left` says what becomes of jobs that are left."""
    lines = [
        f"{folder}: {report.measured} measured, {report.skipped} there already, "
        f"{report.failed} failed, in {report.wall_s:.1f} s"
    ]
    if report.again:
        lines.append(f"{report.again} of a slow device, measured again when it was well")
    if report.noisy or report.throttled:
        lines.append(
            f"of these, {report.noisy} stayed noisy and {report.throttled} throttled: close other "
            "programs, or let the device cool; the same command measures what is throttled again"
        )
    if report.left:
        lines.append(f"{report.left} left: {left}")
    return "\n".join(lines)
