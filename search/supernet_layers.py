"""The layers of a weight-sharing MoGA network, written as matrix products.

Every choice of every layer has weights of its own, stacked along the first axis, and a path is the
rows ``W[gene]``: one graph without branches runs any path, and several at once. The stack is as
large as the largest choice; masks keep a smaller kernel or expansion to its part, and the numbers
outside of it are never used.

Maps lie channels first with their pixels in a row, ``(paths, channels, images, pixels)``. A
depthwise convolution is then a product with a ``(pixels in, pixels out)`` matrix per channel, which
for the small maps that a supernet of minutes can afford is several times faster on a CPU than the
convolution, its gradient even more so. Pointwise convolutions are products anyway, and the stem
multiplies patches that are cut out beforehand.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from latlas.profiler.errors import SearchError
from latlas.profiler.ops import same_padding
from latlas.search.blocks import round_channels
from latlas.search.spaces.moga import CHOICES, LAYERS, MogaSpace

FRAME = max(choice.kernel for choice in CHOICES)
"""Height and width of the frame in the middle of which every kernel lies."""

MAX_RESOLUTION = 48
"""The matrices of depthwise convolutions grow with the fourth power of the resolution."""

EPSILON = 1e-3
"""Of batch norm, as in the decoded networks."""

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class LayerShape:
    """One searchable layer at the supernet's size.

    Attributes:
        inputs: channels that come in.
        filters: channels that go out.
        size: height and width of the map that comes in.
        stride: of the depthwise convolution.
        act: activation, "relu" or "hard_swish".
    """

    inputs: int
    filters: int
    size: int
    stride: int
    act: str

    @property
    def expanded(self) -> int:
        """Channels of the largest expansion."""
        return max(choice.expansion for choice in CHOICES) * self.inputs

    @property
    def residual(self) -> bool:
        """Whether the input is added to the output."""
        return self.stride == 1 and self.inputs == self.filters


@dataclass(frozen=True)
class Shapes:
    """All sizes of a supernet: stem and separable convolution have `stem` channels."""

    stem: int
    layers: tuple[LayerShape, ...]
    last: int
    features: int = 1280


def shapes_of(space: MogaSpace) -> Shapes:
    """Return the sizes of a space's networks.

    Raises:
        SearchError: the resolution is too large.
    """
    if space.resolution > MAX_RESOLUTION:
        raise SearchError(
            f"the supernet is for images of at most {MAX_RESOLUTION} pixels, not "
            f"{space.resolution}: search at a smaller resolution"
        )

    def scaled(channels: int) -> int:
        return channels if space.width == 1.0 else round_channels(channels * space.width)

    size, channels = -(-space.resolution // 2), scaled(16)
    layers = []
    for layer in LAYERS:
        layers.append(LayerShape(channels, scaled(layer.filters), size, layer.stride, layer.act))
        size, channels = -(-size // layer.stride), scaled(layer.filters)
    return Shapes(scaled(16), tuple(layers), scaled(960))


def cut_patches(images: FloatArray) -> FloatArray:
    """Cut the 3x3 patches that the stem (stride 2) multiplies.

    Args:
        images: shape (images, height, width, channels).

    Returns:
        Shape (9 * channels, images, pixels).
    """
    count, height, width, channels = images.shape
    top, bottom, left, right = same_padding((height, width), (3, 3), (2, 2))
    padded = np.pad(images, ((0, 0), (top, bottom), (left, right), (0, 0)))
    rows, columns = -(-height // 2), -(-width // 2)
    taps = [
        padded[:, y : y + 2 * rows - 1 : 2, x : x + 2 * columns - 1 : 2]
        for y in range(3)
        for x in range(3)
    ]
    stacked = np.stack(taps).reshape(9, count, rows * columns, channels)
    return np.ascontiguousarray(stacked.transpose(0, 3, 1, 2)).reshape(9 * channels, count, -1)


def convolution_matrix(size: int, stride: int) -> FloatArray:
    """Return what turns kernels into the matrices of their convolutions.

    Args:
        size: height and width of the map.
        stride: 1 or 2; padding is "SAME", in which all kernel sizes have the same centre.

    Returns:
        Zeros and ones, shape (FRAME * FRAME, pixels in * pixels out).
    """
    out = -(-size // stride)
    top = same_padding((size, size), (FRAME, FRAME), (stride, stride))[0]
    offsets = np.arange(size)[:, None] - (np.arange(out)[None, :] * stride - top)
    line = (np.arange(FRAME)[:, None, None] == offsets).astype(np.float32)  # tap, in, out
    matrix = np.einsum("aio,bjp->abijop", line, line)
    return np.ascontiguousarray(matrix.reshape(FRAME * FRAME, -1))


def kernel_masks() -> FloatArray:
    """Return which taps of the frame each choice has, shape (choices, 1, FRAME * FRAME)."""
    masks = np.zeros((len(CHOICES), FRAME, FRAME), np.float32)
    for mask, choice in zip(masks, CHOICES, strict=True):
        edge = (FRAME - choice.kernel) // 2
        mask[edge : FRAME - edge, edge : FRAME - edge] = 1
    return masks.reshape(len(CHOICES), 1, -1)


def width_masks(inputs: int, divisor: int = 1) -> FloatArray:
    """Return which expanded (or, divided, squeezed) channels each choice has.

    Returns:
        Shape (choices, channels of the largest expansion).
    """
    widths = np.array([choice.expansion * inputs // divisor for choice in CHOICES])
    masks: FloatArray = (np.arange(widths.max()) < widths[:, None]).astype(np.float32)
    return masks


def initial_parameters(
    shapes: Shapes, channels: int, classes: int, residual_gamma: float, seed: int
) -> dict[str, FloatArray]:
    """Draw the weights that training starts from (He et al. 2015).

    The choices of a layer start from the same numbers, a smaller one with the middle or the first
    part of a larger one's. From independent numbers, every choice would write features of its own
    for layers that have to read all twelve: 150 steps on digits end at 20% instead of 90%.
    The outer rings of a kernel start small, and the branches beside a residual are scaled by
    `residual_gamma`, so that a path starts close to what all paths have in common.

    Returns:
        Arrays by name; those of searchable layers are ``"layer/name"``, stacked over choices.
    """
    rng = np.random.default_rng(seed)
    found: dict[str, FloatArray] = {}

    def draw(name: str, shape: tuple[int, ...], fan_in: float, gain: float = 2.0) -> None:
        values = rng.standard_normal(shape) * np.sqrt(gain / fan_in)
        found[name] = values.astype(np.float32)

    def norm(name: str, width: int) -> None:
        found[name + "_gamma"] = np.ones(width, np.float32)
        found[name + "_beta"] = np.zeros(width, np.float32)

    draw("stem", (shapes.stem, 9 * channels), 9 * channels)
    norm("stem", shapes.stem)
    draw("depthwise", (shapes.stem, FRAME * FRAME), 9)
    norm("depthwise", shapes.stem)
    draw("pointwise", (shapes.stem, shapes.stem), shapes.stem, 1.0)
    norm("pointwise", shapes.stem)
    ring = np.full((FRAME, FRAME), 0.25, np.float32)
    ring[FRAME // 2 - 1 : FRAME // 2 + 2, FRAME // 2 - 1 : FRAME // 2 + 2] = 1
    for index, layer in enumerate(shapes.layers):
        expanded = layer.expanded
        squeezed = expanded // 4
        draw(f"{index}/expand", (expanded, layer.inputs), layer.inputs)
        norm(f"{index}/expand", expanded)
        draw(f"{index}/depthwise", (expanded, FRAME * FRAME), 9)
        found[f"{index}/depthwise"] *= ring.reshape(-1)
        norm(f"{index}/depthwise", expanded)
        draw(f"{index}/squeeze", (squeezed, expanded), expanded)
        found[f"{index}/squeeze_bias"] = np.zeros(squeezed, np.float32)
        draw(f"{index}/excite", (expanded, squeezed), squeezed, 1.0)
        found[f"{index}/excite_bias"] = np.zeros(expanded, np.float32)
        draw(f"{index}/project", (layer.filters, expanded), expanded, 1.0)
        norm(f"{index}/project", layer.filters)
        if layer.residual:
            found[f"{index}/project_gamma"] *= np.float32(residual_gamma)
    draw("last", (shapes.last, shapes.layers[-1].filters), shapes.layers[-1].filters)
    norm("last", shapes.last)
    draw("features", (shapes.features, shapes.last), shapes.last)
    draw("classes", (classes, shapes.features), shapes.features, 1.0)
    found["classes_bias"] = np.zeros(classes, np.float32)
    return {
        name: np.repeat(values[None], len(CHOICES), axis=0) if "/" in name else values
        for name, values in found.items()
    }


class Network:
    """The forward pass of any paths.

    Args:
        shapes: sizes of the network.
        parameters: variables by name, as `initial_parameters` has them.
    """

    def __init__(self, shapes: Shapes, parameters: Mapping[str, tf.Variable]) -> None:
        self.shapes = shapes
        self.parameters = parameters
        self._taps = tf.constant(kernel_masks())
        self._squeezes = tf.constant([float(choice.squeeze_excite) for choice in CHOICES])
        self._widths = [tf.constant(width_masks(layer.inputs)) for layer in shapes.layers]
        self._squeezed = [tf.constant(width_masks(layer.inputs, 4)) for layer in shapes.layers]
        kinds = {(shapes.layers[0].size, 1)} | {(one.size, one.stride) for one in shapes.layers}
        # Made here, not in the traced functions: a graph must not carry megabytes of constants.
        self._matrices = {kind: tf.constant(convolution_matrix(*kind)) for kind in kinds}

    def logits(
        self,
        genes: tf.Tensor,
        patches: tf.Tensor,
        normalising: tf.Tensor | None = None,
        statistics: list[tuple[tf.Tensor, tf.Tensor]] | None = None,
    ) -> tf.Tensor:
        """Run paths.

        Args:
            genes: int32, shape (paths, layers).
            patches: shape (paths or 1, 9 * channels, images, pixels).
            normalising: how many images, from the first, batch norm takes its statistics from; None
                is all of them.
            statistics: receives mean and variance of every batch norm, each (paths or 1, channels).

        Returns:
            Shape (paths, images, classes).
        """

        def norm(x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor) -> tf.Tensor:
            seen = x if normalising is None else x[:, :, :normalising]
            mean = tf.reduce_mean(seen, [2, 3], keepdims=True)
            variance = tf.reduce_mean(tf.square(seen - mean), [2, 3], keepdims=True)
            if statistics is not None:
                statistics.append((mean[:, :, 0, 0], variance[:, :, 0, 0]))
            scale = tf.math.rsqrt(variance + EPSILON) * gamma[:, :, None, None]
            return x * scale + (beta[:, :, None, None] - mean * scale)

        own = {name: value[None] for name, value in self.parameters.items() if "/" not in name}

        def shared_norm(x: tf.Tensor, name: str) -> tf.Tensor:
            return norm(x, own[name + "_gamma"], own[name + "_beta"])

        x = _activate(shared_norm(_pointwise(patches, own["stem"]), "stem"), "hard_swish")
        first = (self.shapes.layers[0].size, 1)
        x = self._depthwise(x, own["depthwise"] * self._taps[0], *first)
        x = _activate(shared_norm(x, "depthwise"), "relu")
        x = shared_norm(_pointwise(x, own["pointwise"]), "pointwise")
        for index, layer in enumerate(self.shapes.layers):
            y = self._branch(x, genes[:, index], index, norm)
            x = x + y if layer.residual else y
        x = _activate(shared_norm(_pointwise(x, own["last"]), "last"), "hard_swish")
        x = tf.reduce_mean(x, 3)
        x = _activate(tf.matmul(own["features"], x), "hard_swish")
        x = tf.matmul(own["classes"], x) + own["classes_bias"][:, :, None]
        return tf.transpose(x, [0, 2, 1])

    def _branch(self, x: tf.Tensor, genes: tf.Tensor, index: int, norm: Any) -> tf.Tensor:
        layer = self.shapes.layers[index]

        def chosen(name: str) -> tf.Tensor:
            return tf.gather(self.parameters[f"{index}/{name}"], genes)

        width = tf.gather(self._widths[index], genes)
        # gamma = beta = 0 silences the channels that a smaller expansion does not have.
        y = _pointwise(x, chosen("expand"))
        y = norm(y, chosen("expand_gamma") * width, chosen("expand_beta") * width)
        y = _activate(y, layer.act)
        kernel = chosen("depthwise") * tf.gather(self._taps, genes)
        y = self._depthwise(y, kernel, layer.size, layer.stride)
        y = norm(y, chosen("depthwise_gamma") * width, chosen("depthwise_beta") * width)
        y = _activate(y, layer.act)
        z = tf.matmul(chosen("squeeze"), tf.reduce_mean(y, 3)) + chosen("squeeze_bias")[..., None]
        z = _activate(z, layer.act) * tf.gather(self._squeezed[index], genes)[..., None]
        z = tf.matmul(chosen("excite"), z) + chosen("excite_bias")[..., None]
        used = tf.gather(self._squeezes, genes)[:, None, None]
        y *= (1 - used + used * tf.nn.relu6(z + 3) / 6)[..., None]
        y = _pointwise(y, chosen("project"))
        return norm(y, chosen("project_gamma"), chosen("project_beta"))

    def _depthwise(self, x: tf.Tensor, kernel: tf.Tensor, size: int, stride: int) -> tf.Tensor:
        matrix = tf.matmul(tf.reshape(kernel, [-1, FRAME * FRAME]), self._matrices[size, stride])
        pixels_out = (-(-size // stride)) ** 2
        return tf.matmul(x, tf.reshape(matrix, [-1, kernel.shape[1], size * size, pixels_out]))


def _pointwise(x: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    channels, images, pixels = x.shape[1], tf.shape(x)[2], x.shape[3]
    y = tf.matmul(weights, tf.reshape(x, [-1, channels, images * pixels]))
    return tf.reshape(y, [-1, weights.shape[1], images, pixels])


def _activate(x: tf.Tensor, act: str) -> tf.Tensor:
    return tf.nn.relu(x) if act == "relu" else x * tf.nn.relu6(x + 3) * (1 / 6)


def path_weights(
    shapes: Shapes,
    parameters: Mapping[str, FloatArray],
    statistics: list[tuple[FloatArray, FloatArray]],
    genes: tuple[int, ...],
) -> Iterator[FloatArray]:
    """Yield the weights of one path in the order and layout of the network that it decodes to.

    Args:
        shapes: sizes of the supernet.
        parameters: arrays by name, as `initial_parameters` has them.
        statistics: mean and variance of every batch norm, in order, each (channels,).
        genes: the path.
    """
    moments = iter(statistics)

    def conv(kernel: FloatArray, taps: int = 1) -> FloatArray:
        return kernel.reshape(len(kernel), taps, taps, -1)

    def depthwise(kernel: FloatArray, taps: int) -> FloatArray:
        edge = (FRAME - taps) // 2
        frame = kernel.reshape(-1, FRAME, FRAME)[:, edge : FRAME - edge, edge : FRAME - edge]
        return frame.transpose(1, 2, 0)[None]

    def norm(name: str, width: int, choice: int | None = None) -> Iterator[FloatArray]:
        for kind in ("_gamma", "_beta"):
            values = parameters[name + kind]
            yield (values if choice is None else values[choice])[:width]
        yield from (values[:width] for values in next(moments))

    yield parameters["stem"].reshape(shapes.stem, 3, 3, -1)
    yield from norm("stem", shapes.stem)
    yield depthwise(parameters["depthwise"], 3)
    yield from norm("depthwise", shapes.stem)
    yield conv(parameters["pointwise"])
    yield from norm("pointwise", shapes.stem)
    for index, (layer, gene) in enumerate(zip(shapes.layers, genes, strict=True)):
        choice = CHOICES[gene]
        own = {
            name.partition("/")[2]: values[gene]
            for name, values in parameters.items()
            if name.startswith(f"{index}/")
        }
        width, squeezed = choice.expansion * layer.inputs, choice.expansion * layer.inputs // 4
        yield conv(own["expand"][:width])
        yield from norm(f"{index}/expand", width, gene)
        yield depthwise(own["depthwise"][:width], choice.kernel)
        yield from norm(f"{index}/depthwise", width, gene)
        if choice.squeeze_excite:
            yield conv(own["squeeze"][:squeezed, :width])
            yield own["squeeze_bias"][:squeezed]
            yield conv(own["excite"][:width, :squeezed])
            yield own["excite_bias"][:width]
        yield conv(own["project"][:, :width])
        yield from norm(f"{index}/project", layer.filters, gene)
    yield conv(parameters["last"])
    yield from norm("last", shapes.last)
    yield conv(parameters["features"])
    yield parameters["classes"]
    yield parameters["classes_bias"]
