"""The state of a training in a file: variables, and the losses of the epochs that are done."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

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
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            if str(file["identity"]) != identity:
                raise CheckpointError(
                    f"{path} is the checkpoint of another training: use another file, or delete it"
                )
            arrays = {name: file[f"variable/{name}"] for name in variables}
            losses = [float(loss) for loss in file["losses"].tolist()]
        for name, one in variables.items():
            if arrays[name].shape != tuple(one.shape):
                raise ValueError(f"{name} has the shape {arrays[name].shape}")
        for name, one in variables.items():
            one.assign(arrays[name])
    except (OSError, TypeError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as problem:
        raise CheckpointError(
            f"{path} is not a training's checkpoint ({problem}): delete it to start anew"
        ) from problem
    return losses
