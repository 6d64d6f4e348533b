"""What is known about a phone before it is measured, and what a first campaign learned about it.

A configuration helps to start; where the phone itself disagrees, the phone is right
(`disagreements`). `latlas.profiler.device_config_file` reads and writes it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from latlas.profiler.adb.identity import CpuCluster, PhoneIdentity
from latlas.profiler.cores import format_cores, parse_cores
from latlas.profiler.errors import UsageError
from latlas.profiler.target import Delegate
from latlas.profiler.toml_text import shown

T = TypeVar("T")

MAX_CLUSTERS, MAX_TARGETS, MAX_MODELS = 16, 64, 100
"""Clusters, targets and models of a phone."""

_MAX_CORES = 256
_MAX_NUMBER = 999_999_999
_MAX_THERMAL = 6

_BACKENDS = ("", "opencl", "opengl")
_TOLERANCE = 0.01
_CLUSTER_FACTS = {
    "capacity": "capacity",
    "max_freq_khz": "highest clock in kHz",
    "part": "CPU part",
}


@dataclass(frozen=True, slots=True)
class TargetChoice:
    """One way to run networks on a phone that is worth measuring.

    Attributes:
        delegate: ``cpu`` or ``gpu``.
        cores: CPU cores, e.g. ``6-7``; empty means any, and is all that a GPU has.
        threads: CPU threads; 1 for a GPU.
        backend: of a GPU, ``opencl`` or ``opengl``; empty leaves it to the delegate.
    """

    delegate: Delegate
    cores: str = ""
    threads: int = 1
    backend: str = ""


@dataclass(frozen=True, slots=True)
class DeviceConfig:
    """What is known about one kind of phone; None or empty where nothing is.

    Attributes:
        name: of the configuration, e.g. ``pixel_6``; the name of its file without ``.toml``.
        models: values of ``ro.product.model`` that are this phone, in all regions.
        soc: the system on chip, for people.
        gpu: e.g. ``Mali-G78``.
        clusters: the CPU, slowest cores first.
        thermal_limit: highest Android thermal status, 0 to 6, at which figures still count; None
            leaves it to the measurement's default.
        targets: what is worth measuring, the most interesting first.
        notes: anything else, for people.
        source: where all this is known from.
    """

    name: str
    models: tuple[str, ...]
    soc: str | None = None
    gpu: str | None = None
    clusters: tuple[CpuCluster, ...] = ()
    thermal_limit: int | None = None
    targets: tuple[TargetChoice, ...] = ()
    notes: str = ""
    source: str = ""

    def has_model(self, model: str) -> bool:
        """Return whether this is a phone's ``ro.product.model``, in capitals or not."""
        return model.strip().casefold() in {known.strip().casefold() for known in self.models}


def config_of(identity: PhoneIdentity, targets: Sequence[TargetChoice]) -> DeviceConfig:
    """Return a configuration for a phone that nobody knows, from what it says itself.

    Its name is the model's in small letters. A phone that tells no model gets a configuration
    without models, which no phone is recognised by.

    Raises:
        UsageError: a target does not fit the phone, e.g. names cores that it does not have, or
            the phone says what no phone is, e.g. more than 16 clusters.

    >>> phone = PhoneIdentity(model="SM-X 1", clusters=(CpuCluster((0, 1)), CpuCluster((2,))))
    >>> config = config_of(phone, default_targets(phone.clusters))
    >>> config.name, [target.cores for target in config.targets]
    ('sm-x_1', ['2', '0-1'])
    """
    said = [("Android", identity.android), ("build", identity.fingerprint)]
    config = DeviceConfig(
        name=re.sub("[^a-z0-9-]+", "_", (identity.model or "").lower()).strip("_-")[:100]
        or "phone",
        models=(identity.model,) if identity.model else (),
        soc=identity.soc,
        gpu=identity.gpu,
        clusters=identity.clusters,
        targets=tuple(targets),
        source=", ".join(["the phone itself", *(f"{key} {value}" for key, value in said if value)]),
    )
    check(config)
    return config


def default_targets(clusters: Sequence[CpuCluster]) -> tuple[TargetChoice, ...]:
    """Return one target per CPU cluster, with one thread, the fastest first.

    Args:
        clusters: slowest first, as in `PhoneIdentity` and `DeviceConfig`.
    """
    return tuple(TargetChoice("cpu", format_cores(cluster.cores)) for cluster in clusters[::-1])


def disagreements(config: DeviceConfig, identity: PhoneIdentity) -> list[str]:
    """Return where a phone contradicts its configuration, one sentence each; empty if nowhere.

    What either does not know contradicts nothing. Numbers may differ by 1%. Names of systems on
    chip are not compared: the same phone reports another one after an update of Android. GPUs are
    compared by family and number, since drivers decorate them.

    >>> config = DeviceConfig("mine", ("Pixel 6",), gpu="Mali-G78")
    >>> disagreements(config, PhoneIdentity(model="Pixel 6", gpu="Adreno (TM) 640"))
    ["GPU: 'Mali-G78' in the configuration, 'Adreno (TM) 640' on the phone"]
    """

    def both(what: str, configured: object, reported: object) -> str:
        return f"{what}: {configured!r} in the configuration, {reported!r} on the phone"

    found = []
    if identity.model is not None and config.models and not config.has_model(identity.model):
        found.append(both("model", ", ".join(config.models), identity.model))
    gpus = _gpu(config.gpu), _gpu(identity.gpu)
    if None not in gpus and gpus[0] != gpus[1]:
        found.append(both("GPU", config.gpu, identity.gpu))
    if not identity.clusters:
        return found
    mine = {cluster.cores: cluster for cluster in config.clusters}
    theirs = {cluster.cores: cluster for cluster in identity.clusters}
    if mine and mine.keys() != theirs.keys():
        layouts = ["; ".join(map(format_cores, sorted(side))) for side in (mine, theirs)]
        found.append(both("CPU clusters", *layouts))
    for cores in sorted(mine.keys() & theirs.keys()):
        for key, what in _CLUSTER_FACTS.items():
            facts = getattr(mine[cores], key), getattr(theirs[cores], key)
            if None not in facts and not _alike(*facts):
                found.append(both(f"cores {format_cores(cores)}, {what}", *facts))
    present = {core for cores in theirs for core in cores}
    found += [
        both("cores of a target", target.cores, format_cores(present))
        for target in config.targets
        if not parse_cores(target.cores) <= present
    ]
    return found


def check(config: DeviceConfig) -> None:
    """Check that every value is possible and all of them fit together.

    Raises:
        UsageError: they do not.
    """
    where = place_of(config.name)
    models = numbered(config.models, MAX_MODELS, f"{where}: models")
    names = [model.strip().casefold() for _, model in models]
    if len(set(names)) < len(names):
        raise UsageError(f"{where}: models has one of them twice")
    named: list[tuple[str, str | None]] = [("soc", config.soc), ("gpu", config.gpu)]
    for key, text in [*named, *(("models", model) for model in config.models)]:
        if text is not None and not (text.strip() and text.isprintable() and len(text) <= 300):
            raise UsageError(
                f"{where}: {key} must be 1 to 300 printable characters, got {text!r:.80}"
            )
    for key, text in (("notes", config.notes), ("source", config.source)):
        if len(text) > 4000 or not all(line.isprintable() for line in text.split("\n")):
            raise UsageError(f"{where}: {key} must be at most 4000 printable characters")
    _check_number(config.thermal_limit, 0, _MAX_THERMAL, f"{where}: thermal_limit")
    _check_clusters(config.clusters, where)
    present = {core for cluster in config.clusters for core in cluster.cores}
    if len(set(config.targets)) < len(config.targets):
        raise UsageError(f"{where}: targets has one of them twice")
    for number, target in numbered(config.targets, MAX_TARGETS, f"{where}: targets"):
        _check_target(target, present, f"{where}: target {number}")


def place_of(name: str) -> str:
    """Return what messages call the configuration of a name.

    Raises:
        UsageError: it is no name.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise UsageError(
            f"{name!r:.120} is no name for a device configuration: rename the file to letters, "
            "digits, '.', '_' and '-', e.g. pixel_6.toml"
        )
    return f"device configuration {name}"


def numbered(items: Sequence[T], most: int, where: str) -> list[tuple[int, T]]:
    """Return the items of a list with their numbers.

    Args:
        items: of the list.
        most: so many at most.
        where: what messages call it.

    Raises:
        UsageError: there are more.
    """
    if len(items) > most:
        raise UsageError(f"{where}: at most {most}, got {len(items)}")
    return list(enumerate(items, 1))


def cores_of(text: str, where: str) -> frozenset[int]:
    """Return the cores that somebody wrote.

    Raises:
        UsageError: it is no list of cores.
    """
    part = "[0-9]{1,3}(-[0-9]{1,3})?"
    if len(text) > 1000 or not re.fullmatch(f"{part}(,{part})*", text):
        raise UsageError(f"{where}: cores are written like 0, 4-7 or 0,2-3, not {text!r:.80}")
    try:
        cores = parse_cores(text)
    except UsageError as problem:
        raise UsageError(f"{where}: {problem}") from problem
    if max(cores) >= _MAX_CORES:
        raise UsageError(f"{where}: cores are 0 to {_MAX_CORES - 1}, got {max(cores)}")
    return cores


def _check_clusters(clusters: Sequence[CpuCluster], where: str) -> None:
    seen: set[int] = set()
    for number, cluster in numbered(clusters, MAX_CLUSTERS, f"{where}: clusters"):
        here, cores = f"{where}: cluster {number}", set(cluster.cores)
        if not cores or list(cluster.cores) != sorted(cores):
            raise UsageError(f"{here}: cores must ascend, got {cluster.cores!r:.80}")
        if min(cores) < 0 or max(cores) >= _MAX_CORES:
            raise UsageError(f"{here}: cores are 0 to {_MAX_CORES - 1}, got {cluster.cores!r:.80}")
        if seen & cores:
            raise UsageError(f"{here}: cores {format_cores(seen & cores)} are in another one too")
        seen |= cores
        _check_number(cluster.capacity, 1, _MAX_NUMBER, f"{here}: capacity")
        _check_number(cluster.max_freq_khz, 1, _MAX_NUMBER, f"{here}: max_freq_khz")
        if cluster.part is not None and not re.fullmatch("0x[0-9a-f]{1,8}", cluster.part):
            raise UsageError(f"{here}: part is written like 0xd44, not {cluster.part!r:.80}")


def _check_target(target: TargetChoice, present: set[int], where: str) -> None:
    if target.delegate not in ("cpu", "gpu"):
        raise UsageError(f"{where}: delegate must be cpu or gpu, got {target.delegate!r:.80}")
    _check_number(target.threads, 1, _MAX_CORES, f"{where}: threads")
    if target.delegate == "gpu":
        if target.cores or target.threads != 1:
            raise UsageError(f"{where}: cores and threads are for delegate cpu, remove them")
        if target.backend not in _BACKENDS:
            raise UsageError(
                f"{where}: backend must be opencl or opengl, got {target.backend!r:.80}"
            )
        return
    if target.backend:
        raise UsageError(f"{where}: backend is for delegate gpu, remove it")
    cores = cores_of(target.cores, where) if target.cores else frozenset()
    if present and not cores <= present:
        raise UsageError(
            f"{where}: cores {format_cores(cores - present)} are in no cluster; "
            f"there are {format_cores(present)}"
        )


def _check_number(value: int | None, least: int, most: int, where: str) -> None:
    if value is not None and not least <= value <= most:
        raise UsageError(f"{where} must be {least} to {most}, got {shown(value)}")


def _alike(one: int | str, other: int | str) -> bool:
    if isinstance(one, int) and isinstance(other, int):
        return abs(one - other) <= _TOLERANCE * max(one, other)
    return one == other


def _gpu(text: str | None) -> tuple[str, str] | None:
    """Return a GPU's family and number, wherever they stand in a driver's text."""
    pattern = r"(adreno|mali|xclipse|powervr)[^0-9]{0,20}?([a-z]{0,3}[0-9]{2,4})"
    found = re.search(pattern, (text or "").lower())
    return (found[1], found[2]) if found else None
