"""Everything that latlas raises on purpose.

::

    LatlasError
    ├── UsageError            the caller asked for something that does not exist (exit code 2)
    ├── GraphError            a network that is not well formed
    ├── ModelFileError        a .tflite that cannot be read
    │   └── UnsupportedOpError    … because of an operator that latlas does not know
    ├── DeviceError           a device is missing or does not answer
    │   ├── DeviceLost            … it is not attached, not usable yet, or went away meanwhile
    │   ├── DeviceTimeout         … it did not finish in time
    │   └── DeviceCommandError    … it refused or failed to do what it was told
    │       └── DamagedTransfer       … a file arrived damaged
    ├── RunnerError           a model could not be run
    │   ├── RunnerTimeout         … it did not answer in time
    │   └── NotDelegatedError     … not, or not wholly, on the delegate that was asked for
    ├── TableError            a latency table cannot be read, written or extended
    ├── TargetMismatchError   figures of two targets were about to be mixed
    ├── PredictorError        a predictor cannot be fitted, read or used
    │   └── UnknownKernelError    … because it knows nothing about a kernel
    └── SearchError           a space, an oracle or a study is unusable
        └── CheckpointError       a training's state cannot be read or written

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
    """A device is missing or does not answer.

    Attributes:
        serial: the phone, as adb calls it; empty for this machine.
        command: what was run on it, or what else was asked of it.
        exit_code: of the command; None where it has none.
        output: the end of what it printed, both streams.
    """

    def __init__(
        self,
        message: str,
        *,
        serial: str = "",
        command: str = "",
        exit_code: int | None = None,
        output: str = "",
    ) -> None:
        super().__init__(message)
        self.serial = serial
        self.command = command
        self.exit_code = exit_code
        self.output = output

    def __str__(self) -> str:
        """Return one line: the phone, what is wrong, and what was going on.

        >>> print(DeviceError("it went away", serial="0A1B", command="sleep 9", output="z"))
        phone 0A1B: it went away [command: 'sleep 9'; output: 'z']
        """
        details = []
        if self.command:
            details.append(f"command: {_excerpt(self.command[:300])}")
        if self.exit_code is not None:
            details.append(f"exit code: {self.exit_code}")
        if self.output:
            details.append(f"output: {_excerpt(self.output[-500:])}")
        phone = f"phone {_excerpt(self.serial)[1:-1]}: " if self.serial else ""
        return phone + super().__str__() + (f" [{'; '.join(details)}]" if details else "")


class DeviceLost(DeviceError):
    """A phone is not attached, not usable yet, or went away in the middle of something."""


class DeviceTimeout(DeviceError):
    """A phone did not finish in time."""


class DeviceCommandError(DeviceError):
    """A phone refused or failed to do what it was told."""


class DamagedTransfer(DeviceCommandError):
    """A file arrived on a phone with another content."""


def _excerpt(text: str) -> str:
    """Return a phone's text quoted on one line, so that it cannot drive the user's terminal."""
    return ascii(text)


class RunnerError(LatlasError):
    """A model could not be run."""


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


class CheckpointError(SearchError):
    """A training's state cannot be read or written."""
