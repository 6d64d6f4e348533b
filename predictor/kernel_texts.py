"""Measured kernels as a file lists them: each text is read when its kernel is asked for.

A full set of kernels takes a second and more to read, of which a network needs few. Texts begin
with the shapes of a kernel's inputs: to look a kernel up, only those of the same shapes are read
any further.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from latlas.profiler.errors import GraphError, PredictorError
from latlas.profiler.kernel import Kernel
from latlas.profiler.op_text import parse_shape
from latlas.profiler.ops import Shape

_BAR = " | "


class KernelTexts(Mapping[Kernel, float]):
    """Latencies by kernel, of which only the texts are known at first.

    Args:
        texts: of kernels (`Kernel.text`), each once.
        latencies_us: of each, in microseconds.
        source: what the texts were read from, for errors.

    Raises:
        PredictorError: what is listed are no texts of kernels, or one is listed twice. What else is
            wrong with a text is found when it is read: looking kernels up raises the same.

    >>> text = "1x8x8x4 | conv2d filters=8 kernel=1x1 @0 | @1"
    >>> KernelTexts([text], [12.5], "a file")[Kernel.from_text(text)]
    12.5
    """

    def __init__(self, texts: Sequence[str], latencies_us: Sequence[float], source: str) -> None:
        self._texts = texts
        self._latencies_us = latencies_us
        self._source = source
        self._kernels: dict[int, Kernel] = {}
        self._read: dict[tuple[Shape, ...], dict[Kernel, float]] = {}
        if not all(isinstance(text, str) and _BAR in text for text in texts):
            raise PredictorError(f"{source} is damaged: it lists what is no kernel")
        if len(set(texts)) < len(texts):
            raise PredictorError(f"{source} is damaged: it lists a kernel twice")

    def __getitem__(self, kernel: Kernel) -> float:
        """Return a kernel's latency in microseconds."""
        return self._alike(kernel)[kernel]

    def get(self, kernel: Kernel, default: Any = None) -> Any:
        """Return a kernel's latency in microseconds, or the default where it is not listed."""
        return self._alike(kernel).get(kernel, default)

    def _alike(self, kernel: Kernel) -> dict[Kernel, float]:
        """Return the latencies of kernels that read the same shapes as this one."""
        indices = self._by_inputs.get(kernel.inputs)
        if indices is None:
            return {}
        if kernel.inputs not in self._read:
            self._read[kernel.inputs] = {
                self._kernel(index): self._latencies_us[index] for index in indices
            }
        return self._read[kernel.inputs]

    @cached_property
    def _by_inputs(self) -> dict[tuple[Shape, ...], list[int]]:
        """Which texts begin with the shapes of which inputs."""
        by_head: dict[str, list[int]] = defaultdict(list)
        for index, text in enumerate(self._texts):
            head, _, _ = text.partition(_BAR)
            by_head[head.replace(":int8", "")].append(index)
        found: dict[tuple[Shape, ...], list[int]] = defaultdict(list)
        for head, indices in by_head.items():
            found[self._shapes(head)] += indices
        return dict(found)

    def _shapes(self, head: str) -> tuple[Shape, ...]:
        try:
            return tuple(map(parse_shape, head.split(",")))
        except (GraphError, ValueError) as problem:
            raise PredictorError(f"{self._source} is damaged ({problem}): fit it again") from (
                problem
            )

    def __iter__(self) -> Iterator[Kernel]:
        """Read every kernel, in order."""
        return map(self._kernel, range(len(self._texts)))

    def __len__(self) -> int:
        """Return the number of kernels."""
        return len(self._texts)

    def _kernel(self, index: int) -> Kernel:
        if index not in self._kernels:
            text = self._texts[index]
            try:
                kernel = Kernel.from_text(text)
                if kernel.text != text:
                    raise GraphError(f"{text!r:.80} is not as a kernel is written")
            except (GraphError, LookupError, TypeError, ValueError, ArithmeticError) as problem:
                raise PredictorError(f"{self._source} is damaged ({problem}): fit it again") from (
                    problem
                )
            self._kernels[index] = kernel
        return self._kernels[index]
