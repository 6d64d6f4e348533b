"""What a latency is valid for."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from latlas.profiler.errors import TableError, TargetMismatchError

Delegate = Literal["cpu", "gpu"]
GpuPrecision = Literal["default", "fp16", "fp32"]
"""What a GPU is told to calculate in; its delegate decides by default."""

INT8_ON_GPU = (
    "int8 networks are measured on the CPU only: on a GPU, measure the float32 network, which it "
    "may compute in fp16"
)


@dataclass(frozen=True, slots=True)
class Target:
    """A device, and how networks run on it. Part of every table, predictor and result.

    Attributes:
        device: what is measured, e.g. the processor's name or a phone's model.
        runtime: name and version of the runtime, e.g. ``litert 2.3.0``.
        delegate: ``cpu`` or ``gpu``.
        backend: what the delegate runs on, e.g. ``xnnpack``, ``webgpu``, ``opencl``.
        adapter: the GPU as its driver names it, empty on the CPU.
        software: whether the adapter is a software renderer, so that no phone is like it.
        precision: ``fp32``, ``fp16`` or ``int8``.
        threads: CPU threads of the runtime.
        cores: CPU cores that it may use, e.g. ``0`` or ``4-7``; empty means any.
        clocks: ``fixed`` in Android's fixed performance mode; empty as the device governs them.
    """

    device: str
    runtime: str
    delegate: Delegate
    backend: str
    adapter: str = ""
    software: bool = False
    precision: str = "fp32"
    threads: int = 1
    cores: str = ""
    clocks: str = ""

    def __str__(self) -> str:
        """Return a line for people."""
        parts = [self.device, self.runtime, f"{self.delegate}/{self.backend}", self.precision]
        if self.adapter:
            parts.append(self.adapter + (" (software)" if self.software else ""))
        if self.delegate == "cpu":
            parts.append(f"{self.threads} thread{'s' if self.threads > 1 else ''}")
        if self.cores:
            parts.append(f"cores {self.cores}")
        if self.clocks:
            parts.append(f"{self.clocks} clocks")
        return ", ".join(parts)

    def to_json(self) -> dict[str, Any]:
        """Return a plain dictionary."""
        return asdict(self)

    @staticmethod
    def from_json(data: object) -> Target:
        """Read what `to_json` wrote.

        Raises:
            TableError: the data are not a target.
        """
        kinds = {"str": str, "bool": bool, "int": int, "Delegate": str}
        expected = {field.name: kinds[str(field.type)] for field in fields(Target)}
        # Tables that were written before there was this field.
        data = {"clocks": ""} | data if isinstance(data, dict) else data
        if not isinstance(data, dict) or set(data) != set(expected):
            raise TableError(f"a target has the fields {', '.join(expected)}, got {data!r:.200}")
        for name, kind in expected.items():
            if type(data[name]) is not kind:
                raise TableError(f"target: {name} must be {kind.__name__}, got {data[name]!r:.80}")
        if data["delegate"] not in ("cpu", "gpu"):
            raise TableError(f"target: unknown delegate {data['delegate']!r:.80}")
        return Target(**data)

    def differences(self, other: Target) -> list[str]:
        """Return the fields that differ, with the values of both.

        >>> one = Target("a phone", "litert 2.3.0", "cpu", "xnnpack")
        >>> one.differences(Target("a phone", "litert 2.2.0", "cpu", "xnnpack"))
        ["runtime: 'litert 2.3.0' against 'litert 2.2.0'"]
        """
        mine, theirs = self.to_json(), other.to_json()
        return [
            f"{key}: {mine[key]!r} against {theirs[key]!r}"
            for key in mine
            if mine[key] != theirs[key]
        ]

    def require_same(self, other: Target, what: str) -> None:
        """Refuse what is of another target than this one.

        Args:
            other: its target.
            what: what it is, for the message.

        Raises:
            TargetMismatchError: fields differ; the message has each of them, with both values.

        >>> one = Target("a phone", "litert 2.3.0", "cpu", "xnnpack")
        >>> other = Target("a phone", "litert 2.3.0", "cpu", "xnnpack", threads=4)
        >>> one.require_same(other, "the table t")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        latlas.profiler.errors.TargetMismatchError: the table t belongs to another target: its ...
        """
        mine, theirs = self.to_json(), other.to_json()
        different = [
            f"its {key} is {theirs[key]!r}, not {mine[key]!r}"
            for key in mine
            if mine[key] != theirs[key]
        ]
        if different:
            raise TargetMismatchError(
                f"{what} belongs to another target: {', '.join(different)}; figures of two "
                "targets never mix: keep them in folders of their own"
            )
