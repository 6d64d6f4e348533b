"""A supernet's state on disk: one file, written whole after every epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latlas.profiler.arrays import ROOM_BYTES, read_arrays
from latlas.profiler.errors import SearchError
from latlas.profiler.files import write_atomically

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """What training needs to go on as if it had never stopped.

    Attributes:
        parameters: weights by name.
        velocity: of the optimiser, by the same names.
        uses: how often each choice of each gene was trained, shape (genes, most choices).
        losses: mean loss of every epoch so far.
    """

    parameters: Mapping[str, FloatArray]
    velocity: Mapping[str, FloatArray]
    uses: NDArray[np.int64]
    losses: list[float]

    def save(self, path: Path, identity: str) -> None:
        """Write it, with what its supernet was trained on and how.

        Raises:
            SearchError: the file cannot be written.
        """
        arrays: dict[str, Any] = {
            f"parameter/{name}": value for name, value in self.parameters.items()
        }
        arrays |= {f"velocity/{name}": value for name, value in self.velocity.items()}
        with write_atomically(path, SearchError) as file:
            np.savez(
                file,
                identity=np.array(identity),
                losses=np.array(self.losses, np.float64),
                uses=self.uses,
                **arrays,
            )

    @staticmethod
    def load(path: Path, identity: str, like: Checkpoint) -> Checkpoint:
        """Read what `save` wrote.

        Args:
            path: of the file.
            identity: as it was saved with.
            like: names and shapes of the arrays that must be there.

        Raises:
            SearchError: the file is no checkpoint, or of another supernet.
        """
        try:
            size = 2 * sum(value.nbytes for value in like.parameters.values()) + like.uses.nbytes
            arrays = read_arrays(path, size + ROOM_BYTES)
            found = str(arrays["identity"])
            if found != identity:
                raise SearchError(
                    f"{path} is the checkpoint of another supernet ({found[:1000]}), not of "
                    f"{identity}: use another folder"
                )
            parts: list[dict[str, FloatArray]] = []
            for kind, wanted in (("parameter", like.parameters), ("velocity", like.velocity)):
                part = {name: arrays[f"{kind}/{name}"] for name in wanted}
                for name, value in wanted.items():
                    if part[name].shape != value.shape or part[name].dtype != np.float32:
                        raise ValueError(f"{name} is {part[name].shape}, expected {value.shape}")
                parts.append(part)
            uses, losses = arrays["uses"], arrays["losses"]
            if uses.shape != like.uses.shape or uses.dtype != like.uses.dtype:
                raise ValueError("its counts have the wrong shape")
            if losses.ndim != 1 or losses.dtype != np.float64:
                raise ValueError("its losses are no list of numbers")
            return Checkpoint(parts[0], parts[1], uses, losses.tolist())
        except (OSError, ValueError, KeyError) as problem:
            raise SearchError(
                f"{path} is not a supernet's checkpoint ({problem}): delete it to start anew"
            ) from problem
