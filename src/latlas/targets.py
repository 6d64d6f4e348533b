"""From what a user says about devices to runners: this machine, one phone, or several."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from latlas.console import FILE, parse_duration, say

if TYPE_CHECKING:
    from latlas.profiler.adb.identity import PhoneIdentity
    from latlas.profiler.adb.server import AttachedPhone
    from latlas.profiler.benchmark_model.phone_runner import PhoneRunner
    from latlas.profiler.device_config import DeviceConfig, TargetChoice
    from latlas.profiler.graph import Graph
    from latlas.profiler.litert.local import LocalRunner
    from latlas.profiler.target import Delegate

F = TypeVar("F", bound=Callable[..., Any])

LOCAL = "local"


@dataclass(frozen=True, slots=True)
class DeviceChoice:
    """What a user says about devices.

    Attributes:
        device: ``local``, a phone's serial number, several with commas between them, or ``all``.
        delegates: ``cpu``, ``gpu`` or both.
        precision: ``fp32`` or ``int8``, where the networks are quantised; empty for what the models
            are.
        threads: CPU threads; None for what is usual.
        cores: CPU cores, e.g. ``4-7``; empty for what is usual.
        runner_binary: benchmark_model for phones; None for the one in the cache.
        config: the phone's configuration; None for the one that is known.
        fixed_performance: whether Android's fixed performance mode is wanted.
        wait_s: seconds that a phone which went away is waited for.
    """

    device: str = LOCAL
    delegates: tuple[Delegate, ...] = ("cpu",)
    precision: str = ""
    threads: int | None = None
    cores: str = ""
    runner_binary: Path | None = None
    config: Path | None = None
    fixed_performance: bool = False
    wait_s: float = 120.0

    @property
    def int8(self) -> bool:
        """Whether networks of int8 are measured.

        Raises:
            UsageError: on a GPU, which does not run them.
        """
        from latlas.profiler.errors import UsageError
        from latlas.profiler.target import INT8_ON_GPU

        if self.precision == "int8" and "gpu" in self.delegates:
            raise UsageError(INT8_ON_GPU)
        return self.precision == "int8"

    def fitted(self, graphs: Iterable[Graph]) -> DeviceChoice:
        """Return the same with a precision: what it names, or else what the networks have.

        Raises:
            UsageError: it names none, and some networks are of int8 and some are not; or a GPU
                would have to run int8.
        """
        from latlas.profiler.errors import UsageError

        kinds = {graph.is_float for graph in graphs}
        if not self.precision and len(kinds) > 1:
            raise UsageError(
                "some of the models are float32 and some int8, and a table holds the figures of "
                "one precision: profile them apart, or quantise the float32 ones with --precision "
                "int8"
            )
        found = replace(self, precision=self.precision or ("int8" if kinds == {False} else "fp32"))
        _ = found.int8
        return found

    @property
    def names_one(self) -> bool:
        """Whether one device is named, and not whichever phones there are, or several."""
        return self.device != "all" and "," not in self.device

    def devices(self) -> tuple[str, ...]:
        """Return the devices one by one; ``all`` are the phones that adb can use.

        Raises:
            UsageError: none is named, or ``all`` finds none.
            DeviceError: adb cannot be asked.
        """
        from latlas.profiler.errors import UsageError

        if self.device != "all":
            found = tuple(dict.fromkeys(filter(None, map(str.strip, self.device.split(",")))))
        else:
            from latlas.profiler.adb.server import list_phones

            ready = [phone.serial for phone in list_phones() if phone.ready or _left_out(phone)]
            found = _once_each(ready)
        if not found:
            raise UsageError(
                f"--device {self.device!r:.60} names no usable device (`latlas devices` lists them)"
            )
        return found


def _once_each(serials: Sequence[str]) -> tuple[str, ...]:
    """Return phones without those that are attached in a second way, by cable and over TCP."""
    from latlas.profiler.adb.phone import Phone
    from latlas.profiler.adb.text import clean
    from latlas.profiler.errors import DeviceError

    known: dict[str, str] = {}
    for serial in serials:
        try:
            unit = Phone(serial).unit()
        except DeviceError:
            unit = serial  # what is wrong with it is said when it is measured
        if unit in known:
            say(f"phone {clean(serial)} is {clean(known[unit])} once more: left out")
        known.setdefault(unit, serial)
    return tuple(known.values())


def _left_out(phone: AttachedPhone) -> bool:
    """Say that a phone cannot be used; return False."""
    from latlas.profiler.adb.text import clean

    say(f"left out: phone {clean(phone.serial)} is {clean(phone.state)}: {phone.what_to_do}")
    return False


def parse_delegates(text: str) -> tuple[Delegate, ...]:
    """Return the delegates of e.g. ``cpu,gpu``, without repeats.

    >>> parse_delegates("cpu, gpu")
    ('cpu', 'gpu')

    Raises:
        UsageError: there is no such delegate.
    """
    from latlas.profiler.errors import UsageError

    known: dict[str, Delegate] = {"cpu": "cpu", "gpu": "gpu"}
    names = [part.strip() for part in text.split(",")]
    if unknown := [name for name in names if name not in known]:
        raise UsageError(f"unknown delegate {unknown[0]!r:.60}: there are cpu and gpu")
    return tuple(dict.fromkeys(known[name] for name in names))


def device_options(command: F) -> F:
    """Add the options that choose devices; a command gets them as ``choice``, a `DeviceChoice`."""
    return _collect(command, [_DEVICE, _DELEGATE, *_CPU, *_PHONE])


def target_options(command: F) -> F:
    """Add the same and a precision, for a command that brings its own networks."""
    return _collect(command, [_DEVICE, _DELEGATE, _PRECISION, *_CPU, *_PHONE])


def devices_options(command: F) -> F:
    """Add the same for a command that takes several devices and delegates."""
    return _collect(command, [_DEVICES, _DELEGATES, _PRECISION, *_CPU, *_PHONE])


def phone_options(command: F) -> F:
    """Add the options that choose a device, for a command that knows delegate and cores itself."""
    return _collect(command, [_DEVICE, *_PHONE])


def oracle_options(command: F) -> F:
    """Add the options of a device that an argument of the command names."""
    return _collect(command, [_PRECISION, *_CPU, *_PHONE])


def measuring_options(command: F) -> F:
    """Add the same without a precision, for files that have one already."""
    return _collect(command, [*_CPU, *_PHONE])


_DEVICE = click.option(
    "--device",
    metavar="local|SERIAL",
    default=LOCAL,
    show_default=True,
    help="What to measure on: this machine, or a phone (`latlas devices` lists them).",
)
_DEVICES = click.option(
    "--device",
    metavar="local|all|SERIAL[,…]",
    default=LOCAL,
    show_default=True,
    help="What to measure on: this machine, phones (`latlas devices` lists them), or all phones.",
)
_DELEGATE = click.option(
    "--delegate",
    "delegates",
    metavar="cpu|gpu",
    default="cpu",
    show_default=True,
    callback=lambda context, option, value: parse_delegates(value),
    help="What runs the model.",
)
_DELEGATES = click.option(
    "--delegate",
    "delegates",
    metavar="cpu|gpu|cpu,gpu",
    default="cpu",
    show_default=True,
    callback=lambda context, option, value: parse_delegates(value),
    help="What runs the models; on a phone, cpu is each of its clusters.",
)
_PRECISION = click.option(
    "--precision",
    type=click.Choice(["fp32", "int8"]),
    callback=lambda context, option, value: value or "",
    help="int8: measure networks quantised, on a CPU. If unset, .tflite files as they are.",
)
_CPU = (
    click.option(
        "--threads",
        type=click.IntRange(1, 64),
        metavar="N",
        help="CPU threads of the runtime; 1, or what a phone's configuration says.",
    ),
    click.option(
        "--cores",
        metavar="4-7",
        default="",
        help="CPU cores; a single one of this machine, or a phone's fastest, if unset.",
    ),
)
_PHONE = (
    click.option(
        "--runner-binary", type=FILE, help="Phones: the benchmark_model to use, not the cache's."
    ),
    click.option(
        "--device-config",
        "config",
        type=FILE,
        help="Phones: a TOML file that describes it, such as the device.toml beside its tables.",
    ),
    click.option(
        "--fixed-performance",
        is_flag=True,
        help="Phones: hold the clocks in Android's fixed performance mode.",
    ),
    click.option(
        "--wait",
        "wait_s",
        metavar="2m",
        default="2m",
        show_default=True,
        callback=lambda context, option, value: parse_duration(value),
        help="Phones: how long to wait for one that went away.",
    ),
)


def _collect(command: F, options: Sequence[Callable[[Any], Any]]) -> F:
    names = {field.name for field in fields(DeviceChoice)}

    def call(**values: Any) -> Any:
        choice = DeviceChoice(**{name: values.pop(name) for name in names & set(values)})
        return command(choice=choice, **values)

    collected: Any = functools.wraps(command)(call)
    for option in reversed(options):
        collected = option(collected)
    return cast(F, collected)


def open_runner(choice: DeviceChoice) -> LocalRunner | PhoneRunner:
    """Return a runner for the one device and delegate that are chosen.

    On a phone it is the fastest cluster of its CPU, unless cores are named.

    Raises:
        UsageError: several are chosen, or what is chosen does not exist.
        DeviceError: the phone cannot be used.
    """
    from latlas.profiler.errors import UsageError

    devices, delegates = choice.devices(), choice.delegates
    if len(devices) > 1 or len(delegates) > 1:
        raise UsageError("this takes one device and one delegate; `latlas profile` takes several")
    if devices[0] == LOCAL:
        return open_local(choice)
    phone = PhoneTargets(devices[0], choice)
    return phone.open(phone.targets[0])


def open_local(choice: DeviceChoice) -> LocalRunner:
    """Return a runner for this machine."""
    from latlas.profiler.litert.local import LocalRunner

    (delegate,) = choice.delegates
    return LocalRunner(delegate, choice.threads or 1, choice.cores, int8=choice.int8)


def wanted_targets(
    choice: DeviceChoice, configured: Sequence[TargetChoice]
) -> tuple[TargetChoice, ...]:
    """Return what is to be measured on a phone, the most interesting first.

    Args:
        choice: what the user says.
        configured: targets of the phone's configuration.
    """
    from latlas.profiler.device_config import TargetChoice

    wanted = choice.delegates
    if choice.cores or not configured:
        targets = tuple(
            TargetChoice(delegate, choice.cores if delegate == "cpu" else "") for delegate in wanted
        )
    else:
        targets = tuple(target for target in configured if target.delegate in wanted)
        missing = [name for name in wanted if name not in {t.delegate for t in targets}]
        targets += tuple(TargetChoice(name) for name in missing)
    if choice.threads:
        targets = tuple(
            replace(target, threads=choice.threads) if target.delegate == "cpu" else target
            for target in targets
        )
        targets = tuple(dict.fromkeys(targets))
    return targets


class PhoneTargets:
    """What is to be measured on one phone.

    Args:
        serial: what adb calls it.
        choice: what the user says.
        own_configs: configurations to be preferred to those that latlas brings.

    Attributes:
        identity: what the phone says that it is.
        unit: what tells it from others of its model.
        config: what is known about it.
        targets: what is to be measured, the most interesting first.

    Raises:
        UsageError: the configuration cannot be read, or belongs to another phone; or it has no
            such cores.
        DeviceError: the phone cannot be used.
    """

    def __init__(
        self, serial: str, choice: DeviceChoice, own_configs: Sequence[DeviceConfig] = ()
    ) -> None:
        from latlas.profiler.adb.phone import Phone

        self.serial = serial
        self.choice = choice
        _require_attached(serial)
        phone = Phone(serial)
        self.identity = phone.identity()
        _require_cores(choice.cores, self.identity)
        self.unit = phone.unit()
        self.config = _configuration(self.identity, choice, own_configs)
        self.targets = wanted_targets(choice, self.config.targets)

    def keep(self, path: Path, targets: Sequence[TargetChoice]) -> None:
        """Write what is known about the phone now, unless the user has such a file already.

        Cores and threads that were chosen for one command are none that later ones shall have:
        then nothing is written.

        Args:
            path: of the file.
            targets: that work.
        """
        from latlas.profiler.device_config import config_of
        from latlas.profiler.device_config_file import to_toml
        from latlas.profiler.errors import DeviceError
        from latlas.profiler.files import write_atomically

        if path.exists() or self.choice.cores or self.choice.threads:
            return
        own = config_of(self.identity, targets)
        known = replace(self.config, targets=tuple(targets), clusters=own.clusters)
        with write_atomically(path, DeviceError) as file:
            file.write(to_toml(known).encode())

    def open(self, target: TargetChoice, **others: Any) -> PhoneRunner:
        """Return a runner for one of the targets; `others` go to `PhoneRunner`.

        Raises:
            UsageError: there is no benchmark binary for the phone.
        """
        from latlas.profiler.benchmark_model.binary import find_binary
        from latlas.profiler.benchmark_model.command import Execution
        from latlas.profiler.benchmark_model.phone_runner import PhoneRunner
        from latlas.profiler.errors import DeviceError

        if self.identity.abi is None:
            raise DeviceError("it does not say what processor it has", serial=self.serial)
        backends: dict[str, Any] = {"opencl": "cl", "opengl": "gl", "": ""}
        execution = Execution(
            delegate=target.delegate,
            threads=target.threads,
            gpu_backend=backends[target.backend],
        )
        return PhoneRunner(
            self.serial,
            find_binary(self.identity.abi, path=self.choice.runner_binary),
            execution,
            target.cores,
            int8=self.choice.int8,
            fixed_performance=self.choice.fixed_performance,
            thermal_limit=self.config.thermal_limit,
            wait_s=self.choice.wait_s,
            **{"say": say, **others},
        )


def _require_attached(serial: str) -> None:
    """Raise an error, with what there is instead, unless a phone can be used."""
    from latlas.profiler.adb.server import list_phones
    from latlas.profiler.adb.text import clean
    from latlas.profiler.errors import DeviceLost

    phones = {phone.serial: phone for phone in list_phones()}
    if serial not in phones:
        others = ", ".join(clean(each) or "?" for each in phones) or "none"
        raise DeviceLost(
            f"it is not attached (attached: {others}): plug it in, or connect to it with: adb "
            "connect HOST:PORT",
            serial=serial,
        )
    phone = phones[serial]
    if not phone.ready:
        raise DeviceLost(f"it is {clean(phone.state)}: {phone.what_to_do}", serial=serial)


def _require_cores(cores: str, identity: PhoneIdentity) -> None:
    from latlas.profiler.cores import format_cores, parse_cores
    from latlas.profiler.errors import UsageError

    present = frozenset(core for cluster in identity.clusters for core in cluster.cores)
    if present and not parse_cores(cores) <= present:
        raise UsageError(f"--cores {cores}: the phone has the cores {format_cores(present)}")


def _configuration(
    identity: PhoneIdentity, choice: DeviceChoice, own_configs: Sequence[DeviceConfig]
) -> DeviceConfig:
    """Return what is known about a phone; where nothing is, what it says itself."""
    from latlas.profiler.device_config import (
        TargetChoice,
        config_of,
        default_targets,
        disagreements,
    )
    from latlas.profiler.device_config_file import find_config, load_config
    from latlas.profiler.errors import UsageError

    own = config_of(identity, (*default_targets(identity.clusters), TargetChoice("gpu")))
    given = None if choice.config is None else load_config(choice.config)
    config = given or find_config(identity, own_configs)
    if config is None:
        return own
    if problems := disagreements(config, identity):
        text = "; ".join(problems)
        if given is not None:
            raise UsageError(f"{choice.config} does not describe this phone: {text}")
        say(f"the configuration {config.name} does not fit this phone: what it says itself counts")
        return own
    return config
