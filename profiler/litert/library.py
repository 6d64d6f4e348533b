"""The C API of LiteRT as Python sees it: its structures, its functions, its environment.

The wheel's Python class hides the profiler and decides itself what is copied when; the library
inside the same wheel, ``libLiteRt.so``, exports the whole C API. Structures and constants are
those of LiteRT 2.3 (``litert/c/*.h``).
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import importlib.util
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Literal

from latlas.profiler.errors import DeviceError, RunnerError

Accelerator = Literal["cpu", "gpu"]

HARDWARE = {"cpu": 1, "gpu": 2}
_NOT_INSTALLED = "LiteRT is not installed: pip install ai-edge-litert"
_MAX_RANK = 8
_OPTION_RUNTIME_FOLDER, _OPTION_AUTO_REGISTER = 22, 24
_ANY_INT, _ANY_STRING = 2, 8

_STATUS = {
    1: "invalid argument",
    2: "out of memory",
    3: "runtime failure",
    5: "unsupported",
    6: "not found",
    500: "file error",
    501: "invalid flatbuffer",
    502: "a library could not be loaded",
    504: "compilation failed",
}

Handle = ctypes.c_void_p
Size = ctypes.c_size_t


class _AnyValue(ctypes.Union):
    _fields_ = (("integer", ctypes.c_int64), ("string", ctypes.c_char_p))


class _Any(ctypes.Structure):
    _fields_ = (("type", ctypes.c_int), ("value", _AnyValue))


class _EnvironmentOption(ctypes.Structure):
    _fields_ = (("tag", ctypes.c_int), ("value", _Any))


class Layout(ctypes.Structure):
    """Rank and sizes of a tensor; a negative size is dynamic."""

    _fields_ = (
        ("rank_bits", ctypes.c_uint),
        ("sizes", ctypes.c_int32 * _MAX_RANK),
        ("strides", ctypes.c_uint32 * _MAX_RANK),
    )

    @property
    def shape(self) -> tuple[int, ...]:
        """The sizes; the rank is kept in seven bits."""
        return tuple(self.sizes[: self.rank_bits & 0x7F])


class TensorType(ctypes.Structure):
    """Element type and layout of a tensor."""

    _fields_ = (("element", ctypes.c_int), ("layout", Layout))


class _MemoryUse(ctypes.Structure):
    _fields_ = (("total", Size), ("in_use", Size), ("footprint", Size))


class Event(ctypes.Structure):
    """One event of the profiler; `elapsed_us` are whole microseconds."""

    _fields_ = (
        ("tag", ctypes.c_char_p),
        ("type", ctypes.c_int),
        ("start_us", ctypes.c_uint64),
        ("elapsed_us", ctypes.c_uint64),
        ("begin", _MemoryUse),
        ("end", _MemoryUse),
        ("index", ctypes.c_uint64),
        ("subgraph", ctypes.c_uint64),
        ("source", ctypes.c_int),
    )


_Deleter = ctypes.CFUNCTYPE(None, Handle)
KEEP = _Deleter(lambda _: None)
"""What LiteRT calls to free the text of an option: nothing, for the text is Python's."""

_OUT = ctypes.POINTER(Handle)
_SIGNATURES: dict[str, tuple[Any, ...]] = {
    "CreateEnvironment": (ctypes.c_int, ctypes.POINTER(_EnvironmentOption), _OUT),
    "CreateModelFromBuffer": (Handle, Handle, Size, _OUT),
    "CreateOptions": (_OUT,),
    "SetOptionsHardwareAccelerators": (Handle, ctypes.c_int),
    "CreateOpaqueOptions": (ctypes.c_char_p, Handle, _Deleter, _OUT),
    "AddOpaqueOptions": (Handle, Handle),
    "CreateCompiledModel": (Handle, Handle, Handle, _OUT),
    "GetModelSignature": (Handle, Size, _OUT),
    "GetNumSignatureInputs": (Handle, ctypes.POINTER(Size)),
    "GetNumSignatureOutputs": (Handle, ctypes.POINTER(Size)),
    "GetSignatureInputTensorByIndex": (Handle, Size, _OUT),
    "GetSignatureOutputTensorByIndex": (Handle, Size, _OUT),
    "GetRankedTensorType": (Handle, ctypes.POINTER(TensorType)),
    "GetCompiledModelInputBufferRequirements": (Handle, Size, Size, _OUT),
    "GetCompiledModelOutputBufferRequirements": (Handle, Size, Size, _OUT),
    "GetCompiledModelOutputTensorLayouts": (
        Handle, Size, Size, ctypes.POINTER(Layout), ctypes.c_bool,
    ),
    "CompiledModelResizeInputTensor": (
        Handle, Size, Size, ctypes.POINTER(ctypes.c_int), Size,
    ),
    "CreateManagedTensorBufferFromRequirements": (
        Handle, ctypes.POINTER(TensorType), Handle, _OUT,
    ),
    "LockTensorBuffer": (Handle, _OUT, ctypes.c_int),
    "UnlockTensorBuffer": (Handle,),
    "GetTensorBufferPackedSize": (Handle, ctypes.POINTER(Size)),
    "RunCompiledModel": (Handle, Size, Size, _OUT, Size, _OUT),
    "CompiledModelIsFullyAccelerated": (Handle, ctypes.POINTER(ctypes.c_bool)),
    "CompiledModelIsNonCpuFullyAccelerated": (Handle, ctypes.POINTER(ctypes.c_bool)),
    "CompiledModelGetProfiler": (Handle, _OUT),
    "StartProfiler": (Handle,),
    "StopProfiler": (Handle,),
    "GetNumProfilerEvents": (Handle, ctypes.POINTER(ctypes.c_int)),
    "GetProfilerEvents": (Handle, ctypes.c_int, ctypes.POINTER(Event)),
}  # fmt: skip
_DESTROYED = ("Environment", "Model", "Options", "CompiledModel", "TensorBuffer")


class Library:
    """The functions of ``libLiteRt.so`` without their prefix, typed."""

    def __init__(self, path: Path) -> None:
        self._dll = ctypes.CDLL(str(path))
        for name, arguments in _SIGNATURES.items():
            function = getattr(self._dll, f"LiteRt{name}")
            function.argtypes, function.restype = arguments, ctypes.c_int
        for name in _DESTROYED:
            function = getattr(self._dll, f"LiteRtDestroy{name}")
            function.argtypes, function.restype = (Handle,), None

    def function(self, name: str) -> Callable[..., int]:
        """Return a function that answers with a status instead of raising."""
        found: Callable[..., int] = getattr(self._dll, f"LiteRt{name}")
        return found

    def bare(self, name: str) -> Callable[..., int]:
        """Return the same without conversions, for where every nanosecond counts.

        Its arguments must be values of ctypes: a Python integer would be passed as a C int.
        """
        found: Callable[..., int] = self._dll[f"LiteRt{name}"]
        return found

    def call(self, name: str, *arguments: object) -> None:
        """Call a function and raise `RunnerError` unless it answers that all is well."""
        status = self.function(name)(*arguments)
        if status:
            raise RunnerError(f"LiteRT{name}: {describe(status)}")

    def make(self, name: str, *arguments: object) -> Handle:
        """Call a function whose last argument receives a handle."""
        handle = Handle()
        self.call(name, *arguments, ctypes.byref(handle))
        return handle

    def count(self, name: str, handle: Handle) -> int:
        """Call a function whose last argument receives a size."""
        size = Size()
        self.call(name, handle, ctypes.byref(size))
        return size.value


def describe(status: int) -> str:
    """Return what a status of LiteRT means.

    >>> describe(501)
    'invalid flatbuffer (status 501)'
    """
    return f"{_STATUS.get(status, 'error')} (status {status})"


def version() -> str:
    """Return the version of the installed runtime, e.g. ``2.3.0``.

    Raises:
        DeviceError: LiteRT is not installed.
    """
    try:
        return importlib.metadata.version("ai-edge-litert")
    except importlib.metadata.PackageNotFoundError as error:
        raise DeviceError(_NOT_INSTALLED) from error


def _folder() -> Path:
    """Return where the wheel keeps its libraries, without importing the package."""
    spec = importlib.util.find_spec("ai_edge_litert")
    if spec is None or spec.origin is None:
        raise DeviceError(_NOT_INSTALLED)
    return Path(spec.origin).parent


@cache
def library() -> Library:
    """Load the library, once per process.

    Raises:
        DeviceError: LiteRT is not installed, or is a version without a function used here.
    """
    path = _folder() / "libLiteRt.so"
    try:
        return Library(path)
    except (OSError, AttributeError) as error:
        raise DeviceError(f"LiteRT's library {path} cannot be used: {error}") from error


@cache
def environment(accelerator: Accelerator) -> Handle:
    """Create the environment: one per process, never destroyed, for it owns the GPU's context."""
    options = (_EnvironmentOption * 2)()
    options[0].tag = _OPTION_RUNTIME_FOLDER  # where the accelerators' libraries are looked for
    options[0].value.type = _ANY_STRING
    options[0].value.value.string = str(_folder()).encode()
    options[1].tag = _OPTION_AUTO_REGISTER  # a CPU worker need not load the GPU's library
    options[1].value.type = _ANY_INT
    options[1].value.value.integer = HARDWARE["cpu"] | HARDWARE[accelerator]
    return library().make("CreateEnvironment", len(options), options)
