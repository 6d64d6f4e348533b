""".tflite files that latlas's own writer does not write."""

from collections.abc import Callable

import flatbuffers
from ai_edge_litert import schema_py_generated as schema


def edit(model: bytes, change: Callable[[schema.ModelT], None]) -> bytes:
    """Change a .tflite through the schema's object API."""
    tree = schema.ModelT.InitFromPackedBuf(model, 0)
    change(tree)
    builder = flatbuffers.Builder(1024)
    builder.Finish(tree.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def with_dynamic_axes(model: bytes, axes: tuple[int, ...]) -> bytes:
    """Leave axes of a model's inputs and of all that it computes open."""

    def change(tree: schema.ModelT) -> None:
        graph = tree.subgraphs[0]
        for index in [*graph.inputs, *(output for op in graph.operators for output in op.outputs)]:
            tensor = graph.tensors[index]
            signature = [int(size) for size in tensor.shape]
            for axis in axes:
                signature[axis] = -1
            tensor.shapeSignature, tensor.hasRank = signature, True

    return edit(model, change)
