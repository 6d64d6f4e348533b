"""The layers of a weight-sharing network, written as matrix products.

The sets of weights of a bank are stacked along the first axis, and a path takes the rows
``W[row]``: one graph without branches runs any path, and several at once. A stack is as large as
its largest layer; masks keep a smaller kernel or expansion to its part, and the numbers outside of
it are never used. Where the operators of a slot differ, paths are sorted by operator, each operator
runs those that chose it, and the results are put back in order.

Maps lie channels first with their pixels in a row, ``(paths, channels, images, pixels)``. A
depthwise convolution is then a product with a ``(pixels in, pixels out)`` matrix per channel, which
for the small maps that a supernet of minutes can afford is several times faster on a CPU than the
convolution, its gradient even more so. Pointwise convolutions are products anyway, the stem
multiplies patches that are cut out beforehand, and a full convolution patches that two small
products cut out.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from latlas.profiler.ops import same_padding
from latlas.search.supernet_ops import (
    activate,
    apply_norm,
    batch_norm,
    masked,
    moments,
    permute,
    product,
    rescaled,
    rows_of,
)
from latlas.search.supernet_slots import ABSENT, Bank, Slot, Slots

FloatArray = NDArray[np.float32]


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


def tap_line(size: int, stride: int, frame: int) -> FloatArray:
    """Return which pixel of a line each tap reads for each output, shape (frame, in, out).

    Args:
        size: pixels of the line.
        stride: 1 or 2; padding is "SAME", in which all kernel sizes have the same centre.
        frame: taps, an odd number.
    """
    out = -(-size // stride)
    top = same_padding((size, size), (frame, frame), (stride, stride))[0]
    offsets = np.arange(size)[:, None] - (np.arange(out)[None, :] * stride - top)
    line: FloatArray = (np.arange(frame)[:, None, None] == offsets).astype(np.float32)
    return line


def convolution_matrix(size: int, stride: int, frame: int) -> FloatArray:
    """Return what turns kernels into the matrices of their convolutions.

    Args:
        size: height and width of the map.
        stride: 1 or 2.
        frame: height and width of the kernels.

    Returns:
        Zeros and ones, shape (frame * frame, pixels in * pixels out).
    """
    line = tap_line(size, stride, frame)
    matrix = np.einsum("aio,bjp->abijop", line, line)
    return np.ascontiguousarray(matrix.reshape(frame * frame, -1))


def pooling_matrix(size: int, stride: int) -> FloatArray:
    """Return the matrix of a 3x3 average pooling, shape (pixels in, pixels out).

    Padded pixels take no part.
    """
    pixels_in, pixels_out = size**2, (-(-size // stride)) ** 2
    matrix = convolution_matrix(size, stride, 3).sum(axis=0).reshape(pixels_in, pixels_out)
    mean: FloatArray = matrix / matrix.sum(axis=0)
    return mean


def kernel_masks(frame: int) -> FloatArray:
    """Return which taps of the frame a kernel has, shape (frame + 1, frame * frame).

    Row ``k`` is that of a kernel of height and width ``k``, for odd ``k``.
    """
    masks = np.zeros((frame + 1, frame, frame), np.float32)
    for kernel in range(1, frame + 1, 2):
        edge = (frame - kernel) // 2
        masks[kernel, edge : frame - edge, edge : frame - edge] = 1
    return masks.reshape(frame + 1, -1)


class Network:
    """The forward pass of any paths.

    Args:
        slots: what it consists of.
        parameters: variables by name, as
            `latlas.search.supernet_weights.initial_parameters` has them.
    """

    def __init__(self, slots: Slots, parameters: Mapping[str, tf.Variable]) -> None:
        self.slots = slots
        self.parameters = parameters
        # Made here, not in the traced functions: a graph must not carry megabytes of constants.
        self.taps = tf.constant(kernel_masks(slots.frame))
        self.tables = [tf.constant(slot.table) for slot in slots.chain]
        depthwise: set[tuple[int, int]] = set()
        full: set[tuple[int, int]] = set()
        pooled: set[tuple[int, int]] = set()
        for bank in slots.banks:
            kind = (bank.size, bank.like.stride)
            (full if bank.like.operator == "conv" else depthwise).add(kind)
            if bank.has_skip("pool"):
                pooled.add(kind)
        frame = slots.frame
        self.matrices = {
            kind: tf.constant(convolution_matrix(kind[0], kind[1], frame)) for kind in depthwise
        }
        self.lines = {kind: tf.constant(_side_by_side(kind[0], kind[1], frame)) for kind in full}
        self.pools = {kind: tf.constant(pooling_matrix(kind[0], kind[1])) for kind in pooled}

    def logits(
        self,
        genes: tf.Tensor,
        patches: tf.Tensor,
        normalising: tf.Tensor | None = None,
        statistics: dict[str, tuple[tf.Tensor, tf.Tensor]] | None = None,
    ) -> tf.Tensor:
        """Run paths.

        Args:
            genes: int32, shape (paths, genes).
            patches: shape (paths or 1, 9 * channels, images, pixels).
            normalising: how many images, from the first, batch norm takes its statistics from; None
                is all of them.
            statistics: receives mean and variance of every batch norm by the name of its
                parameters, each (paths or 1, channels).

        Returns:
            Shape (paths, images, classes).
        """
        run = _Pass(self, normalising, statistics)
        return run.logits(genes, patches)


def _side_by_side(size: int, stride: int, frame: int) -> FloatArray:
    """Return the taps of a line as one matrix, shape (in, frame * out)."""
    return np.ascontiguousarray(tap_line(size, stride, frame).transpose(1, 0, 2)).reshape(size, -1)


class _Choice:
    """What paths have in one slot, a number each: columns of the slot's table."""

    def __init__(self, rows: tf.Tensor) -> None:
        self.rows = rows
        (
            self.bank,
            self.row,
            self.kernel,
            self.expanded,
            self.squeezed,
            self.filters,
            self.identity,
            self.pool,
        ) = tf.unstack(rows, axis=1)


class _Pass:
    """One forward pass."""

    def __init__(
        self,
        network: Network,
        normalising: tf.Tensor | None,
        statistics: dict[str, tuple[tf.Tensor, tf.Tensor]] | None,
    ) -> None:
        self.network = network
        self.parameters = network.parameters
        self.normalising = normalising
        self.statistics = statistics
        self.apart = False

    def logits(self, genes: tf.Tensor, patches: tf.Tensor) -> tf.Tensor:
        skeleton = self.network.slots.skeleton
        x = self._fixed(patches, "stem", skeleton.stem_act)
        for slot, table in zip(self.network.slots.chain, self.network.tables, strict=True):
            combination = tf.zeros(tf.shape(x)[:1], tf.int32)
            if slot.genes:
                chosen = tf.gather(genes, slot.genes, axis=1)
                combination = tf.reduce_sum(chosen * tf.constant(slot.radix), axis=1)
                x = self._for_each(x, tf.shape(genes)[0])
            choice = _Choice(tf.gather(table, combination))
            x = self._layer(x, slot.banks[0], choice) if slot.plain else self._any(x, slot, choice)
        x = self._fixed(x, "last", skeleton.last_act)
        x = tf.reduce_mean(x, 3)
        if skeleton.features:
            x = tf.matmul(self.parameters["features"][None], x)
            if skeleton.features_bias:
                x += self.parameters["features_bias"][None, :, None]
            x = activate(x, skeleton.last_act)
        x = tf.matmul(self.parameters["classes"][None], x)
        x += self.parameters["classes_bias"][None, :, None]
        return tf.transpose(x, [0, 2, 1])

    def _fixed(self, x: tf.Tensor, name: str, act: str) -> tf.Tensor:
        """Run a pointwise convolution that all paths have."""
        gamma, beta = (self.parameters[name + kind][None] for kind in ("_gamma", "_beta"))
        return activate(
            self._norm(_pointwise(x, self.parameters[name][None]), name, gamma, beta), act
        )

    def _for_each(self, x: tf.Tensor, paths: tf.Tensor) -> tf.Tensor:
        """Return maps that all paths share so far, or that are theirs already, for each path."""
        if self.apart:
            return x
        self.apart = True
        shape = x.shape
        return tf.ensure_shape(
            tf.broadcast_to(x, tf.concat([paths[None], tf.shape(x)[1:]], 0)), [None, *shape[1:]]
        )

    def _any(self, x: tf.Tensor, slot: Slot, choice: _Choice) -> tf.Tensor:
        """Run a slot in which paths have layers of different banks, or none."""
        # What is absent has the lowest number, and comes first.
        order = tf.argsort(choice.bank, stable=True)
        inverse = tf.math.invert_permutation(order)
        kinds = range(ABSENT, len(slot.banks))
        sizes = tf.stack(
            [tf.math.count_nonzero(choice.bank == kind, dtype=tf.int32) for kind in kinds]
        )
        maps = tf.split(permute(x, order, inverse), sizes, num=len(kinds))
        rows = tf.split(tf.gather(choice.rows, order), sizes, num=len(kinds))
        results = maps[:1]
        for bank, each, chosen in zip(slot.banks, maps[1:], rows[1:], strict=True):
            # A traced graph has all banks, since it does not know the paths.
            if not tf.executing_eagerly() or len(chosen):
                results.append(self._layer(each, bank, _Choice(chosen)))
        if not slot.optional:
            results = results[1:]
        return permute(tf.concat(results, 0), inverse, order)

    def _layer(self, x: tf.Tensor, bank: Bank, choice: _Choice) -> tf.Tensor:
        """Run layers of one bank."""
        like = bank.like
        kernel = self._chosen(bank, "kernel", choice)
        taps = tf.gather(self.network.taps, choice.kernel)[:, None]
        if like.operator == "conv":
            wide = tf.reshape(
                masked(kernel, taps[:, None]), [-1, bank.filters, bank.inputs * taps.shape[2]]
            )
            y = self._normed(_pointwise(self._patches(x, bank), wide), bank, "kernel", choice)
            y = self._squeeze_excite(activate(y, like.act), bank, choice)
        else:
            y = x
            if like.operator == "mbconv":
                y = self._normed(
                    _pointwise(y, self._chosen(bank, "expand", choice)), bank, "expand", choice
                )
                y = activate(y, like.act)
            y = self._depthwise(y[:, : bank.expanded], masked(kernel, taps), bank)
            y = activate(self._normed(y, bank, "kernel", choice), like.act)
            y = self._squeeze_excite(y, bank, choice)
            y = _pointwise(y, self._chosen(bank, "project", choice))
            y = self._normed(y, bank, "project", choice)
        return self._with_skip(x, y, bank, choice)

    def _with_skip(self, x: tf.Tensor, y: tf.Tensor, bank: Bank, choice: _Choice) -> tf.Tensor:
        # Where there is a skip, input and output are equally wide, so that what is cut off is zero.
        x = x[:, : bank.filters]
        if bank.filters > x.shape[1]:
            x = tf.pad(x, [[0, 0], [0, bank.filters - x.shape[1]], [0, 0], [0, 0]])
        if bank.always_residual:
            return x + y
        if bank.has_skip("identity"):
            y += masked(x, _factor(choice.identity))
        if bank.has_skip("pool"):
            y += masked(self._pooled(x, bank), _factor(choice.pool))
        return y

    def _pooled(self, x: tf.Tensor, bank: Bank) -> tf.Tensor:
        matrix = self.network.pools[bank.size, bank.like.stride]
        pooled = tf.matmul(tf.reshape(x, [-1, bank.size**2]), matrix)
        return tf.reshape(pooled, [-1, bank.filters, tf.shape(x)[2], matrix.shape[1]])

    def _squeeze_excite(self, y: tf.Tensor, bank: Bank, choice: _Choice) -> tf.Tensor:
        if not bank.squeezed:
            return y

        def weights(name: str) -> tf.Tensor:
            return self._chosen(bank, name, choice)

        z = product(weights("squeeze"), tf.reduce_mean(y, 3)) + weights("squeeze_bias")[..., None]
        there = _first(choice.squeezed, bank.squeezed)[..., None]
        z = masked(activate(z, bank.like.se_act), there)
        z = product(weights("excite"), z) + weights("excite_bias")[..., None]
        gate = tf.nn.relu6(z + 3) / 6 if bank.like.se_gate == "hard_sigmoid" else tf.sigmoid(z)
        used = tf.cast(choice.squeezed > 0, tf.float32)[:, None, None]
        return rescaled(y, 1 + masked(gate - 1, used))

    def _chosen(self, bank: Bank, name: str, choice: _Choice) -> tf.Tensor:
        return rows_of(self.parameters[f"{bank.name}/{name}"], choice.row)

    def _normed(self, x: tf.Tensor, bank: Bank, name: str, choice: _Choice) -> tf.Tensor:
        """Run a batch norm, and silence the channels that a smaller layer does not have."""
        gamma, beta = (self._chosen(bank, name + kind, choice) for kind in ("_gamma", "_beta"))
        project = name == "project"
        widths = {(x.filters if project else x.expanded) for x in bank.layers}
        most = bank.filters if project else bank.expanded
        if widths != {most}:
            width = _first(choice.filters if project else choice.expanded, most)
            gamma, beta = masked(gamma, width), masked(beta, width)
        return self._norm(x, f"{bank.name}/{name}", gamma, beta)

    def _norm(self, x: tf.Tensor, name: str, gamma: tf.Tensor, beta: tf.Tensor) -> tf.Tensor:
        if self.normalising is None and self.statistics is None:
            return batch_norm(x, gamma, beta)
        found = moments(x if self.normalising is None else x[:, :, : self.normalising])
        if self.statistics is not None:
            self.statistics[name] = (found[0][:, :, 0, 0], found[1][:, :, 0, 0])
        return apply_norm(x, found, gamma, beta)

    def _depthwise(self, x: tf.Tensor, kernel: tf.Tensor, bank: Bank) -> tf.Tensor:
        size, stride, taps = bank.size, bank.like.stride, kernel.shape[2]
        matrix = tf.matmul(tf.reshape(kernel, [-1, taps]), self.network.matrices[size, stride])
        pixels_out = (-(-size // stride)) ** 2
        return product(x, tf.reshape(matrix, [-1, bank.expanded, size * size, pixels_out]))

    def _patches(self, x: tf.Tensor, bank: Bank) -> tf.Tensor:
        """Cut the patches of a full convolution, (paths, channels * taps, images, pixels out)."""
        size, stride, frame = bank.size, bank.like.stride, self.network.slots.frame
        line, out, channels = self.network.lines[size, stride], -(-size // stride), bank.inputs
        images = tf.shape(x)[2]
        rows = tf.matmul(tf.reshape(x, [-1, size]), line)  # each row of pixels, all taps
        rows = tf.transpose(tf.reshape(rows, [-1, size, frame * out]), [0, 2, 1])
        both = tf.matmul(tf.reshape(rows, [-1, size]), line)
        both = tf.reshape(both, [-1, channels, images, frame, out, frame, out])
        # Axes now: path, channel, image, tap x, column, tap y, row.
        both = tf.transpose(both, [0, 1, 5, 3, 2, 6, 4])
        return tf.reshape(both, [-1, channels * frame * frame, images, out * out])


def _pointwise(x: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    channels, images, pixels = x.shape[1], tf.shape(x)[2], x.shape[3]
    flat = tf.reshape(x, [-1, channels, images * pixels])
    # One set of weights for all paths is the only product that broadcasts.
    y = tf.matmul(weights, flat) if weights.shape[0] == 1 else product(weights, flat)
    return tf.reshape(y, [-1, weights.shape[1], images, pixels])


def _first(widths: tf.Tensor, most: int) -> tf.Tensor:
    """Return ones for the first channels and zeros for the others, shape (paths, most)."""
    return tf.cast(tf.range(most)[None] < widths[:, None], tf.float32)


def _factor(column: tf.Tensor) -> tf.Tensor:
    return tf.cast(column, tf.float32)[:, None, None, None]
