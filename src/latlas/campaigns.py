"""Campaigns on one target or on many: several delegates of a device, several phones at once.

Every target has a table of its own. Those of one device are measured one after the other, devices
beside each other; one that fails does not stop the others.
"""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latlas.console import say
from latlas.targets import LOCAL, DeviceChoice, PhoneTargets, open_local

if TYPE_CHECKING:
    from latlas.profiler.campaign import CampaignReport
    from latlas.profiler.device_config import TargetChoice
    from latlas.profiler.jobs import CampaignJob
    from latlas.profiler.measurement import Measurement
    from latlas.profiler.runner import Runner
    from latlas.profiler.session import Progress

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
    """

    plan: Callable[[Runner, Sequence[Measurement]], Planned]
    seed: int
    budget_s: float | None
    warmup_ms: float | None = None


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

    def to_json(self) -> dict[str, Any]:
        """Return a plain dictionary."""
        where = {"device": self.device, "name": self.name, "table": str(self.folder)}
        return where | self.document | ({"error": str(self.error)} if self.error else {})


def run_campaigns(choice: DeviceChoice, folder: Path, order: Order) -> list[Outcome]:
    """Measure what is ordered on every target that is chosen.

    With one target, `folder` is its table; with several targets of one device they lie in it, and
    with several devices each has a folder of its own in it.

    Returns:
        An outcome for each target, or for a device that could not be used at all.

    Raises:
        UsageError: the choice names nothing that exists.
    """
    devices = choice.devices()
    stop = threading.Event()

    def run(position: int, device: str) -> list[Outcome]:
        where = folder if len(devices) == 1 else None
        return _Device(device, choice, folder, where, order, stop, position).run()

    if devices == (LOCAL,):
        return run(0, LOCAL)
    with ThreadPoolExecutor(len(devices)) as threads:
        futures = [threads.submit(run, i, device) for i, device in enumerate(devices)]
        waiting = set(futures)
        while waiting:
            try:
                _, waiting = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
            except KeyboardInterrupt:
                say("interrupted: the batches that run are finished first")
                stop.set()
        return [outcome for future in futures for outcome in future.result()]


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

    def run(self) -> list[Outcome]:
        from latlas.profiler.errors import LatlasError

        try:
            opened = self.targets()
        except (LatlasError, OSError) as problem:
            return [Outcome(self.device, "", self.own or self.root, error=problem)]
        outcomes = []
        for name, open_target in opened:
            if self.stop.is_set():
                break
            assert self.own is not None
            folder = self.own if len(opened) == 1 else self.own / name
            outcome = Outcome(self.device, name, folder)
            outcomes.append(outcome)
            try:
                with open_target() as runner:
                    self.measure(runner, outcome)
            except (LatlasError, OSError) as problem:
                outcome.error = problem
        return outcomes

    def targets(self) -> list[tuple[str, Callable[[], Any]]]:
        """Return the targets of the device by name; of a phone, those that work."""
        if self.device == LOCAL:
            self.own = self.own or self.root / LOCAL
            return [
                (name, partial(open_local, replace(self.choice, delegates=(name,))))
                for name in self.choice.delegates
            ]
        phone = PhoneTargets(self.device, self.choice, self._own_configs())
        if self.own is None:
            self.own = self.root / f"{_slug(phone)}-{phone.unit[:6]}"
        found: list[tuple[str, Callable[[], Any]]] = []
        working: list[TargetChoice] = []
        problems: list[Exception] = []
        for target in phone.targets:
            from latlas.profiler.errors import NotDelegatedError

            try:
                with phone.open(target, say=self.tell) as runner:
                    backend = runner.target.backend if target.delegate == "gpu" else ""
            except NotDelegatedError as problem:
                if len(phone.targets) == 1:
                    raise
                problems.append(problem)
                self.tell(f"{self.device}: not measured: {problem}")
                continue
            known = replace(target, backend=backend) if backend in ("opencl", "opengl") else target
            working.append(known)
            found.append((target_name(known), partial(self.open, phone, known)))
        if not found:
            raise problems[0]
        phone.keep(self.own / CONFIG, working)
        return found

    def open(self, phone: PhoneTargets, target: TargetChoice) -> Any:
        def sleep(seconds: float) -> None:
            if self.stop.wait(seconds):
                raise KeyboardInterrupt

        return phone.open(target, say=self.tell, sleep=sleep)

    def measure(self, runner: Runner, outcome: Outcome) -> None:
        self.tell(f"target: {runner.target}")
        planned = self.order.plan(runner, known_measurements(outcome.folder))
        self.tell(planned.text)
        outcome.report, failed = measure(
            runner,
            outcome.folder,
            planned.jobs,
            self.order.seed,
            self.order.budget_s,
            self.order.warmup_ms,
            progress=self.bar(outcome),
            stop=self.stop,
        )
        outcome.document = {
            "target": runner.target.to_json(),
            "plan": planned.document,
            "report": report_document(outcome.report),
            "failed": failed,
        }

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
        from latlas.profiler.device_config import load_config

        folders = [self.own] if self.own else [p for p in self.root.glob("*") if p.is_dir()]
        return [load_config(each / CONFIG) for each in folders if (each / CONFIG).is_file()]


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
    progress: Callable[[int, int], Progress] | None = None,
    stop: threading.Event | None = None,
) -> tuple[CampaignReport, list[dict[str, Any]]]:
    """Run a campaign into a table, with its progress on stderr.

    Args:
        runner: runs the models.
        folder: of the table.
        jobs: what to measure.
        seed: of the order.
        budget_s: seconds after which it ends, since a plan is an estimate; None is no limit.
        warmup_ms: as in `Order`.
        progress: makes a display, given the number of jobs already done and of all jobs.
        stop: set from another thread, ends it as Ctrl-C does.

    Returns:
        The campaign's report, and the jobs that the table holds without a figure: id, verdict and
        reason.
    """
    from latlas.profiler.campaign import Campaign, CampaignSettings
    from latlas.profiler.table import Table

    max_s = math.inf if budget_s is None else budget_s
    settings = CampaignSettings(seed=seed, max_s=max_s, warmup_ms=warmup_ms)
    report = Campaign(runner, folder, jobs, settings, progress=progress, stop=stop).run()
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
    if report.noisy or report.throttled:
        lines.append(
            f"{report.noisy} stayed noisy and {report.throttled} throttled: close other programs "
            "and profile into a new table for better figures"
        )
    if report.left:
        lines.append(f"{report.left} left: {left}")
    return "\n".join(lines)
