"""What is known about a phone before it is measured, and what a first campaign learned about it.

A configuration is a small TOML file that people may write by hand::

    models = ["Pixel 6"]
    soc = "Google Tensor"
    gpu = "Mali-G78"
    clusters = [
        { cores = "0-3", mask = "f", max_freq_khz = 1803000, part = "0xd05" },
        { cores = "4-7", mask = "f0" },
    ]
    targets = [
        { delegate = "cpu", cores = "4-7", threads = 1 },
        { delegate = "gpu", backend = "opencl" },
    ]

Its name is the file's. Only ``models`` must be there: the values of ``ro.product.model`` by which
the phone is recognised. A configuration helps to start; where the phone itself disagrees, the
phone is right (`disagreements`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

import tomli_w

from latlas.profiler.adb.identity import CpuCluster, PhoneIdentity
from latlas.profiler.cores import format_cores, parse_cores
from latlas.profiler.errors import UsageError
from latlas.profiler.files import read_bounded
from latlas.profiler.target import Delegate
from latlas.profiler.toml_text import read_toml

T = TypeVar("T")

MAX_BYTES = 64 * 1024
"""Largest configuration that is read."""

_MAX_CORES = 256
_MAX_CLUSTERS = 16
_MAX_TARGETS = 64
_MAX_MODELS = 100
_MAX_NUMBER = 999_999_999
_MAX_THERMAL = 6

_BACKENDS = ("", "opencl", "opengl")
_TOLERANCE = 0.01
_CLUSTER_FACTS = {
    "capacity": "capacity",
    "max_freq_khz": "highest clock in kHz",
    "part": "CPU part",
}

_CONFIG_KEYS: dict[str, type] = {
    "models": list,
    "soc": str,
    "gpu": str,
    "thermal_limit": int,
    "notes": str,
    "source": str,
    "clusters": list,
    "targets": list,
}
_CLUSTER_KEYS: dict[str, type] = {
    "cores": str,
    "mask": str,
    "capacity": int,
    "max_freq_khz": int,
    "part": str,
}
_TARGET_KEYS: dict[str, type] = {"delegate": str, "cores": str, "threads": int, "backend": str}


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


def load_config(path: str | Path) -> DeviceConfig:
    """Read a configuration from a file; its name is the file's without ``.toml``.

    Raises:
        UsageError: the file cannot be read, or `parse_config` refuses it.
    """
    path = Path(path)
    expected = "the TOML file of a device configuration"
    return _decode(read_bounded(path, expected, MAX_BYTES, UsageError), path.stem)


def parse_config(text: str, name: str) -> DeviceConfig:
    """Read a configuration. Everything is checked; an unknown key is an error, since a typo may be.

    Args:
        text: TOML, at most 64 KiB.
        name: of the configuration: letters, digits, ``.``, ``_`` and ``-``, at most 100.

    Raises:
        UsageError: the text is no configuration; the message names the place, what was expected
            and what was got.

    >>> config = parse_config('models = ["Pixel 6"]\\nclusters = [{ cores = "0-3" }]', "mine")
    >>> config.models, config.clusters[0].mask
    (('Pixel 6',), 'f')
    >>> parse_config('model = "Pixel 6"', "mine")
    Traceback (most recent call last):
    ...
    latlas.profiler.errors.UsageError: device configuration mine: unknown key 'model'; known are \
models, soc, gpu, thermal_limit, notes, source, clusters, targets
    """
    where = _place(name)
    data = read_toml(text, where, MAX_BYTES, UsageError)
    values = _typed(data, _CONFIG_KEYS, ("models",), where)
    config = DeviceConfig(
        name=name,
        models=_strings(values.pop("models"), f"{where}: models"),
        clusters=tuple(
            _cluster(table, f"{where}: cluster {number}")
            for number, table in _numbered(
                values.pop("clusters", []), _MAX_CLUSTERS, f"{where}: clusters"
            )
        ),
        targets=tuple(
            TargetChoice(**_typed(table, _TARGET_KEYS, ("delegate",), f"{where}: target {number}"))
            for number, table in _numbered(
                values.pop("targets", []), _MAX_TARGETS, f"{where}: targets"
            )
        ),
        **values,
    )
    _check(config)
    return config


def to_toml(config: DeviceConfig) -> str:
    """Write a configuration as `parse_config` reads it; the name is left to the file.

    Raises:
        UsageError: the configuration is one that `parse_config` would refuse.
    """
    _check(config)
    data: dict[str, Any] = {
        "models": list(config.models),
        "soc": config.soc,
        "gpu": config.gpu,
        "thermal_limit": config.thermal_limit,
        "notes": config.notes or None,
        "source": config.source or None,
        "clusters": [_cluster_table(cluster) for cluster in config.clusters] or None,
        "targets": [_target_table(target) for target in config.targets] or None,
    }
    text = (
        f"# Device configuration {config.name}: how to recognise it, and what to measure on it.\n"
    )
    text += tomli_w.dumps(_known(data))
    parse_config(text, config.name)  # so that whatever is written can be read again
    return text


@cache
def known_configs() -> tuple[DeviceConfig, ...]:
    """Return the configurations that come with latlas, by name."""
    folder = files("latlas.device_configs")
    found = [file for file in folder.iterdir() if file.name.endswith(".toml")]
    found.sort(key=lambda file: file.name)
    return tuple(_decode(file.read_bytes(), file.name.removesuffix(".toml")) for file in found)


def find_config(identity: PhoneIdentity, extra: Sequence[DeviceConfig] = ()) -> DeviceConfig | None:
    """Return the first configuration with exactly this model, or None.

    Args:
        identity: the phone.
        extra: the user's own configurations, looked at before those that come with latlas.

    >>> find_config(PhoneIdentity(model="pixel 6")).name
    'pixel_6'
    >>> find_config(PhoneIdentity(model="Pixel 6 Pro"))
    """
    if identity.model is None:
        return None
    configs = (*extra, *known_configs())
    return next((config for config in configs if _has_model(config, identity.model)), None)


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
    _check(config)
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
    if identity.model is not None and config.models and not _has_model(config, identity.model):
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


def _has_model(config: DeviceConfig, model: str) -> bool:
    return model.strip().casefold() in {known.strip().casefold() for known in config.models}


def _alike(one: int | str, other: int | str) -> bool:
    if isinstance(one, int) and isinstance(other, int):
        return abs(one - other) <= _TOLERANCE * max(one, other)
    return one == other


def _gpu(text: str | None) -> tuple[str, str] | None:
    """Return a GPU's family and number, wherever they stand in a driver's text."""
    pattern = r"(adreno|mali|xclipse|powervr)[^0-9]{0,20}?([a-z]{0,3}[0-9]{2,4})"
    found = re.search(pattern, (text or "").lower())
    return (found[1], found[2]) if found else None


def _place(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise UsageError(
            f"{name!r:.120} is no name for a device configuration: rename the file to letters, "
            "digits, '.', '_' and '-', e.g. pixel_6.toml"
        )
    return f"device configuration {name}"


def _decode(data: bytes, name: str) -> DeviceConfig:
    try:
        return parse_config(data.decode(), name)
    except UnicodeDecodeError as problem:
        raise UsageError(f"{_place(name)}: not UTF-8 at byte {problem.start}") from problem


def _typed(
    table: object, kinds: Mapping[str, type], required: Iterable[str], where: str
) -> dict[str, Any]:
    """Return a table whose keys are known and whose values have the types expected."""
    if not isinstance(table, dict):
        raise UsageError(f"{where}: must be a table, got {_shown(table)}")
    for key, value in table.items():
        if key not in kinds:
            raise UsageError(f"{where}: unknown key {key!r:.80}; known are {', '.join(kinds)}")
        if type(value) is not kinds[key]:
            expected = {str: "text", int: "a whole number", list: "a list"}[kinds[key]]
            raise UsageError(f"{where}: {key} must be {expected}, got {_shown(value)}")
    for key in required:
        if key not in table:
            raise UsageError(f"{where}: {key} is missing")
    return dict(table)


def _strings(values: list[object], where: str) -> tuple[str, ...]:
    for value in values:
        if not isinstance(value, str):
            raise UsageError(f"{where}: must be texts, got {_shown(value)}")
    return tuple(str(value) for value in values)


def _shown(value: object) -> str:
    try:
        return f"{value!r:.80}"
    except (ValueError, RecursionError):  # a number of thousands of digits, a table that deep
        return f"one too large to show ({type(value).__name__})"


def _numbered(items: Sequence[T], most: int, where: str) -> list[tuple[int, T]]:
    """Return the items of a list with their numbers; `where` ends in the list's name."""
    if len(items) > most:
        raise UsageError(f"{where}: at most {most}, got {len(items)}")
    return list(enumerate(items, 1))


def _cluster(table: object, where: str) -> CpuCluster:
    values = _typed(table, _CLUSTER_KEYS, ("cores",), where)
    mask = values.pop("mask", None)
    cluster = CpuCluster(tuple(sorted(_cores(values.pop("cores"), where))), **values)
    if mask is not None:
        known = re.fullmatch("[0-9a-fA-F]{1,64}", mask)
        if not known or int(mask, 16) != int(cluster.mask, 16):
            raise UsageError(
                f"{where}: mask {mask!r:.80} is not that of cores {format_cores(cluster.cores)}: "
                f"write {cluster.mask!r}, or leave it out"
            )
    return cluster


def _cores(text: str, where: str) -> frozenset[int]:
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


def _cluster_table(cluster: CpuCluster) -> dict[str, Any]:
    return _known(
        {
            "cores": format_cores(cluster.cores),
            "mask": cluster.mask,
            "capacity": cluster.capacity,
            "max_freq_khz": cluster.max_freq_khz,
            "part": cluster.part,
        }
    )


def _target_table(target: TargetChoice) -> dict[str, Any]:
    return _known(
        {
            "delegate": target.delegate,
            "cores": target.cores or None,
            "threads": target.threads if target.delegate == "cpu" else None,
            "backend": target.backend or None,
        }
    )


def _known(table: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in table.items() if value is not None}


def _check(config: DeviceConfig) -> None:
    """Raise `UsageError` unless every value is possible and all of them fit together."""
    where = _place(config.name)
    models = _numbered(config.models, _MAX_MODELS, f"{where}: models")
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
    for number, target in _numbered(config.targets, _MAX_TARGETS, f"{where}: targets"):
        _check_target(target, present, f"{where}: target {number}")


def _check_clusters(clusters: Sequence[CpuCluster], where: str) -> None:
    seen: set[int] = set()
    for number, cluster in _numbered(clusters, _MAX_CLUSTERS, f"{where}: clusters"):
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
    cores = _cores(target.cores, where) if target.cores else frozenset()
    if present and not cores <= present:
        raise UsageError(
            f"{where}: cores {format_cores(cores - present)} are in no cluster; "
            f"there are {format_cores(present)}"
        )


def _check_number(value: int | None, least: int, most: int, where: str) -> None:
    if value is not None and not least <= value <= most:
        raise UsageError(f"{where} must be {least} to {most}, got {_shown(value)}")
