"""Measured kernels as a file lists them: each text is read when its kernel is asked for.

A full set of kernels takes a second and more to read, of which a network needs few. Texts begin
with the shapes of a kernel's inputs: only those of the same shapes are read to look a kernel up.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from latlas.profiler.errors import GraphError, PredictorError
from latlas.profiler.kernel import Kernel
from latlas.profiler.op_text import format_shape
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
        self._read: dict[Kernel, float] = {}
        self._asked: set[tuple[Shape, ...]] = set()
        self._by_shapes: dict[str, list[int]] = defaultdict(list)
        for index, text in enumerate(texts):
            if not isinstance(text, str) or _BAR not in text:
                raise PredictorError(f"{source} is damaged: it lists what is no kernel")
            shapes, _, _ = text.partition(_BAR)
            self._by_shapes[shapes.replace(":int8", "")].append(index)
        if len(set(texts)) < len(texts):
            raise PredictorError(f"{source} is damaged: it lists a kernel twice")

    def __getitem__(self, kernel: Kernel) -> float:
        """Return a kernel's latency in microseconds."""
        if kernel.inputs not in self._asked:
            for index in self._by_shapes.get(",".join(map(format_shape, kernel.inputs)), ()):
                self._read[self._kernel(index)] = self._latencies_us[index]
            self._asked.add(kernel.inputs)
        return self._read[kernel]

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
