from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from latlas.predictor import features, file
from latlas.predictor.fit import TREES, fit
from latlas.predictor.forest import Forest
from latlas.predictor.mixture import Mixture
from latlas.predictor.observations import observe
from latlas.predictor.predictor import LatencyPredictor
from latlas.profiler.errors import PredictorError, TargetMismatchError
from latlas.profiler.kernel import Kernel
from latlas.profiler.table import Table


@pytest.fixture(scope="module")
def small(table: Table) -> LatencyPredictor:
    """A predictor of a few kilobytes."""
    return fit(observe(table), trees=2)


@pytest.fixture(scope="module")
def saved(small: LatencyPredictor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("predictor") / "small.latlas"
    file.save(small, path)
    return path


def parts(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the header and the other arrays."""
    with np.load(path) as archive:
        arrays = dict(archive)
    return json.loads(arrays.pop("header").tobytes()), arrays


def write(path: Path, header: object, arrays: dict[str, Any]) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    with path.open("wb") as stream:
        np.savez_compressed(stream, header=np.frombuffer(text, np.uint8), **arrays)
    return path


def refuse(path: Path, match: str | None = None) -> None:
    with pytest.raises(PredictorError, match=match) as caught:
        file.load(path)
    assert path.name in str(caught.value)


def test_round_trip_is_exact(simulation: Any, predictor: LatencyPredictor, tmp_path: Path) -> None:
    path = tmp_path / "new" / "p.latlas"
    file.save(predictor, path)
    read = file.load(path, predictor.target)
    graphs = list(simulation.networks(12, seed=8).values())
    assert read.predict(graphs) == predictor.predict(graphs)
    assert read.table_us == predictor.table_us
    assert read.type_error == predictor.type_error
    assert read.calibration == predictor.calibration
    assert read.intervals == predictor.intervals
    assert (read.similar == predictor.similar).all()
    assert list(read.ranges) == sorted(predictor.ranges)
    assert all((read.ranges[kind] == predictor.ranges[kind]).all() for kind in read.ranges)
    file.save(read, tmp_path / "again.latlas")
    assert (tmp_path / "again.latlas").read_bytes() == path.read_bytes()


def test_another_target_is_refused(small: LatencyPredictor, saved: Path) -> None:
    other = replace(small.target, threads=4)
    with pytest.raises(TargetMismatchError, match=r"small.latlas.*threads is 1, not 4"):
        file.load(saved, other)


def test_what_is_no_file(tmp_path: Path) -> None:
    refuse(tmp_path / "missing.latlas", "latlas fit")
    refuse(tmp_path)
    for name, data in (("empty", b""), ("text", b"hello"), ("zip", b"PK\x03\x04" + bytes(50))):
        (tmp_path / name).write_bytes(data)
        refuse(tmp_path / name)
    np.save(tmp_path / "array.npy", np.zeros(3))
    refuse(tmp_path / "array.npy")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("readme", "hello")
    refuse(tmp_path / "other.zip")


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_truncated_files(saved: Path, tmp_path: Path, share: float) -> None:
    data = saved.read_bytes()
    path = tmp_path / "p.latlas"
    path.write_bytes(data[: int(share * len(data))])
    refuse(path)


@settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_bytes(saved: Path, tmp_path: Path, data: st.DataObject) -> None:
    """A flipped byte is found, or hits what does not matter."""
    raw = bytearray(saved.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        # Half of them among the names and sizes at the end.
        low = data.draw(st.sampled_from([0, len(raw) - 2000]))
        raw[data.draw(st.integers(low, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "p.latlas"
    path.write_bytes(raw)
    try:
        read = file.load(path)
    except PredictorError:
        return
    assert read.table_us


def test_zip_bombs_are_not_unpacked(saved: Path, tmp_path: Path) -> None:
    path = tmp_path / "bomb.latlas"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("header.npy", bytes(file.MAX_BYTES + 1))
    assert path.stat().st_size < 1 << 20
    refuse(path, "larger than 256 MB")


def test_headers_that_would_grow_are_not_read(saved: Path, tmp_path: Path) -> None:
    _, arrays = parts(saved)
    path = tmp_path / "grows.latlas"
    lists = b"[" + b"[]," * (file.MAX_HEADER_BYTES // 3) + b"[]]"
    with path.open("wb") as out:
        np.savez_compressed(out, header=np.frombuffer(lists, np.uint8), **arrays)
    refuse(path, "header of more than 16 MB")


def test_nothing_is_written_that_would_not_be_read(
    small: LatencyPredictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "p.latlas"
    speeds = np.ones(file.MAX_SOURCES + 1)
    many = replace(small, mixture=Mixture((small,) * len(speeds), speeds, {}))
    with pytest.raises(PredictorError, match="at most 64 sources, these are 65"):
        file.save(many, path)
    monkeypatch.setattr(file, "MAX_HEADER_BYTES", 100)
    with pytest.raises(PredictorError, match="use fewer sources, or smaller tables"):
        file.save(small, path)
    assert not path.exists()


@pytest.mark.parametrize("count", [10**6, 10**12, 10**18, 10**30])
def test_arrays_that_claim_to_be_larger_than_they_are(tmp_path: Path, count: int) -> None:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        stream, {"descr": "<f8", "fortran_order": False, "shape": (count,)}
    )
    path = tmp_path / "p.latlas"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("header.npy", stream.getvalue() + bytes(80))
    refuse(path)


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.abort, ()


def test_pickles_are_not_opened(tmp_path: Path, saved: Path) -> None:
    header, arrays = parts(saved)
    refuse(
        write(tmp_path / "p.latlas", header, arrays | {"table_us": np.array([Evil()], object)}),
        "damaged or not a predictor.*latlas fit",
    )


def test_encrypted_and_oddly_packed_members(tmp_path: Path, saved: Path) -> None:
    data = bytearray(saved.read_bytes())
    with zipfile.ZipFile(saved) as archive:
        start = archive.start_dir
    for offset, value in ((8, 1), (10, 99)):  # flags: encrypted; method: unknown
        changed = data.copy()
        changed[start + offset] = value
        (tmp_path / "p.latlas").write_bytes(changed)
        refuse(tmp_path / "p.latlas")


CHANGES: dict[str, Any] = {
    "format": "another",
    "version": 2,
    "features": 99,
    "target": {"device": "x"},
    "rules": "xnnpack-0",
    "types": ["conv2d", "nothing"],
    "type_error": {"conv2d": float("nan")},
    "calibration": {"a": 1},
    "intervals": {"measured": 1},
    "residency": {"capacity_mb": 0, "others_mb_per_ms": 1, "prices_us": {}},
    "ranged": ["conv2d"],
    "kernels": ["hello"],
}


@pytest.mark.parametrize("field", CHANGES)
@pytest.mark.parametrize("how", ["missing", "null", "number", "wrong"])
def test_wrong_headers(saved: Path, tmp_path: Path, field: str, how: str) -> None:
    header, arrays = parts(saved)
    wrong = {"missing": None, "null": None, "number": 10**400, "wrong": CHANGES[field]}
    header[field] = wrong[how]
    if how == "missing":
        del header[field]
    refuse(write(tmp_path / "p.latlas", header, arrays))


@pytest.mark.parametrize("name", ["a", "b_us", "c_us", "error", "networks"])
@pytest.mark.parametrize("value", [float("nan"), 1e300, None, [1, 2], {}, "x"])
def test_wrong_calibrations(saved: Path, tmp_path: Path, name: str, value: object) -> None:
    header, arrays = parts(saved)
    header["calibration"][name] = value
    refuse(write(tmp_path / "p.latlas", header, arrays))


@pytest.mark.parametrize("text", [b"", b"[]", b"1", b"{", b'"a"', b"[" * 100_000, b"\xff{}"])
def test_headers_that_are_no_object(saved: Path, tmp_path: Path, text: bytes) -> None:
    refuse(write(tmp_path / "p.latlas", text, parts(saved)[1]))


def test_versions_are_named(saved: Path, tmp_path: Path) -> None:
    header, arrays = parts(saved)
    refuse(write(tmp_path / "p.latlas", header | {"version": 7}, arrays), r"7\.\d+.*fit it again")
    refuse(write(tmp_path / "p.latlas", header | {"rules": "xnnpack-0"}, arrays), "xnnpack-0")


@pytest.mark.parametrize(
    "table_us",
    [
        np.zeros(3),
        np.zeros((1, 1)),
        np.array("x"),
        np.full(1, np.nan),
    ],
)
def test_wrong_latencies(saved: Path, tmp_path: Path, table_us: Any) -> None:
    header, arrays = parts(saved)
    refuse(write(tmp_path / "p.latlas", header, arrays | {"table_us": table_us}))
    for bad in (np.nan, np.inf, 1e300, -1.0):
        values = arrays["table_us"].copy()
        values[0] = bad
        refuse(write(tmp_path / "p.latlas", header, arrays | {"table_us": values}), "latency")


def test_forests_that_overflow(saved: Path, tmp_path: Path) -> None:
    header, arrays = parts(saved)
    values = arrays["0.number"].copy()
    values[-1] = 1e30
    refuse(write(tmp_path / "p.latlas", header, arrays | {"0.number": values}), "for ever")


@pytest.mark.parametrize("name", ["ranges", "similar"])
def test_wrong_ranges_and_similar_kernels(saved: Path, tmp_path: Path, name: str) -> None:
    header, arrays = parts(saved)
    for bad in (np.nan, np.inf, -np.inf):
        values = arrays[name].copy()
        values.flat[0] = bad
        refuse(write(tmp_path / "p.latlas", header, arrays | {name: values}), "bounds")
    for other in (arrays[name][1:].reshape(-1), arrays[name].astype(np.float64), np.array("x")):
        refuse(write(tmp_path / "p.latlas", header, arrays | {name: other}), "shape")


def test_more_similar_kernels_than_any_fit_keeps(saved: Path, tmp_path: Path) -> None:
    header, arrays = parts(saved)
    arrays["similar"] = np.zeros((file.MAX_SIMILAR + 1, 3), np.float32)
    refuse(write(tmp_path / "p.latlas", header, arrays), "similar kernels are of another shape")


def test_a_predictor_of_nothing(saved: Path, tmp_path: Path) -> None:
    header, _ = parts(saved)
    header |= {"kernels": [], "types": [], "ranged": [], "type_error": {}}
    refuse(write(tmp_path / "p.latlas", header, {"table_us": np.zeros(0)}))


def test_missing_arrays(saved: Path, tmp_path: Path) -> None:
    header, arrays = parts(saved)
    for name in arrays:
        rest = {key: value for key, value in arrays.items() if key != name}
        refuse(write(tmp_path / "p.latlas", header, rest))
        if name.startswith("1."):
            break


def test_places_that_cannot_be_written(small: LatencyPredictor, tmp_path: Path) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("keep me")
    for path in (blocker / "p.latlas", tmp_path, tmp_path / ("x" * 300)):
        with pytest.raises(PredictorError, match="cannot write"):
            file.save(small, path)
    assert blocker.read_text() == "keep me"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    file.save(small, tmp_path / ("\N{GRINNING FACE}" * 62))  # 248 bytes: as long as names may be


def test_devices_are_not_replaced(small: LatencyPredictor, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(PredictorError, match="no regular file"):
        file.save(small, pipe)
    assert pipe.is_fifo()


def test_a_full_set_is_small_and_read_quickly(small: LatencyPredictor, tmp_path: Path) -> None:
    """12 kernel types learned from 2,000 kernels each, as many trees as `latlas fit` grows."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2000, len(features.NAMES))).astype(np.float32)
    y = x[:, 0] + np.sin(x[:, 1]) + rng.normal(0, 0.1, 2000)
    forest = Forest.grow(x, y, np.ones(2000), trees=TREES)
    assert len(forest.child) > 1900 * 2 * TREES
    full = replace(small, forests={f"type {index}": forest for index in range(12)})
    file.save(full, tmp_path / "full.latlas")
    header, arrays = parts(tmp_path / "full.latlas")
    sizes = [(size, channels) for size in range(1, 101) for channels in range(10, 250)]
    texts = [f"1x{s}x{s}x{c} | conv2d filters={s + c} kernel=1x1 @0 | @1" for s, c in sizes]
    latencies_us = rng.uniform(1, 1000, len(texts))
    path = write(
        tmp_path / "full.latlas",
        header | {"kernels": texts},
        arrays | {"table_us": latencies_us},
    )
    assert path.stat().st_size <= 20e6
    start = time.process_time()
    read = file.load(path)
    load_s = time.process_time() - start
    assert (read.forests["type 11"].predict(x) == forest.predict(x)).all()
    assert len(read.table_us) == 24_000
    start = time.process_time()
    some = [Kernel.from_text(text) for text in texts[::10]]
    assert load_s < 5 * (time.process_time() - start)  # much less than reading all kernels takes
    assert read.kernels_us(some)[0].tolist() == latencies_us[::10].tolist()


def test_scikit_learn_is_needed_to_fit_only(saved: Path) -> None:
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from latlas.predictor import file\n"
        "from latlas.search import zoo\n"
        f"predictor = file.load(Path({str(saved)!r}))\n"
        "print(predictor.predict([zoo.build('mobilenet_v2')], accept_unknown=True)[0].latency_ms)\n"
        "assert not [name for name in sys.modules if name.startswith(('sklearn', 'scipy'))]\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    from latlas.search import zoo

    (here,) = file.load(saved).predict([zoo.build("mobilenet_v2")], accept_unknown=True)
    assert float(done.stdout) == here.latency_ms
