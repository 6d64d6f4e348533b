from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from latlas.profiler.arrays import read_arrays


@settings(max_examples=30)
@given(
    array=arrays.arrays(
        st.sampled_from(["f4", ">f8", "i8", "?", "U5"]), arrays.array_shapes(min_dims=0, min_side=0)
    ),
    compressed=st.booleans(),
)
def test_what_was_written_is_read(
    array: np.ndarray, compressed: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("arrays") / "a.npz"
    (np.savez_compressed if compressed else np.savez)(path, first=array, second=array.T)
    found = read_arrays(path, 1 << 20)
    assert list(found) == ["first", "second"]
    np.testing.assert_array_equal(found["first"], array)
    np.testing.assert_array_equal(found["second"], array.T)
    assert found["first"].dtype == array.dtype


def test_what_is_larger_is_not_unpacked(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", zeros=np.zeros(1 << 17))
    assert read_arrays(tmp_path / "a.npz", 2 << 20)["zeros"].shape == (1 << 17,)
    with pytest.raises(ValueError, match=r"larger than 0\.5 MB unpacked"):
        read_arrays(tmp_path / "a.npz", 1 << 19)


def test_a_checksum_that_is_wrong(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", a=np.arange(100))
    raw = bytearray((tmp_path / "a.npz").read_bytes())
    raw[400] ^= 1
    (tmp_path / "a.npz").write_bytes(raw)
    with pytest.raises(ValueError, match="CRC"):
        read_arrays(tmp_path / "a.npz", 1 << 20)


def test_a_name_that_is_long_and_wrong_is_told_in_short(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", a=np.arange(1000))
    raw = bytearray((tmp_path / "a.npz").read_bytes())
    raw[26:28] = (5000).to_bytes(2, "little")  # the length of the name in front of the array
    (tmp_path / "a.npz").write_bytes(raw)
    with pytest.raises(ValueError, match="File name in directory") as raised:
        read_arrays(tmp_path / "a.npz", 1 << 20)
    assert len(str(raised.value)) <= 300


def test_pickles_are_not_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", a=np.array([{}], object))
    with pytest.raises(ValueError):
        read_arrays(tmp_path / "a.npz", 1 << 20)


def test_what_is_no_archive(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"no zip")
    with pytest.raises(ValueError, match="not a zip file"):
        read_arrays(tmp_path / "a.npz", 1 << 20)
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        archive.writestr("a.npy", b"no array")
    with pytest.raises(ValueError, match="magic"):
        read_arrays(tmp_path / "b.npz", 1 << 20)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="not a file"):
        read_arrays(tmp_path / "pipe", 1 << 20)
    with pytest.raises(FileNotFoundError):
        read_arrays(tmp_path / "none", 1 << 20)
