from __future__ import annotations

import numpy as np
import pytest

from latlas.profiler.graph_builder import GraphBuilder
from latlas.profiler.layer_norm import layer_norm
from latlas.profiler.tflite.writer import to_tflite


@pytest.mark.parametrize("axes", [(), (1, 2), (1, 2, 3)])
def test_it_normalises(axes: tuple[int, ...]) -> None:
    from ai_edge_litert.interpreter import Interpreter

    rng = np.random.default_rng(0)
    b = GraphBuilder((1, 5, 4, 6))
    graph = b.build(layer_norm(b, b.input, axes))
    assert [shape for name, shape in graph.weight_shapes().items()] == [(6,), (6,)]
    scale, shift = (rng.normal(size=6).astype(np.float32) for _ in range(2))
    graph = graph.with_weights(dict(zip(graph.weight_shapes(), (scale, shift), strict=True)))
    interpreter = Interpreter(model_content=to_tflite(graph), num_threads=1)
    interpreter.allocate_tensors()
    x = rng.normal(3, 2, (1, 5, 4, 6)).astype(np.float32)
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    y = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    over = axes or (3,)
    spread = np.sqrt(x.var(over, keepdims=True) + 1e-6)
    assert y == pytest.approx((x - x.mean(over, keepdims=True)) / spread * scale + shift, abs=1e-4)
