"""Which operators a delegate runs as one kernel."""

from latlas.profiler.fusion.gpu import GpuDelegateRules
from latlas.profiler.fusion.xnnpack import XnnpackRules
from latlas.profiler.kernel import FusionRules
from latlas.profiler.target import Delegate

__all__ = ["GpuDelegateRules", "XnnpackRules", "rules_for"]


def rules_for(delegate: Delegate) -> FusionRules:
    """Return the fusion rules of a delegate.

    >>> rules_for("cpu").version
    'xnnpack-1'
    """
    return XnnpackRules() if delegate == "cpu" else GpuDelegateRules()
