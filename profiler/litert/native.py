"""A .tflite compiled by LiteRT in this process: run it, read its outputs, time its operators.

A crash in here takes the process along, so only the worker process measures with it.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Self

import numpy as np

from latlas.profiler.errors import NotDelegatedError, RunnerError
from latlas.profiler.litert.library import (
    HARDWARE,
    KEEP,
    Accelerator,
    Event,
    Handle,
    Layout,
    Size,
    TensorType,
    describe,
    environment,
    library,
)
from latlas.profiler.runner import OpTime
from latlas.profiler.target import GpuPrecision

_PRECISIONS = {"default": 0, "fp16": 1, "fp32": 2}
_FLOAT32, _BYTES = 1, frozenset({3, 9})  # element types: float32; uint8 and int8
_READ, _WRITE = 0, 1

# Types of profiler events (tflite/core/api/profiler.h) that stand for work done.
_KERNEL_EVENT = 2
"""One of the runtime's own kernels; a delegate as a whole is such an event too."""
_DELEGATE_EVENTS = frozenset({4, 8})
"""One operator inside a delegate."""

_TIMED_CALLS = ("RunCompiledModel", "LockTensorBuffer", "UnlockTensorBuffer")
_CALIBRATION_NS = 1_000_000
_REFRESHED_BYTES = 1 << 16
_memmove = ctypes.CDLL(None)["memmove"]  # without the conversions of ctypes.memmove

_NOT_DELEGATED = 504
"""The status of a compilation that left operators to a processor that was not asked for."""


@cache
def _noise(size: int) -> bytes:
    """Return seeded float32 numbers in [-1, 1); real numbers, as zeros may take short cuts."""
    values = np.random.default_rng(0).random(size, np.float32)
    return (values * np.float32(2) - np.float32(1)).tobytes()


def _input_data(element: int, size: int) -> bytes | None:
    """Return `size` bytes for an input, or nothing where zeros are the only safe content."""
    if element == _FLOAT32:
        # A power of two keeps the number of different pools small over a campaign.
        return _noise(1 << max(10, (size // 4).bit_length()))
    if element in _BYTES:
        return np.random.default_rng(0).bytes(size)
    return None


@dataclass(frozen=True, slots=True)
class Profile:
    """What a profiled pass saw, in execution order.

    Attributes:
        ops: time of each operator; the runtime's own kernels are named ``kernel:ADD``.
        kernels: how many of them are the runtime's own kernels, not the delegate's operators.
        invoke_us: time of a whole invocation as the runtime sees it, its profiling included.
        runs: invocations seen.

    Times are means over the middle half of the runs: events are whole microseconds, rounded down,
    so that a median would not resolve a short operator, and a mean over all runs would take in
    what other processes did.
    """

    ops: tuple[OpTime, ...]
    kernels: int
    invoke_us: float
    runs: int


class CompiledModel:
    """A .tflite compiled for one accelerator, with its buffers allocated and its inputs filled.

    Args:
        model: the file's bytes; kept alive, for LiteRT reads the weights where they are.
        accelerator: ``cpu`` (XNNPACK) or ``gpu``.
        threads: CPU threads.
        profile: whether `profile` can be called; costs a little time in every run.
        precision: of the GPU's calculations; ``default`` leaves it to the runtime.

    A dynamic batch becomes 1.

    Raises:
        NotDelegatedError: the GPU took only a part of the model.
        RunnerError: LiteRT refuses the model, or an input has a dynamic size besides the batch.
    """

    def __init__(
        self,
        model: bytes,
        accelerator: Accelerator = "cpu",
        threads: int = 1,
        profile: bool = False,
        precision: GpuPrecision = "default",
    ) -> None:
        self._lib = library()
        self._destroy: list[tuple[str, Handle]] = []
        self._model_bytes = model
        self._texts: list[ctypes.Array[ctypes.c_char]] = []
        self._contents: list[tuple[Handle, bytes, int]] = []  # address, data, size of each input
        self._profiled = profile
        try:
            self._open(accelerator, threads, precision)
        except BaseException:
            self.close()
            raise

    def _own(self, kind: str, handle: Handle) -> Handle:
        self._destroy.append((kind, handle))
        return handle

    def _open(self, accelerator: Accelerator, threads: int, precision: GpuPrecision) -> None:
        lib, home = self._lib, environment(accelerator)
        address = ctypes.cast(ctypes.c_char_p(self._model_bytes), Handle)
        model = lib.make("CreateModelFromBuffer", home, address, len(self._model_bytes))
        self._own("Model", model)
        options = self._own("Options", lib.make("CreateOptions"))
        lib.call("SetOptionsHardwareAccelerators", options, HARDWARE[accelerator])
        # Options of a part of the runtime travel as TOML text under that part's name.
        self._set(options, "xnnpack", f"num_threads = {threads}\n")
        if accelerator == "gpu":
            self._set(options, "gpu_options", f"precision = {_PRECISIONS[precision]}\n")
        if self._profiled:
            self._set(options, "runtime_options_string", "enable_profiling = true\n")
        self._compiled = Handle()
        status = lib.function("CreateCompiledModel")(
            home, model, options, ctypes.byref(self._compiled)
        )
        if status == _NOT_DELEGATED and accelerator == "gpu":
            raise NotDelegatedError("the GPU does not take every operator of the model")
        if status:
            # Of a GPU, LiteRT often gives no reason; what it cannot compile may run on the CPU.
            advice = "; the CPU may run it: --delegate cpu" if accelerator == "gpu" else ""
            raise RunnerError(f"LiteRT cannot compile the model: {describe(status)}{advice}")
        self._own("CompiledModel", self._compiled)
        # The other question would count what XNNPACK took as accelerated.
        if accelerator == "gpu" and not self._ask("CompiledModelIsNonCpuFullyAccelerated"):
            raise NotDelegatedError("a part of the model would run on the CPU")
        self._allocate(home, lib.make("GetModelSignature", model, 0))
        # A GPU only enqueues its work: reading the outputs is what waits for it.
        self._awaited = [Handle(value) for value in self._outputs] if accelerator == "gpu" else []
        self.call = self._caller(self._compiled, self._awaited)

    def _set(self, options: Handle, part: str, text: str) -> None:
        payload = ctypes.create_string_buffer(text.encode())
        self._texts.append(payload)
        opaque = self._lib.make(
            "CreateOpaqueOptions", part.encode(), ctypes.cast(payload, Handle), KEEP
        )
        self._lib.call("AddOpaqueOptions", options, opaque)  # which then owns it

    def _types(self, signature: Handle, side: str) -> list[TensorType]:
        count = self._lib.count(f"GetNumSignature{side}s", signature)
        types = [TensorType() for _ in range(count)]
        for index, kind in enumerate(types):
            tensor = self._lib.make(f"GetSignature{side}TensorByIndex", signature, index)
            self._lib.call("GetRankedTensorType", tensor, ctypes.byref(kind))
        return types

    def _allocate(self, home: Handle, signature: Handle) -> None:
        lib = self._lib
        inputs, outputs = self._types(signature, "Input"), self._types(signature, "Output")
        if any(size < 0 for kind in inputs for size in kind.layout.shape):
            self._resize(inputs)
            layouts = (Layout * len(outputs))()
            lib.call(
                "GetCompiledModelOutputTensorLayouts",
                self._compiled,
                0,
                len(outputs),
                layouts,
                True,
            )
            for kind, layout in zip(outputs, layouts, strict=True):
                kind.layout = layout
        self.input_shapes = tuple(kind.layout.shape for kind in inputs)
        self.output_shapes = tuple(kind.layout.shape for kind in outputs)
        self._inputs = self._buffers(home, inputs, "Input")
        self._outputs = self._buffers(home, outputs, "Output")
        for kind, buffer in zip(inputs, self._inputs, strict=True):
            self._fill(kind, Handle(buffer))

    def _resize(self, inputs: Sequence[TensorType]) -> None:
        """Set every dynamic batch to 1."""
        for index, kind in enumerate(inputs):
            shape = kind.layout.shape
            if any(size < 0 for size in shape[1:]):
                raise RunnerError(
                    f"input {index} has the dynamic shape {shape}; only the batch may be dynamic: "
                    f"convert the model again with a fixed input shape"
                )
            if shape and shape[0] < 0:
                kind.layout.sizes[0] = 1
                sizes = (ctypes.c_int * len(shape))(*kind.layout.shape)
                self._lib.call(
                    "CompiledModelResizeInputTensor", self._compiled, 0, index, sizes, len(shape)
                )

    def _buffers(
        self, home: Handle, types: Sequence[TensorType], side: str
    ) -> ctypes.Array[Handle]:
        lib = self._lib
        buffers: ctypes.Array[Handle] = (Handle * len(types))()
        for index, kind in enumerate(types):
            name = f"GetCompiledModel{side}BufferRequirements"
            requirements = lib.make(name, self._compiled, 0, index)
            buffer = lib.make(
                "CreateManagedTensorBufferFromRequirements",
                home,
                ctypes.byref(kind),
                requirements,
            )
            buffers[index] = self._own("TensorBuffer", buffer).value
        return buffers

    def _fill(self, kind: TensorType, buffer: Handle) -> None:
        size = self._lib.count("GetTensorBufferPackedSize", buffer)
        data = _input_data(kind.element, size) or bytes(size)
        address = Handle()
        self._lib.call("LockTensorBuffer", buffer, ctypes.byref(address), _WRITE)
        ctypes.memmove(address, data, size)
        self._lib.call("UnlockTensorBuffer", buffer)
        self._contents.append((address, data, size))

    def refresher(self) -> Callable[[], object]:
        """Return the function that writes the inputs anew, as benchmark_model does before each run.

        It decides what is in the caches when a run begins. That matters to small kernels; of
        large inputs, which would take longer to write than the kernel to run, nothing is written,
        and neither is anything for a GPU.
        """
        small = [content for content in self._contents if content[2] <= _REFRESHED_BYTES]
        if self._awaited or len(small) < len(self._contents):
            return lambda: None
        moves = [partial(_memmove, at, data, Size(size)) for at, data, size in small]
        if len(moves) == 1:
            return moves[0]

        def refresh() -> None:
            for move in moves:
                move()

        return refresh

    def _caller(self, compiled: Handle, outputs: Sequence[Handle]) -> Callable[[], int]:
        """Return the function that runs a model once, and waits for the outputs given.

        It answers with LiteRT's status. As little of it as possible is Python, since it is timed.
        """
        run, lock, unlock = map(self._lib.bare, _TIMED_CALLS)
        n_in, n_out = Size(len(self._inputs)), Size(len(self._outputs))
        call = partial(run, compiled, Size(0), n_in, self._inputs, n_out, self._outputs)
        if not outputs:
            return call
        address = Handle()
        at, to_read = ctypes.byref(address), ctypes.c_int(_READ)

        def call_and_wait() -> int:
            status = call()
            for output in outputs:
                # Both in any case, so that refused calls cost what others do.
                locked, unlocked = lock(output, at, to_read), unlock(output)
                status = status or locked or unlocked
            return status

        return call_and_wait

    def invoke(self) -> None:
        """Run the model once and wait for its outputs.

        Raises:
            RunnerError: LiteRT cannot run it.
        """
        check(self.call())

    def call_cost_ns(self, calls: int = 100) -> int:
        """Return the nanoseconds of an `invoke` that are Python's, not the runtime's.

        A benchmark binary has no such cost, which would make small models look slower here. It is
        that of the same calls without a model, which the runtime refuses at once. A run leaves the
        caches cold for Python: a refused call straight after one shows what that costs on the way
        there, against a second one. On the way back it must cost as much, but cannot be seen.
        """
        nothing = Handle()
        refused = self._caller(nothing, [nothing for _ in self._awaited])
        clock = time.perf_counter_ns
        cold, warm = list[int](), list[int]()
        refresh, end = self.refresher(), clock() + _CALIBRATION_NS
        while len(cold) < calls and (clock() < end or not cold):
            refresh()
            check(self.call())
            before = clock()
            refused()
            between = clock()
            refused()
            warm.append(clock() - between)
            cold.append(between - before)
        there, usual = sorted(cold)[len(cold) // 2], sorted(warm)[len(warm) // 2]
        return there + max(there - usual, 0)

    @property
    def fully_delegated(self) -> bool:
        """Whether a delegate (XNNPACK or the GPU's) took every operator."""
        return self._ask("CompiledModelIsFullyAccelerated")

    def _ask(self, question: str) -> bool:
        answer = ctypes.c_bool()
        self._lib.call(question, self._compiled, ctypes.byref(answer))
        return answer.value

    def outputs(self) -> list[bytes]:
        """Return the contents of every output after the last run."""
        contents = []
        for value in self._outputs:
            buffer, address = Handle(value), Handle()
            size = self._lib.count("GetTensorBufferPackedSize", buffer)
            self._lib.call("LockTensorBuffer", buffer, ctypes.byref(address), _READ)
            contents.append(ctypes.string_at(address, size))
            self._lib.call("UnlockTensorBuffer", buffer)
        return contents

    def profile(self, go_on: Callable[[], bool]) -> Profile:
        """Run the model with its profiler on, for as long as `go_on` says, at least once.

        Raises:
            RunnerError: the model was compiled without a profiler, or the profiler failed.
        """
        if not self._profiled:
            raise RunnerError("the model was compiled without profile=True")
        profiler = self._lib.make("CompiledModelGetProfiler", self._compiled)
        runs: list[list[_Record]] = []
        while not runs or go_on():
            # One session a run: the profiler's buffer is finite and drops what exceeds it.
            self._lib.call("StartProfiler", profiler)
            self.invoke()
            self._lib.call("StopProfiler", profiler)
            number = ctypes.c_int()
            self._lib.call("GetNumProfilerEvents", profiler, ctypes.byref(number))
            events = (Event * number.value)()
            self._lib.call("GetProfilerEvents", profiler, number, events)
            runs.append([(event.type, event.tag.decode(), event.elapsed_us) for event in events])
        return summarise(runs)

    def close(self) -> None:
        """Destroy everything; LiteRT leaks whatever is not."""
        while self._destroy:
            kind, handle = self._destroy.pop()
            self._lib.function(f"Destroy{kind}")(handle)

    def __enter__(self) -> Self:
        """Return the model."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Destroy everything."""
        self.close()


_Record = tuple[int, str, int]
"""Type, name and whole microseconds of one event of the profiler."""


def check(status: int) -> None:
    """Raise `RunnerError` unless the status of a run says that all is well."""
    if status:
        raise RunnerError(f"LiteRT cannot run the model: {describe(status)}")


def _middle_mean(values: Sequence[int]) -> float:
    """Return the mean without the lowest and the highest quarter."""
    cut = len(values) // 4
    middle = sorted(values)[cut : len(values) - cut]
    return sum(middle) / len(middle)


def summarise(runs: Sequence[Sequence[_Record]]) -> Profile:
    """Average the profiler's events over runs.

    Raises:
        RunnerError: the runs did not execute the same operators.
    """
    work = [
        [record for record in run if record[0] in _DELEGATE_EVENTS or record[0] == _KERNEL_EVENT]
        for run in runs
    ]
    names = [record[:2] for record in work[0]]
    if any([record[:2] for record in run] != names for run in work):
        raise RunnerError("the operators of the model differ from run to run")
    means = [_middle_mean([record[2] for record in column]) for column in zip(*work, strict=True)]
    ops = tuple(
        OpTime(f"kernel:{name}" if kind == _KERNEL_EVENT else name, mean)
        for (kind, name), mean in zip(names, means, strict=True)
    )
    whole = [sum(us for kind, name, us in run if (kind, name) == (1, "Invoke")) for run in runs]
    kernels = sum(kind == _KERNEL_EVENT for kind, _ in names)
    return Profile(ops, kernels, _middle_mean(whole), len(runs))
