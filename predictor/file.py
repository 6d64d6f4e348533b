"""Predictor files: plain arrays and a JSON header in one zip, no pickle, nothing believed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latlas import __version__
from latlas.predictor import features
from latlas.predictor.calibration import Calibration
from latlas.predictor.forest import Forest
from latlas.predictor.intervals import Intervals
from latlas.predictor.kernel_texts import KernelTexts
from latlas.predictor.mixture import Mixture
from latlas.predictor.predictor import LatencyPredictor
from latlas.predictor.residency import COLUMNS, Residency
from latlas.profiler.arrays import read_arrays
from latlas.profiler.errors import GraphError, PredictorError, TableError
from latlas.profiler.files import write_atomically
from latlas.profiler.fusion import rules_named
from latlas.profiler.statistics import MAX_US
from latlas.profiler.target import Target

FORMAT = "latlas predictor"
VERSION = 6
MAX_BYTES = 256 << 20
"""Larger predictor files, unpacked, are refused."""

_OF_ARRAYS = 1 << 20  # what their own headers may take

MAX_HEADER_BYTES = 16 << 20
"""Of these, the header: text that becomes many times as large when it is read."""

_WRITE_IT = "`latlas fit` writes one from a table"

MAX_SOURCES = 64
"""No predictor is transferred from more devices."""

MAX_SIMILAR = 256 * MAX_SOURCES
"""Nor are unknown kernels judged by more: `latlas.predictor.fit.fit` keeps 256, a transfer those of
its sources."""

MAX_WEIGHT = 1e6
"""Nor does any source's microsecond count more."""

MAX_LOGARITHM = 100.0
"""No forest predicts more: it would be ages per multiply-add, and overflow."""


def save(predictor: LatencyPredictor, path: Path) -> None:
    """Write a predictor; the file is there whole or not at all.

    Raises:
        PredictorError: the file cannot be written, or would be larger than `load` reads.
    """
    if predictor.mixture is not None and len(predictor.mixture.sources) > MAX_SOURCES:
        raise PredictorError(
            f"a file holds at most {MAX_SOURCES} sources, these are "
            f"{len(predictor.mixture.sources)}: transfer from those that are most alike"
        )
    header, arrays = _to_parts(predictor)
    arrays["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    size = sum(array.nbytes for array in arrays.values())
    if size > MAX_BYTES - _OF_ARRAYS or arrays["header"].nbytes > MAX_HEADER_BYTES:
        raise PredictorError(
            f"{path} would have {size >> 20} MB, {arrays['header'].nbytes >> 20} of them its "
            f"header, more than the {MAX_BYTES >> 20} and {MAX_HEADER_BYTES >> 20} that are read: "
            "use fewer sources, or smaller tables"
        )
    with write_atomically(path, PredictorError) as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def _to_parts(predictor: LatencyPredictor) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    types = sorted(predictor.forests)
    header: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "features": features.VERSION,
        "latlas": __version__,
        "target": predictor.target.to_json(),
        "rules": predictor.rules_version,
        "types": types,
        "type_error": dict(predictor.type_error),
        "calibration": {
            name: getattr(predictor.calibration, name)
            for name in ("a", "b_us", "c_us", "error", "networks")
        },
        "intervals": {
            name: getattr(predictor.intervals, name) for name in ("measured", "doubt", "networks")
        },
        "residency": {
            "capacity_mb": predictor.residency.capacity_mb,
            "others_mb_per_ms": predictor.residency.others_mb_per_ms,
            "prices_us": dict(zip(COLUMNS, predictor.residency.prices_us, strict=True)),
        },
        "ranged": sorted(predictor.ranges),
        "kernels": [kernel.text for kernel in predictor.table_us],
        "sources": [],
        "weighed": [],
    }
    arrays: dict[str, NDArray[Any]] = {
        "table_us": np.asarray(list(predictor.table_us.values()), np.float64),
        "ranges": _stacked([predictor.ranges[kind] for kind in sorted(predictor.ranges)]),
        "similar": predictor.similar,
    }
    for index, kind in enumerate(types):
        for name, array in predictor.forests[kind].to_arrays().items():
            arrays[f"{index}.{name}"] = array
    if (mixture := predictor.mixture) is not None:
        header["weighed"] = sorted(mixture.weights)
        arrays["speeds"] = np.asarray(mixture.speeds, np.float64)
        arrays["weights"] = np.stack([mixture.weights[name] for name in header["weighed"]])
        for number, source in enumerate(mixture.sources):
            part, its_arrays = _to_parts(source)
            header["sources"].append(part)
            arrays |= {f"{_prefix(number)}{name}": array for name, array in its_arrays.items()}
    return header, arrays


def _prefix(source: int) -> str:
    """Return what the names of a source's arrays begin with."""
    return f"source{source}:"


def _stacked(ranges: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    return np.asarray(ranges, np.float32).reshape(len(ranges), 2, len(features.RANGED))


def load(path: Path, target: Target | None = None) -> LatencyPredictor:
    """Read a predictor.

    Args:
        path: what `save` wrote.
        target: if given, the target that predictions are wanted for.

    Raises:
        PredictorError: the file is missing, damaged, too large or of another version. (The texts
            of kernels are read when they are needed: what is wrong with one is told then.)
        TargetMismatchError: the predictor is for another target than asked for.
    """
    arrays = _read_arrays(path)
    text = arrays.pop("header", np.zeros(0, np.uint8))
    if text.nbytes > MAX_HEADER_BYTES:
        raise PredictorError(f"{path} has a header of more than {MAX_HEADER_BYTES >> 20} MB")
    try:
        header = json.loads(text.tobytes())
    except (ValueError, RecursionError) as problem:
        raise PredictorError(
            f"{path} is not a predictor of latlas: it has no header; {_WRITE_IT}"
        ) from problem
    try:
        predictor = _from_parts(header, arrays, path)
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as problem:
        raise PredictorError(f"{path} is damaged ({problem!r}): fit it again") from problem
    except (GraphError, TableError) as problem:
        raise PredictorError(f"{path} is damaged ({problem}): fit it again") from problem
    if target is not None:
        target.require_same(predictor.target, f"the predictor {path}")
    return predictor


def _read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    try:
        return read_arrays(path, MAX_BYTES)
    except OSError as problem:
        reason = problem.strerror or problem
        raise PredictorError(
            f"cannot read the predictor {path}: {reason}; {_WRITE_IT}"
        ) from problem
    except ValueError as problem:
        raise PredictorError(
            f"{path} is damaged or not a predictor of latlas ({problem}): {_WRITE_IT}"
        ) from problem


def _from_parts(
    header: dict[str, Any], arrays: dict[str, NDArray[Any]], path: Path
) -> LatencyPredictor:
    if header["format"] != FORMAT:
        raise PredictorError(f"{path} is not a predictor of latlas: {_WRITE_IT}")
    if (header["version"], header["features"]) != (VERSION, features.VERSION):
        raise PredictorError(
            f"{path} has the format {header['version']}.{header['features']}, this latlas reads "
            f"{VERSION}.{features.VERSION}: fit it again from its table"
        )
    target = Target.from_json(header["target"])
    try:
        rules = rules_named(str(header["rules"]), target.delegate).version
    except GraphError as problem:
        raise PredictorError(
            f"{path} cannot be used: {problem}; fit it again from its table"
        ) from problem
    table_us = arrays["table_us"]
    texts = list(header["kernels"])
    mixture = _mixture(header, arrays, path)
    empty = not texts and mixture is None
    if table_us.dtype != np.float64 or table_us.shape != (len(texts),) or empty:
        raise PredictorError(f"{path} is damaged: its kernels and latencies differ in number")
    if not ((table_us >= 0) & (table_us <= MAX_US)).all():
        raise PredictorError(f"{path} is damaged: a latency is not a time in microseconds")
    forests = _forests([str(kind) for kind in header["types"]], arrays, path)
    errors = {str(kind): float(error) for kind, error in header["type_error"].items()}
    terms = header["calibration"]
    a, b_us, c_us, error = (float(terms[name]) for name in ("a", "b_us", "c_us", "error"))
    calibration = Calibration(a, b_us, c_us, error, int(terms["networks"]))
    terms = header["intervals"]
    measured, doubt = (float(terms[name]) for name in ("measured", "doubt"))
    intervals = Intervals(measured, doubt, int(terms["networks"]))
    numbers = *errors.values(), a, b_us, c_us, error, calibration.networks
    numbers += measured, doubt, intervals.networks
    terms = header["residency"]
    capacity_mb, others = (float(terms[name]) for name in ("capacity_mb", "others_mb_per_ms"))
    prices_us = tuple(float(terms["prices_us"][name]) for name in COLUMNS)
    numbers += others, *prices_us
    if not all(0 <= number <= MAX_US for number in numbers):
        raise PredictorError(f"{path} is damaged: a coefficient is out of bounds")
    if not 1e-3 <= capacity_mb <= 1e6:
        raise PredictorError(f"{path} is damaged: a cache of {capacity_mb} MB")
    return LatencyPredictor(
        target,
        rules,
        KernelTexts(texts, table_us.tolist(), str(path)),
        forests,
        errors,
        calibration,
        intervals,
        _ranges([str(kind) for kind in header["ranged"]], arrays["ranges"], path),
        _similar(arrays["similar"], path),
        Residency(capacity_mb, others, prices_us),
        mixture,
    )


def _mixture(header: dict[str, Any], arrays: dict[str, NDArray[Any]], path: Path) -> Mixture | None:
    """Take the sources' arrays out of `arrays`, and return what they make."""
    parts = header["sources"]
    if not parts:
        return None
    if len(parts) > MAX_SOURCES:
        raise PredictorError(f"{path} is damaged: it has {len(parts)} sources")
    names = [str(name) for name in header["weighed"]]
    speeds, weights = arrays.pop("speeds"), arrays.pop("weights")
    if speeds.dtype != np.float64 or weights.dtype != np.float64:
        raise PredictorError(f"{path} is damaged: its weights are no numbers")
    if (speeds.shape, weights.shape) != ((len(parts),), (len(names), len(parts))):
        raise PredictorError(f"{path} is damaged: its weights and sources differ in number")
    inside = ((speeds > 0) & (speeds <= MAX_WEIGHT)).all() and (np.abs(weights) <= MAX_WEIGHT).all()
    if not inside:
        raise PredictorError(f"{path} is damaged: a weight is out of bounds")
    sources = []
    for number, part in enumerate(parts):
        if part["sources"]:
            raise PredictorError(f"{path} is damaged: a source has sources of its own")
        its = [name for name in arrays if name.startswith(_prefix(number))]
        own = {name.removeprefix(_prefix(number)): arrays.pop(name) for name in its}
        sources.append(_from_parts(part, own, path))
    return Mixture(tuple(sources), speeds, dict(zip(names, weights, strict=True)))


def _ranges(kinds: list[str], ranges: NDArray[Any], path: Path) -> dict[str, NDArray[np.float32]]:
    if ranges.dtype != np.float32 or ranges.shape != (len(kinds), 2, len(features.RANGED)):
        raise PredictorError(f"{path} is damaged: its ranges are of another shape")
    if not np.isfinite(ranges).all():
        raise PredictorError(f"{path} is damaged: a range has no bounds")
    return dict(zip(kinds, ranges, strict=True))


def _similar(similar: NDArray[Any], path: Path) -> NDArray[np.float32]:
    shape = similar.shape
    if similar.dtype != np.float32 or shape[1:] != (3,) or shape[0] > MAX_SIMILAR:
        raise PredictorError(f"{path} is damaged: its similar kernels are of another shape")
    if not (np.abs(similar) <= MAX_LOGARITHM).all():
        raise PredictorError(f"{path} is damaged: a similar kernel is out of bounds")
    return similar


def _forests(types: list[str], arrays: dict[str, NDArray[Any]], path: Path) -> dict[str, Forest]:
    by_index: dict[str, dict[str, NDArray[Any]]] = {}
    for name, array in arrays.items():
        index, _, part = name.partition(".")
        if part:
            by_index.setdefault(index, {})[part] = array
    if set(by_index) != {str(index) for index in range(len(types))}:
        raise PredictorError(f"{path} is damaged: its kernel types and forests differ in number")
    try:
        forests = {
            kind: Forest.from_arrays(by_index[str(index)], len(features.NAMES))
            for index, kind in enumerate(types)
        }
    except PredictorError as problem:
        raise PredictorError(f"{path} is damaged: {problem}") from problem
    if any(np.abs(forest.value).max() > MAX_LOGARITHM for forest in forests.values()):
        raise PredictorError(f"{path} is damaged: a forest predicts what takes for ever")
    return forests
