"""Which operators a delegate runs as one kernel."""

from latlas.profiler.fusion.gpu import GpuDelegateRules
from latlas.profiler.fusion.xnnpack import XnnpackRules
from latlas.profiler.kernel import FusionRules
from latlas.profiler.target import Delegate

__all__ = ["GpuDelegateRules", "XnnpackRules", "rules_for"]


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
