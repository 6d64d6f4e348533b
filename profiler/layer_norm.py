"""Layer norm (Ba et al. 2016) and instance norm (Ulyanov et al. 2016) in plain operators.

They are spelled as TensorFlow's converter spells Keras' layers. No delegate has an operator of its
own for them.
"""

from __future__ import annotations

from collections.abc import Sequence

from latlas.profiler.graph_builder import GraphBuilder
from latlas.profiler.ops import Activation, Binary, Mean, Op, Reduce


def layer_norm(b: GraphBuilder, x: int, axes: Sequence[int] = (), *, epsilon: float = 1e-6) -> int:
    """Append a normalisation with a scale and a shift for every channel, the last axis.

    Args:
        b: takes the operators.
        x: what is normalised.
        axes: over which mean and variance are taken, ascending; by default the last. Height and
            width, (1, 2), make it instance norm.
        epsilon: added to the variance.
    """
    shape = b.shape(x)
    over: Op = Reduce("mean", tuple(axes) or (len(shape) - 1,))
    if len(shape) == 4 and tuple(axes) == (1, 2):
        over = Mean()
    mean = b.apply(over, x)
    variance = b.apply(over, b.apply(Binary("squared_difference"), x, mean))
    scale = b.apply(Activation("rsqrt"), b.apply(Binary("add", value=epsilon), variance))
    scale = b.apply(Binary("mul", constant=shape[-1:]), scale)
    shift = b.mul(b.apply(Activation("neg"), mean), scale)
    shift = b.apply(Binary("add", constant=shape[-1:]), shift)
    return b.add(b.mul(x, scale), shift)
