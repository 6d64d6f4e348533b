"""The state of a training in a file: variables, and the losses of the epochs that are done."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from latlas.profiler.arrays import ROOM_BYTES, read_arrays
from latlas.profiler.errors import CheckpointError
from latlas.profiler.files import write_atomically


class Variable(Protocol):
    """What Keras and TensorFlow call one."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def numpy(self) -> NDArray[np.generic]: ...

    def assign(self, value: NDArray[np.generic]) -> object: ...


def save_state(
    path: Path, identity: str, losses: list[float], variables: Mapping[str, Variable]
) -> None:
    """Write all that a training depends on.

    Args:
        path: the file.
        identity: what is trained, on what and how.
        losses: of the epochs that are done.
        variables: by name.

    Raises:
        CheckpointError: the file cannot be written.
    """
    arrays = {f"variable/{name}": np.asarray(one.numpy()) for name, one in variables.items()}
    with write_atomically(path, CheckpointError) as file:
        np.savez(
            file,
            allow_pickle=False,
            identity=np.array(identity),
            losses=np.array(losses, np.float64),
            **arrays,
        )


def load_state(path: Path, identity: str, variables: Mapping[str, Variable]) -> list[float]:
    """Give variables what `save_state` wrote; return the losses.

    Raises:
        CheckpointError: the file is of another training, or damaged.
    """
    try:
        values = {name: np.asarray(one.numpy()) for name, one in variables.items()}
        size = sum(value.nbytes for value in values.values())
        found = read_arrays(path, size + ROOM_BYTES)
        if str(found["identity"]) != identity:
            raise CheckpointError(
                f"{path} is the checkpoint of another training: use another file, or delete it"
            )
        arrays = {name: found[f"variable/{name}"] for name in variables}
        for name, value in values.items():
            if (arrays[name].shape, arrays[name].dtype) != (value.shape, value.dtype):
                raise ValueError(f"{name} is {arrays[name].dtype} of shape {arrays[name].shape}")
        losses = found["losses"]
        if losses.ndim != 1 or losses.dtype != np.float64:
            raise ValueError("its losses are no list of numbers")
        for name, one in variables.items():
            one.assign(arrays[name])
    except (OSError, ValueError, KeyError) as problem:
        raise CheckpointError(
            f"{path} is not a training's checkpoint ({problem}): delete it to start anew"
        ) from problem
    return [float(loss) for loss in losses.tolist()]
