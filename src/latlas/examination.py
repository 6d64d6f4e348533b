"""A phone, examined: what stops a measurement, what spoils one, and what mends that."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from latlas.console import printable
from latlas.profiler.adb.conditions import (
    Affinity,
    BatteryLevel,
    Charging,
    FixedPerformance,
    ScreenAwake,
    ThermalStatus,
    restore_quietly,
    usual_conditions,
)
from latlas.profiler.adb.phone import FOLDER, Phone
from latlas.profiler.adb.text import clean

if TYPE_CHECKING:
    from latlas.profiler.adb.identity import PhoneIdentity
    from latlas.targets import DeviceChoice, PhoneTargets

Trouble = Literal["missing", "spoils", "stops"]
"""What is not as it should be: an option less, worse figures, or no figures at all."""

MIN_FREE_MB = 200
"""Room for a benchmark binary and a batch of models, in megabytes (10^6 bytes)."""

_MAX_TEXT = 1000
_BUSY = f"[{FOLDER[0]}]{FOLDER[1:]}/"  # a regular expression that does not match itself


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: what.
        ok: whether it is as it should be.
        found: what is there.
        mend: the command, or else the step, that mends it; empty where `ok`.
        trouble: what it means where it is not `ok`.
    """

    name: str
    ok: bool
    found: str
    mend: str = ""
    trouble: Trouble = "missing"

    @property
    def state(self) -> str:
        """One word for the table."""
        return "ok" if self.ok else self.trouble

    def to_json(self) -> dict[str, Any]:
        """Return a plain dictionary."""
        return {"name": self.name, "ok": self.ok, "found": self.found, "mend": self.mend}


def examine(serial: str, choice: DeviceChoice) -> list[Check]:
    """Return all that can be told about one phone, having measured a small model on it.

    Whatever it needs for that is put back. A phone that stops answering is given up, not waited
    for.

    Args:
        serial: what adb calls the phone.
        choice: what the user says besides.
    """
    from latlas.profiler.errors import DeviceError

    examination = _Examination(serial, choice)
    try:
        examination.run()
    except DeviceError as problem:
        mend = f"unplug the phone and plug it in again, then: {examination.doctor}"
        examination.add("answers", False, str(problem), mend, "stops")
    return examination.checks


class _Examination:
    """Looks at one phone, step by step.

    Attributes:
        checks: what was found so far.
        doctor: the command that examines this phone.
    """

    def __init__(self, serial: str, choice: DeviceChoice) -> None:
        self.serial = serial
        self.choice = choice
        self.phone = Phone(serial)
        self.checks: list[Check] = []
        self.doctor = f"latlas doctor --device {shlex.quote(serial)}"
        self.fetch = f"latlas doctor --fetch-runner --device {shlex.quote(serial)}"

    def add(
        self, what: str, ok: bool, found: str, mend: str = "", trouble: Trouble = "spoils"
    ) -> None:
        """Note something, in text that is safe to print whatever the phone has said."""
        name = f"phone {clean(self.serial) or '?'}: {what}"
        self.checks.append(Check(name, ok, _safe(found), "" if ok else _safe(mend), trouble))

    def run(self) -> None:
        """Look at everything, as far as what comes first allows."""
        from latlas.profiler.adb.waiting import phone_state
        from latlas.profiler.errors import DeviceError

        try:
            state, mend = phone_state(self.serial)
        except DeviceError as problem:  # of the adb server, not of the phone
            state, mend = str(problem), "apt-get install adb"
        self.add("state", state == "ready", state, mend, "stops")
        if state != "ready":
            return
        identity = self.phone.identity()
        self._identity(identity)
        targets = self._configuration(identity)
        self._power()
        self._space()
        self._health(None if targets is None else targets.config.thermal_limit)
        if not self._idle():
            return
        self._settings()
        if targets is not None and identity.abi is not None:
            self._clusters(identity)
            if self._binary(identity.abi):
                self._delegates(targets)

    def _identity(self, identity: PhoneIdentity) -> None:
        from latlas.profiler.cores import format_cores

        clusters = [f"cores {format_cores(each.cores)}" for each in identity.clusters[:16]]
        parts = [
            " ".join(filter(None, (identity.manufacturer, identity.model))),
            identity.soc,
            identity.gpu,
            identity.android and f"Android {identity.android}",
            identity.abi or "no word about its processor",
            ", ".join(clusters) or "no word about its CPU's clusters",
        ]
        mend = "restart the phone; latlas needs its property ro.product.cpu.abi"
        self.add(
            "identity", identity.abi is not None, "; ".join(filter(None, parts)), mend, "stops"
        )

    def _power(self) -> None:
        found = self.phone.ask("settings", "get", "global", "low_power").strip()
        word = {"0": "off", "null": "off", "1": "on"}.get(found, "the phone does not say")
        mend = self.phone.adb_command("settings", "put", "global", "low_power", "0")
        self.add("power saver", word != "on", word, mend)

    def _space(self) -> None:
        folder = FOLDER.rpartition("/")[0]
        number = r"\s+([0-9]{1,15})"
        text = self.phone.ask("df", "-k", folder)[-_MAX_TEXT:]
        found = re.search(rf"{number * 3}\s+[0-9]{{1,3}}%", text)
        mend = f"make room on the phone: {self.phone.adb_command('du', '-sk', f'{folder}/')}"
        if found is None:
            self.add("free space", False, f"the phone does not say how much {folder} has", mend)
            return
        free_mb = int(found[3]) * 1024 / 1e6
        self.add("free space", free_mb >= MIN_FREE_MB, f"{free_mb:.0f} MB in {folder}", mend)

    def _idle(self) -> bool:
        """Tell whether nothing is measured there now: examining it would disturb that."""
        from latlas.profiler.adb.claim import Claim
        from latlas.profiler.errors import DeviceError

        busy = bool(self.phone.ask("pgrep", "-f", _BUSY).strip())
        try:
            # Between two batches of a campaign nothing runs there.
            Claim(self.serial, self.phone.unit()).release()
        except DeviceError:
            busy = True
        found = "another measurement runs on it" if busy else "nothing else is measured on it"
        self.add("idle", not busy, found, f"wait for its end, then: {self.doctor}", "stops")
        return not busy

    def _configuration(self, identity: PhoneIdentity) -> PhoneTargets | None:
        """Note what is known about the phone; return what can be measured, None if nothing."""
        from latlas.profiler.device_config import disagreements
        from latlas.profiler.device_config_file import find_config
        from latlas.profiler.errors import UsageError
        from latlas.targets import PhoneTargets

        try:
            targets = PhoneTargets(self.serial, replace(self.choice, delegates=("cpu", "gpu")))
            known = None if self.choice.config else find_config(identity)
        except UsageError as problem:
            mend = (
                f"correct {printable(self.choice.config)}, or leave --device-config out"
                if self.choice.config
                else "restart the phone: what it says about its CPU is said of no phone"
            )
            self.add("configuration", False, str(problem), mend, "stops")
            return None
        if self.choice.config:
            self.add("configuration", True, f"{printable(self.choice.config)} fits")
        elif known is None:
            found = "none is known for this model, what the phone says itself is used"
            self.add("configuration", True, found)
        else:
            problems = "; ".join(disagreements(known, identity))
            found = f"{known.name} does not fit, what the phone says itself is used: {problems}"
            mend = "write a TOML file that describes it, and give that with --device-config"
            fits = f"{known.name} fits"
            self.add("configuration", not problems, found if problems else fits, mend)
        return targets

    def _settings(self) -> None:
        """Put back what an interrupted start has left; try whether the phone takes what is set."""
        from latlas.profiler.errors import DeviceCommandError

        conditions = usual_conditions(self.phone, fixed_performance=True)
        try:
            left = conditions.restore_left()
            found = f"an interrupted start had left, and now put back: {', '.join(left)}"
            self.add("leftovers", True, found if left else "none")
            conditions.write()
            self._screen(conditions.refused.get(ScreenAwake.name, ""))
            refused = conditions.refused.get(FixedPerformance.name, "")
            has_it = FixedPerformance.name in conditions.written
            found = refused or "the phone's Android is older than 11"
            found = "available, with --fixed-performance" if has_it else found
            mend = "measure without --fixed-performance"
            self.add(FixedPerformance.name, has_it, found, mend, "missing")
        except DeviceCommandError as problem:
            mend = f"make room on the phone, then: {self.doctor}"
            self.add("settings", False, str(problem), mend, "stops")
        finally:
            if problem_left := restore_quietly(conditions):
                mend = f"the next start puts it back: {self.doctor}"
                self.add("settings", False, f"not put back: {problem_left}", mend)

    def _screen(self, refused: str) -> None:
        # The word after "mWakefulness=" is Awake, Dozing, Dreaming or Asleep.
        power = self.phone.ask("sh", "-c", "dumpsys power | grep -m 1 mWakefulness=")
        word = re.search(r"mWakefulness=([A-Za-z]{1,20})", power)
        asleep = word is not None and word[1] != "Awake"
        found = refused or (f"it stays {word[1]}" if word and asleep else "kept on while measuring")
        mend = self.phone.adb_command("input", "keyevent", "KEYCODE_WAKEUP")
        self.add(ScreenAwake.name, not refused and not asleep, found, mend)

    def _health(self, thermal_limit: int | None) -> None:
        limit = () if thermal_limit is None else (thermal_limit,)
        for condition in (BatteryLevel(self.phone), ThermalStatus(self.phone, *limit)):
            problem = condition.problem()
            if problem is None:
                self.add(condition.name, True, condition.show() or "the phone does not say")
            else:
                self.add(condition.name, False, problem.found, problem.mend)
        self.add("charging", True, Charging(self.phone).show() or "the phone does not say")

    def _clusters(self, identity: PhoneIdentity) -> None:
        from latlas.profiler.cores import format_cores

        names = [format_cores(cluster.cores) for cluster in identity.clusters]
        problems = [Affinity(self.phone, c.mask).problem() for c in identity.clusters]
        refused = [problem for problem in problems if problem is not None]
        can = f"can be set to {' and to '.join(names)}" if names else "its clusters are unknown"
        self.add(
            Affinity.name,
            not refused,
            "; ".join(problem.found for problem in refused) or can,
            refused[0].mend if refused else "",
        )

    def _binary(self, abi: str) -> bool:
        """Note whether there is a benchmark binary that runs there; return that."""
        from latlas.profiler.benchmark_model.binary import find_binary
        from latlas.profiler.benchmark_model.installation import install
        from latlas.profiler.errors import DeviceCommandError, RunnerError, UsageError

        mend = self.fetch
        if self.choice.runner_binary:
            mend = f"give one for {abi} with --runner-binary, or: {mend}"
        try:
            binary = find_binary(abi, path=self.choice.runner_binary)
        except UsageError as problem:
            self.add("benchmark binary", False, str(problem), mend, "stops")
            return False
        found = f"{printable(binary.path)}, sha256 {binary.sha256[:12]}…"
        self.add("benchmark binary", True, found)
        try:
            installed = install(self.phone, binary)
        except (DeviceCommandError, RunnerError, UsageError) as problem:
            mend = f"if there is room on the phone, it needs another binary: {mend}"
            self.add("runs there", False, str(problem), mend, "stops")
            return False
        found = f"{installed.tool} benchmark_model, {len(installed.flags)} flags"
        self.add("runs there", True, found)
        return True

    def _delegates(self, targets: PhoneTargets) -> None:
        """Measure a small model on the CPU and on the GPU."""
        from latlas.profiler.errors import DeviceCommandError, RunnerError, UsageError

        for delegate in ("cpu", "gpu"):
            target = next(each for each in targets.targets if each.delegate == delegate)
            name = delegate.upper()
            try:
                with targets.open(target, say=lambda text: None) as runner:
                    self.add(name, True, str(runner.target))
            except (DeviceCommandError, RunnerError, UsageError) as problem:
                if delegate == "cpu":
                    mend = f"choose other cores in a --device-config, or: {self.fetch}"
                    self.add(name, False, str(problem), mend, "stops")
                else:
                    mend = (
                        "measure with --delegate cpu, or give a benchmark_model with a GPU "
                        "delegate for this phone: --runner-binary PATH"
                    )
                    self.add(name, False, str(problem), mend, "missing")


def _safe(text: str) -> str:
    kept = text if len(text) <= _MAX_TEXT else text[:_MAX_TEXT] + "…"
    return "".join(c if c.isprintable() else "?" for c in kept)
