"""Archives of arrays (.npz) as they come from outside, read within bounds and without pickles."""

from __future__ import annotations

import math
import warnings
import zipfile
from pathlib import Path
from typing import Any

from numpy.lib import format as npy
from numpy.typing import NDArray

ROOM_BYTES = 16 << 20
"""For what an archive holds beside arrays of known sizes: names, losses, its own index."""

_SUFFIX = ".npy"
_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def read_arrays(path: Path, max_bytes: int) -> dict[str, NDArray[Any]]:
    """Return the arrays of an archive by name.

    numpy makes room for whatever shape an array claims to have; here a claim is held against what
    the archive holds first.

    Args:
        path: the file.
        max_bytes: neither the file nor all that it holds is larger.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is larger, damaged, or no archive of arrays.
    """
    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise ValueError("it is not a file")
    size = path.stat().st_size
    try:
        with zipfile.ZipFile(path) as archive, warnings.catch_warnings(action="error"):
            members = archive.infolist()
            if max(size, sum(member.file_size for member in members)) > max_bytes:
                raise ValueError(f"it is larger than {max_bytes / 2**20:.3g} MB unpacked")
            return {
                member.filename.removesuffix(_SUFFIX): _read(archive, member) for member in members
            }
    except OSError:
        raise
    except Exception as problem:  # zipfile, zlib and numpy raise nearly anything at damaged files
        raise ValueError(f"{str(problem) or repr(problem):.300}") from problem  # a name is endless


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> NDArray[Any]:
    with archive.open(member) as file:
        version = npy.read_magic(file)
        if version not in _HEADERS:
            raise ValueError(f"{member.filename[:100]!r} has the version {version}")
        shape, _, dtype = _HEADERS[version](file)
        if file.tell() + math.prod(shape) * dtype.itemsize != member.file_size:
            raise ValueError(f"{member.filename[:100]!r} is not as large as it claims to be")
    with archive.open(member) as file:  # anew: after a seek, the checksum is not looked at
        array: NDArray[Any] = npy.read_array(file, allow_pickle=False)
        return array
