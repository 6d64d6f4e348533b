import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from latlas.profiler.count import count
from latlas.profiler.errors import SearchError
from latlas.profiler.fold import fold
from latlas.profiler.tflite.writer import to_tflite
from latlas.search.data import Dataset, Split, digits
from latlas.search.spaces import FairnasSpace, MnasnetSpace, NasnetSpace, TomlSpace, open_space
from latlas.search.spaces.definition_file import parse_definition
from latlas.search.spaces.mnasnet import ARCHITECTURES, PUBLISHED_FILTERS
from latlas.search.spaces.shared import SharedLayer, SupernetSpace, require_supernet_space
from latlas.search.supernet import Supernet, SupernetOracle
from latlas.search.supernet_config import SupernetConfig
from latlas.search.supernet_fairness import fair_paths, paths_per_step
from latlas.search.supernet_layers import cut_patches
from latlas.search.supernet_slots import Bank, Slots, slots_of
from latlas.search.supernet_weights import initial_parameters

CONFIG = SupernetConfig(epochs=1, batch_size=16, calibration_images=16)
EXAMPLES = Path(__file__).parents[2] / "examples"
ASSORTED = """
name = "assorted"
[[blocks]]
operator = "conv"
filters = 8
stride = 2
activation = "relu6"
[[blocks]]
operator = ["conv", "separable", "mbconv0.5", "mbconv3"]
filters = [8, 16]
skip = ["pool", "identity"]
se = [0, 0.25]
layers = [1, 2]
activation = ["relu", "hard_swish"]
[[blocks]]
operator = "separable"
filters = 16
[[blocks]]
filters = 16
choices = [
    { operator = "identity" },
    { operator = "mbconv", expansion = 2, kernel = 5, layers = 2 },
    { operator = "mbconv", expansion = 3, kernel = 1, activation = "none" },
]
[[blocks]]
genes = "joint"
operator = "mbconv2"
filters = [16, 24]
layers = [1, 2]
stride = 2
[[blocks]]
operator = "conv"
kernel = 1
filters = 32
activation = "relu6"
[tail]
features = 16
bias = true
activation = "relu6"
"""
FAIRNAS = FairnasSpace(18, 0.1, 10, 1)
MNASNET = MnasnetSpace(18, 0.25, 10, 1, filters=PUBLISHED_FILTERS)
SIZES: dict[str, Any] = {"resolution": 18, "classes": 10, "channels": 1}


def of_text(text: str, **sizes: Any) -> TomlSpace:
    return TomlSpace(**SIZES | sizes, definition=parse_definition(text.encode()))


MOBILENET = TomlSpace.load(str(EXAMPLES / "mobilenet_v3.toml"), SIZES | {"width": 0.1})


@pytest.fixture(scope="module", autouse=True)
def eager() -> Iterator[None]:
    """Run without compiling, which costs these sizes many times what it saves."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="module")
def data() -> Dataset:
    whole = digits(18)

    def part(split: Split, images: int) -> Split:
        return Split(split.images[:images], split.labels[:images])

    return Dataset("few", part(whole.train, 16), part(whole.search, 10), part(whole.test, 8), 10)


@pytest.fixture(
    scope="module",
    params=[FAIRNAS, MNASNET, MOBILENET, of_text(ASSORTED)],
    ids=["fairnas", "mnasnet", "file", "assorted file"],
)
def trained(request: pytest.FixtureRequest, data: Dataset) -> Supernet:
    return Supernet(request.param, CONFIG).fit(data, progress=False)


def test_every_choice_of_every_gene_is_trained_equally_often(trained: Supernet) -> None:
    choices, steps = trained.space.choices, 1
    number = math.lcm(*choices)
    assert number == {"fairnas": 6, "mobilenet_v3": 18}.get(trained.space.name, 12)
    assert trained.paths_per_step == number
    for uses, options in zip(trained.uses, choices, strict=True):
        assert (uses[:options] == steps * number // options).all()
        assert (uses[options:] == 0).all()


def test_many_steps_of_unlike_genes_are_fair() -> None:
    for seed in range(20):
        paths = fair_paths([4, 2, 2, 3, 3, 3], np.random.default_rng(seed))
        assert paths.shape == (12, 6)
        for column, options in zip(paths.T, [4, 2, 2, 3, 3, 3], strict=True):
            assert (np.bincount(column) == [12 // options] * options).all()


def test_too_many_paths_for_a_fair_step_are_refused() -> None:
    assert paths_per_step([2, 3, 4, 5]) == 60
    with pytest.raises(SearchError, match=r"\[5, 7, 11\] choices need 385 paths"):
        paths_per_step([5, 7, 11, 5])


def test_it_is_the_network_that_the_space_decodes_to(trained: Supernet, data: Dataset) -> None:
    from ai_edge_litert.interpreter import Interpreter

    space, seen = trained.space, trained._calibration
    assert seen is not None
    drawn = np.random.default_rng(1).integers(space.choices, size=(4, len(space.choices)))
    genes = [tuple(one) for one in drawn.tolist()]
    if isinstance(space, MnasnetSpace):
        genes[0] = space.encode(ARCHITECTURES["mnasnet_a1"])
    for one in genes:
        weights = trained.weights(one)
        graph = space.decode(one).with_weights(weights)
        learned = [w for n, w in weights.items() if not n.endswith(("/mean", "/variance"))]
        assert sum(w.size for w in learned) == count(graph).params
        model = Interpreter(model_content=bytes(to_tflite(fold(graph))))
        model.allocate_tensors()
        result = []
        for image in data.search.images:
            model.set_tensor(model.get_input_details()[0]["index"], image[None])
            model.invoke()
            result.append(model.get_tensor(model.get_output_details()[0]["index"]).ravel())
        images = np.concatenate([seen, cut_patches(data.search.images)], axis=1)[None]
        logits = trained._network.logits(np.array([one], np.int32), images, seen.shape[1])
        wanted = logits[0, seen.shape[1] :].numpy()
        assert np.allclose(result, wanted, atol=2e-3 * np.abs(wanted).max())


def test_paths_together_or_one_by_one_give_the_same(trained: Supernet, data: Dataset) -> None:
    drawn = np.random.default_rng(2).integers(trained.space.choices, size=(3, len(trained.uses)))
    patches = cut_patches(data.train.images[:8])[None]
    together = trained._network.logits(drawn.astype(np.int32), patches).numpy()
    for one, expected in zip(drawn, together, strict=True):
        found = trained._network.logits(one[None].astype(np.int32), patches)[0].numpy()
        assert np.allclose(found, expected, atol=1e-3 * np.abs(expected).max())


def test_gradients_are_those_of_finite_differences(data: Dataset) -> None:
    net = Supernet(MNASNET, CONFIG)
    drawn = np.random.default_rng(3).integers(MNASNET.choices, size=(2, 42)).astype(np.int32)
    batch = cut_patches(data.train.images)[None], data.train.labels[None]
    net.accumulate(drawn, *batch)
    gradients = {name: value.numpy() for name, value in net.gradients.items()}
    rng = np.random.default_rng(4)
    used = [name for name, value in gradients.items() if value.any() and "/" in name]
    for name in ("stem", *rng.choice(used, 4, replace=False)):
        variable, start = net.parameters[name], net.parameters[name].numpy()
        direction = gradients[name] / np.linalg.norm(gradients[name])
        losses = []
        for step in (1e-3, -1e-3):
            variable.assign(start + step * direction)
            losses.append(float(net.accumulate(drawn, *batch)))
        variable.assign(start)
        slope = (losses[0] - losses[1]) / 2e-3
        assert slope == pytest.approx(np.linalg.norm(gradients[name]), rel=0.1, abs=0.02), name


def test_alone_only_its_own_weights_change(data: Dataset) -> None:
    net = Supernet(MNASNET, CONFIG)
    genes = MNASNET.sample(1, 5)[0]
    net.fit(data, only=genes, progress=False)
    assert (net.uses.sum(axis=1) == 1).all()
    start = initial_parameters(net.slots, CONFIG.residual_gamma, CONFIG.seed)
    changed = {name for name, v in net.parameters.items() if (v.numpy() != start[name]).any()}
    banks = {name.rpartition("/")[0] for name in changed if "/" in name}
    layers = (
        layer.bank
        for index, group in enumerate(MNASNET.groups)
        for layer in MNASNET.supernet_layers(index, [genes[position] for position in group])
        if layer is not None
    )
    assert sorted(bank.partition("/")[2] for bank in banks) == sorted(layers)
    once = net.losses_
    net.restart(CONFIG)
    assert all((v.numpy() == start[name]).all() for name, v in net.parameters.items())
    assert net.fit(data, only=genes, progress=False).losses_ == pytest.approx(once, rel=1e-3)


def test_mnasnet_shares_weights_where_shapes_allow() -> None:
    slots = slots_of(MNASNET)
    assert len(slots.chain) == 2 + 3 + 4 + 5 + 4 + 4 + 2
    for slot in slots.chain:
        assert [bank.name.partition("/")[2] for bank in slot.banks] == [
            *("conv", "separable", "mbconv3", "mbconv6")
        ]
        assert all(bank.rows == 1 for bank in slot.banks)
    # Kernels of 3 lie in those of 5; the widest filters are kept.
    assert {layer.kernel for bank in slots.banks for layer in bank.layers} == {3, 5}
    assert slots.chain[0].banks[0].filters == max(map(MNASNET.scaled, PUBLISHED_FILTERS[0]))
    assert [slot.optional for slot in slots.chain[:5]] == [False, True, False, True, True]


def unexcited(slots: Slots) -> Slots:
    """Return slots without the activation of a squeeze-and-excitation that is not there."""

    def bare(bank: Bank) -> Bank:
        layers = [x if x.squeezed else replace(x, se_act="relu") for x in bank.layers]
        return replace(bank, layers=tuple(layers))

    chain = [replace(slot, banks=tuple(map(bare, slot.banks))) for slot in slots.chain]
    return replace(slots, chain=tuple(chain))


@pytest.mark.parametrize("name", ["moga", "fairnas", "mnasnet"])
def test_a_space_as_a_file_has_the_same_supernet(name: str) -> None:
    found = (
        open_space(form, resolution=32, width=0.25, classes=10, channels=1)
        for form in (name, f"toml:{EXAMPLES / name}.toml")
    )
    own, file = (unexcited(slots_of(require_supernet_space(space))) for space in found)
    assert file.skeleton == own.skeleton
    for ours, other in zip(own.chain, file.chain, strict=True):
        np.testing.assert_array_equal(other.table, ours.table)
        assert (other.genes, other.banks) == (ours.genes, ours.banks)
    assert file.digest == own.digest


def test_what_a_file_shares() -> None:
    slots = slots_of(of_text(ASSORTED))
    acts = ("relu-relu-hard_sigmoid", "hard_swish-relu-hard_sigmoid")
    operators = ("conv", "separable", "mbconv0.5", "mbconv3")
    assert {bank.name.partition("/")[2] for bank in slots.chain[0].banks} == {
        f"{operator}-{act}" for operator in operators for act in acts
    }
    optional = [slot.optional for slot in slots.chain]
    assert optional == [False, True, False, True, True, False, True]
    assert [bank.rows for bank in slots.chain[5].banks] == [4]  # joint: a set for each choice
    assert slots.digest != slots_of(of_text(ASSORTED.replace("bias = true", "bias = false"))).digest


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("filters = 8\nstride = 2", "filters = 8", "no fixed 3x3 convolution of stride 2"),
        ("filters = 8\ns", "filters = [8, 16]\ns", "no fixed 3x3 convolution of stride 2"),
        ("kernel = 1\nfilters = 32", "filters = 32", "no fixed 1x1 convolution"),
        ('bias = true\nactivation = "relu6"', "bias = true", "another activation"),
        ('stride = 2\nactivation = "relu6"', 'stride = 2\nactivation = "tanh"', "not 'tanh'"),
        ('"hard_swish"]', '"elu"]', "not 'elu'"),
        ("layers = [1, 2]\nstride = 2", "stride = 3", "stride 3"),
        (
            "filters = 16\n[[",
            'filters = 16\npointwise_activation = "relu"\n[[',
            "activation behind",
        ),
    ],
)
def test_files_without_a_supernet(old: str, new: str, words: str) -> None:
    assert old in ASSORTED
    with pytest.raises(SearchError, match=words):
        slots_of(of_text(ASSORTED.replace(old, new, 1)))


def test_the_oracle_names_its_space(data: Dataset) -> None:
    first, again, wider = (
        SupernetOracle(Supernet(space, CONFIG), data).identity
        for space in (FAIRNAS, FAIRNAS, replace(FAIRNAS, width=0.2))
    )
    assert first["space"]["name"] == "fairnas"
    assert first == again
    assert first != wider


def test_cells_are_refused() -> None:
    with pytest.raises(SearchError, match=r"nasnet has no supernet.*--accuracy train"):
        Supernet(NasnetSpace())  # type: ignore[arg-type]
    assert isinstance(FAIRNAS, SupernetSpace)


@dataclass(frozen=True)
class Changed(FairnasSpace):
    """A space whose first searchable layer is changed."""

    change: tuple[tuple[str, object], ...] = ()

    def supernet_layers(self, index: int, values: Sequence[int]) -> tuple[SharedLayer | None, ...]:
        layers = super().supernet_layers(index, values)
        if index != 1 or values[0] or layers[0] is None:
            return layers
        return (replace(layers[0], **dict(self.change)),)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stride": 1}, "differ in stride"),
        ({"act": "relu"}, "differ in operator or activation"),
        ({"inputs": 4000}, "reads 4000 channels"),
        ({"operator": "pool"}, "one of"),
        ({"kernel": 4}, "odd kernels"),
        ({"skip": "pool"}, "other channels"),
    ],
)
def test_layers_that_do_not_fit_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(SearchError, match=message):
        slots_of(Changed(32, 1.0, 10, 1, change=tuple(change.items())))
