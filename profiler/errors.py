"""Everything that latlas raises on purpose.

::

    LatlasError
    ├── UsageError            the caller asked for something that does not exist (exit code 2)
    ├── GraphError            a network that is not well formed
    ├── ModelFileError        a .tflite that cannot be read
    │   └── UnsupportedOpError    … because of an operator that latlas does not know
    ├── DeviceError           a device is missing or does not answer
    ├── RunnerError           a model could not be run
    │   ├── RunnerCrashed         … the runtime's process died
    │   ├── RunnerTimeout         … it did not answer in time
    │   └── NotDelegatedError     … not, or not wholly, on the delegate that was asked for
    ├── TableError            a latency table cannot be read, written or extended
    ├── TargetMismatchError   figures of two targets were about to be mixed
    ├── PredictorError        a predictor cannot be fitted, read or used
    │   └── UnknownKernelError    … because it knows nothing about a kernel
    └── SearchError           a space, an oracle or a study is unusable

A message says what was got, what was expected and what to do next.
"""


class LatlasError(Exception):
    """Base of every error that latlas raises on purpose."""


class UsageError(LatlasError):
    """The caller asked for something that does not exist."""


class GraphError(LatlasError):
    """A network that is not well formed."""


class ModelFileError(LatlasError):
    """A .tflite file that cannot be read."""


class UnsupportedOpError(ModelFileError):
    """A .tflite file with an operator that latlas does not know."""


class DeviceError(LatlasError):
    """A device is missing or does not answer."""


class RunnerError(LatlasError):
    """A model could not be run."""


class RunnerCrashed(RunnerError):
    """The process of the runtime died while it ran a model."""


class RunnerTimeout(RunnerError):
    """The runtime did not answer in time."""


class NotDelegatedError(RunnerError):
    """A model did not run wholly on the delegate that was asked for."""


class TableError(LatlasError):
    """A latency table cannot be read, written or extended."""


class TargetMismatchError(LatlasError):
    """Figures of two targets were about to be mixed."""


class PredictorError(LatlasError):
    """A predictor cannot be fitted, read or used."""


class UnknownKernelError(PredictorError):
    """A predictor knows nothing about a kernel."""


class SearchError(LatlasError):
    """A space, an oracle or a study is unusable."""
