"""The TOML file of a device configuration, which people may write by hand::

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
the phone is recognised.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import tomli_w

from latlas.profiler.adb.identity import CpuCluster, PhoneIdentity
from latlas.profiler.cores import format_cores
from latlas.profiler.device_config import (
    MAX_CLUSTERS,
    MAX_TARGETS,
    DeviceConfig,
    TargetChoice,
    check,
    cores_of,
    numbered,
    place_of,
)
from latlas.profiler.errors import UsageError
from latlas.profiler.files import read_bounded
from latlas.profiler.toml_text import read_toml, shown

MAX_BYTES = 64 * 1024
"""Largest configuration that is read."""

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
    where = place_of(name)
    data = read_toml(text, where, MAX_BYTES, UsageError)
    values = _typed(data, _CONFIG_KEYS, ("models",), where)
    config = DeviceConfig(
        name=name,
        models=_strings(values.pop("models"), f"{where}: models"),
        clusters=tuple(
            _cluster(table, f"{where}: cluster {number}")
            for number, table in numbered(
                values.pop("clusters", []), MAX_CLUSTERS, f"{where}: clusters"
            )
        ),
        targets=tuple(
            TargetChoice(**_typed(table, _TARGET_KEYS, ("delegate",), f"{where}: target {number}"))
            for number, table in numbered(
                values.pop("targets", []), MAX_TARGETS, f"{where}: targets"
            )
        ),
        **values,
    )
    check(config)
    return config


def to_toml(config: DeviceConfig) -> str:
    """Write a configuration as `parse_config` reads it; the name is left to the file.

    Raises:
        UsageError: the configuration is one that `parse_config` would refuse.
    """
    check(config)
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
    return next((config for config in configs if config.has_model(identity.model)), None)


def _decode(data: bytes, name: str) -> DeviceConfig:
    try:
        return parse_config(data.decode(), name)
    except UnicodeDecodeError as problem:
        raise UsageError(f"{place_of(name)}: not UTF-8 at byte {problem.start}") from problem


def _typed(
    table: object, kinds: Mapping[str, type], required: Iterable[str], where: str
) -> dict[str, Any]:
    """Return a table whose keys are known and whose values have the types expected."""
    if not isinstance(table, dict):
        raise UsageError(f"{where}: must be a table, got {shown(table)}")
    for key, value in table.items():
        if key not in kinds:
            raise UsageError(f"{where}: unknown key {key!r:.80}; known are {', '.join(kinds)}")
        if type(value) is not kinds[key]:
            expected = {str: "text", int: "a whole number", list: "a list"}[kinds[key]]
            raise UsageError(f"{where}: {key} must be {expected}, got {shown(value)}")
    for key in required:
        if key not in table:
            raise UsageError(f"{where}: {key} is missing")
    return dict(table)


def _strings(values: list[object], where: str) -> tuple[str, ...]:
    for value in values:
        if not isinstance(value, str):
            raise UsageError(f"{where}: must be texts, got {shown(value)}")
    return tuple(str(value) for value in values)


def _cluster(table: object, where: str) -> CpuCluster:
    values = _typed(table, _CLUSTER_KEYS, ("cores",), where)
    mask = values.pop("mask", None)
    cluster = CpuCluster(tuple(sorted(cores_of(values.pop("cores"), where))), **values)
    if mask is not None:
        known = re.fullmatch("[0-9a-fA-F]{1,64}", mask)
        if not known or int(mask, 16) != int(cluster.mask, 16):
            raise UsageError(
                f"{where}: mask {mask!r:.80} is not that of cores {format_cores(cluster.cores)}: "
                f"write {cluster.mask!r}, or leave it out"
            )
    return cluster


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
