"""Which operators a delegate runs as one kernel."""

from latlas.profiler.errors import GraphError
from latlas.profiler.fusion.detected import PREFIX, DetectedRules
from latlas.profiler.fusion.gpu import GpuDelegateRules
from latlas.profiler.fusion.xnnpack import XnnpackRules
from latlas.profiler.kernel import FusionRules
from latlas.profiler.target import Delegate

__all__ = ["DetectedRules", "GpuDelegateRules", "XnnpackRules", "rules_for", "rules_named"]


def rules_for(delegate: Delegate, adapter: str = "") -> FusionRules:
    """Return the fusion rules of a delegate.

    Args:
        delegate: ``cpu`` or ``gpu``.
        adapter: the GPU as its driver names it. Networks are split alike on all of them, but some
            kernels are launched in several parts on some.

    >>> rules_for("cpu").version
    'xnnpack-1'
    """
    return XnnpackRules() if delegate == "cpu" else GpuDelegateRules(adapter)


def rules_named(version: str, delegate: Delegate, adapter: str = "") -> FusionRules:
    """Return the rules that a table or a predictor names: detected ones, or the delegate's own.

    >>> rules_named("detected-4089ba8a chains conv2d>relu,relu6", "gpu").chains
    True

    Raises:
        GraphError: there are no such rules.
    """
    if version.startswith(PREFIX):
        return DetectedRules.from_version(version)
    rules = rules_for(delegate, adapter)
    if version != rules.version:
        raise GraphError(
            f"there are no fusion rules {version!r:.80}: this latlas has {rules.version!r} for the "
            f"delegate {delegate}, and those that `latlas fusion detect` finds"
        )
    return rules
