import pytest
from ai_edge_litert import schema_py_generated as schema
from edited_models import edit, with_dynamic_axes

from latlas.profiler.graph_builder import GraphBuilder
from latlas.profiler.tflite.writer import to_tflite


@pytest.fixture(scope="session")
def small() -> bytes:
    """A convolution, an addition and a softmax."""
    b = GraphBuilder((1, 16, 16, 8))
    x = b.conv(b.input, 8, 3, activation="relu6")
    return to_tflite(b.build(b.softmax(b.add(x, b.input))))


@pytest.fixture(scope="session")
def large() -> bytes:
    """Enough work that the operators' time dwarfs what an invocation costs by itself."""
    b = GraphBuilder((1, 56, 56, 64))
    x = b.input
    for _ in range(4):
        x = b.conv(x, 64, 3, activation="relu6")
    return to_tflite(b.build(x))


@pytest.fixture(scope="session")
def dynamic_batch(small: bytes) -> bytes:
    return with_dynamic_axes(small, (0,))


@pytest.fixture(scope="session")
def dynamic_size(small: bytes) -> bytes:
    return with_dynamic_axes(small, (0, 1, 2))


@pytest.fixture(scope="session")
def partly_supported() -> bytes:
    """Two ordinary operators around one that neither XNNPACK nor the GPU knows."""

    def change(tree: schema.ModelT) -> None:
        for op in tree.subgraphs[0].operators:
            code = tree.operatorCodes[op.opcodeIndex]
            if code.builtinCode == schema.BuiltinOperator.HARD_SWISH:
                number = schema.BuiltinOperator.L2_NORMALIZATION
                code.builtinCode = code.deprecatedBuiltinCode = number
                op.builtinOptionsType = schema.BuiltinOptions.L2NormOptions
                op.builtinOptions = schema.L2NormOptionsT()

    b = GraphBuilder((1, 8, 8, 8))
    graph = b.build(b.activation(b.hard_swish(b.logistic(b.input)), "tanh"))
    return edit(to_tflite(graph), change)
