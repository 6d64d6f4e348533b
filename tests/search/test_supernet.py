from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from latlas.profiler.count import count
from latlas.profiler.errors import SearchError
from latlas.profiler.fold import fold
from latlas.profiler.tflite.writer import to_tflite
from latlas.search.data import Dataset, Split, digits
from latlas.search.protocols import Genes
from latlas.search.significance import chance_level, is_above_chance
from latlas.search.spaces.moga import CHOICES, LAYERS, MogaSpace
from latlas.search.supernet import Supernet, SupernetOracle, cosine_rate
from latlas.search.supernet_config import SupernetConfig
from latlas.search.supernet_fairness import fair_paths
from latlas.search.supernet_layers import convolution_matrix, cut_patches

SPACE = MogaSpace(resolution=16, width=0.1, classes=10, channels=1)
CONFIG = SupernetConfig(epochs=2, batch_size=16, calibration_images=16)
ALL = range(len(CHOICES))


@pytest.fixture(scope="module", autouse=True)
def eager() -> Iterator[None]:
    """Run without compiling, which costs these sizes many times what it saves."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture
def compiled() -> Iterator[None]:
    tf.config.run_functions_eagerly(False)
    yield
    tf.config.run_functions_eagerly(True)


@pytest.fixture(scope="module")
def data() -> Dataset:
    whole = digits(16)

    def part(split: Split, images: int) -> Split:
        return Split(split.images[:images], split.labels[:images])

    return Dataset("few", part(whole.train, 32), part(whole.search, 40), part(whole.test, 8), 10)


@pytest.fixture(scope="module")
def trained(data: Dataset) -> Supernet:
    return Supernet(SPACE, CONFIG).fit(data, progress=False)


def some_genes(number: int, seed: int = 0) -> list[Genes]:
    drawn = np.random.default_rng(seed).integers(len(CHOICES), size=(number, len(LAYERS)))
    return [tuple(one) for one in drawn.tolist()]


def batch(data: Dataset, number: int = 8) -> tuple[np.ndarray, np.ndarray]:
    return cut_patches(data.train.images[:number])[None], data.train.labels[None, :number]


def values(variables: dict[str, object]) -> dict[str, np.ndarray]:
    return {name: variable.numpy().copy() for name, variable in variables.items()}  # type: ignore[attr-defined]


def test_every_choice_is_trained_equally_often(trained: Supernet, data: Dataset) -> None:
    steps = CONFIG.epochs * (len(data.train) // CONFIG.batch_size)
    assert (trained.uses == steps).all()
    assert trained.uses.shape == (14, 12)
    assert len(trained.losses_) == CONFIG.epochs


def test_fair_paths_draw_layers_independently() -> None:
    drawn = [fair_paths(SPACE.choices, np.random.default_rng(seed)) for seed in range(50)]
    for paths in drawn:
        assert paths.shape == (12, 14)
        assert (np.sort(paths, axis=0) == np.arange(12)[:, None]).all()
    together = np.mean([paths[:, 0] == paths[:, 1] for paths in drawn])
    assert together == pytest.approx(1 / 12, abs=0.04)


def test_weights_change_only_after_the_last_path(data: Dataset) -> None:
    net = Supernet(SPACE, replace(CONFIG, paths_per_call=1))
    paths = fair_paths(SPACE.choices, np.random.default_rng(0))
    before = values(net.parameters)
    inside = []
    accumulate = net.accumulate

    def watched(*arguments: object) -> object:
        inside.append(all((v.numpy() == before[n]).all() for n, v in net.parameters.items()))
        return accumulate(*arguments)

    net.accumulate = watched
    net.train_step(paths, *batch(data), 0.1)
    assert inside == [True] * 12
    after = values(net.parameters)
    # Every weight of every choice inside its masks has had a gradient: biases of what follows too.
    for name in ("stem", "4/mbconv/expand", "4/mbconv/project", "classes"):
        assert (after[name] != before[name]).reshape(len(after[name]), -1).any(axis=1).all()
    assert all((v.numpy() == 0).all() for v in net.gradients.values())


def test_a_path_touches_its_own_weights_only(data: Dataset) -> None:
    net = Supernet(SPACE, CONFIG)
    genes = tuple(i % 12 for i in range(14))
    net.accumulate(np.array([genes], np.int32), *batch(data))
    banks = {bank.name: bank for bank in net.slots.banks}
    for name, gradient in values(net.gradients).items():
        bank, _, kind = name.rpartition("/")
        if not bank.endswith("mbconv"):
            continue
        gene = genes[int(bank.split("/")[0]) - 1]  # the first slot is the stem's
        others = np.delete(gradient, gene, axis=0)
        assert (others == 0).all(), name
        choice = CHOICES[gene]
        if kind.startswith(("squeeze", "excite")) and not choice.squeeze_excite:
            assert (gradient == 0).all(), name
        elif kind == "kernel":
            frame = gradient[gene].reshape(-1, 7, 7)
            edge = (7 - choice.kernel) // 2
            width = choice.expansion * banks[bank].inputs
            inner = frame[:width, edge : 7 - edge, edge : 7 - edge]
            assert np.abs(frame).sum() == pytest.approx(np.abs(inner).sum())
        if kind in ("expand", "project"):
            assert (gradient[gene] != 0).any(), name


def test_it_learns_in_one_graph_for_all_paths_and_batches(compiled: None) -> None:
    data = digits(16)
    net = Supernet(SPACE, SupernetConfig(epochs=3)).fit(data, progress=False)
    chance = chance_level(data.search.labels)
    for accuracy in net.correct(some_genes(4), data.search).mean(axis=1):
        assert is_above_chance(accuracy, len(data.search), chance)
    assert net.losses_ == sorted(net.losses_, reverse=True)
    for paths, images in ((1, 4), (3, 6)):
        genes = np.array(some_genes(paths), np.int32)
        loss = float(net.accumulate(genes, *batch(data, images)))
        tf.config.run_functions_eagerly(True)
        assert loss == pytest.approx(float(net.accumulate(genes, *batch(data, images))), rel=1e-3)
        tf.config.run_functions_eagerly(False)
    assert net.accumulate.experimental_get_tracing_count() == 1
    assert net.update.experimental_get_tracing_count() == 1


def test_paths_together_or_one_by_one_give_the_same(data: Dataset) -> None:
    together, alone = Supernet(SPACE, CONFIG), Supernet(SPACE, CONFIG)
    genes = np.array(some_genes(3), np.int32)
    total = float(together.accumulate(genes, *batch(data)))
    parts = sum(float(alone.accumulate(genes[i : i + 1], *batch(data))) for i in range(3))
    assert total == pytest.approx(parts, rel=1e-4)
    for name, gradient in values(together.gradients).items():
        other = alone.gradients[name].numpy()
        assert np.allclose(gradient, other, atol=1e-3 * max(1.0, np.abs(other).max())), name


def test_a_batch_for_each_path(data: Dataset) -> None:
    config = replace(CONFIG, same_batch=False, epochs=1, paths_per_call=4)
    net = Supernet(SPACE, config).fit(data, progress=False)
    assert (net.uses == 2).all()


@pytest.mark.parametrize("resolution", [16, 18])
def test_it_is_the_network_that_the_space_decodes_to(
    data: Dataset, resolution: int, trained: Supernet
) -> None:
    from ai_edge_litert.interpreter import Interpreter

    net = trained
    if resolution != 16:  # odd maps on the way: 9, 5, 3
        data = replace(data, train=small(resolution), search=small(resolution))
        net = Supernet(replace(SPACE, resolution=resolution), replace(CONFIG, epochs=1))
        net.fit(data, progress=False)
    seen = net._calibration
    assert seen is not None
    for genes in (some_genes(1, 3)[0], tuple(i % 12 for i in range(14))):
        weights = net.weights(genes)
        graph = net.space.decode(genes).with_weights(weights)
        learned = [w for n, w in weights.items() if not n.endswith(("/mean", "/variance"))]
        assert sum(w.size for w in learned) == count(graph).params
        model = Interpreter(model_content=bytes(to_tflite(fold(graph))))
        model.allocate_tensors()
        result = []
        for image in data.search.images[:10]:
            model.set_tensor(model.get_input_details()[0]["index"], image[None])
            model.invoke()
            result.append(model.get_tensor(model.get_output_details()[0]["index"]).ravel())
        images = np.concatenate([seen, cut_patches(data.search.images[:10])], axis=1)[None]
        logits = net._network.logits(np.array([genes], np.int32), images, seen.shape[1])
        wanted = logits[0, seen.shape[1] :].numpy()
        assert np.allclose(result, wanted, atol=1e-3 * np.abs(wanted).max())


def small(size: int) -> Split:
    whole = digits(size).train
    return Split(whole.images[:32], whole.labels[:32])


def test_resuming_continues_as_if_never_stopped(
    trained: Supernet, data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(self: Supernet, *arguments: object) -> float:
        if (self.uses == 3).any():  # in the middle of the second epoch
            raise KeyboardInterrupt
        return real(self, *arguments)  # type: ignore[arg-type]

    real = Supernet.train_step
    with monkeypatch.context() as patch:
        patch.setattr(Supernet, "train_step", stop)
        with pytest.raises(KeyboardInterrupt):
            Supernet(SPACE, CONFIG).fit(data, tmp_path, progress=False)
    resumed = Supernet(SPACE, CONFIG).fit(data, tmp_path, progress=False)
    assert (resumed.uses == trained.uses).all()
    assert resumed.losses_ == pytest.approx(trained.losses_, rel=1e-3)
    finished = Supernet(SPACE, CONFIG).fit(data, tmp_path, progress=False)
    assert finished.losses_ == resumed.losses_
    genes = some_genes(3)
    assert (finished.correct(genes, data.search) == resumed.correct(genes, data.search)).all()
    with pytest.raises(SearchError, match="another supernet"):
        Supernet(SPACE, replace(CONFIG, seed=1)).fit(data, tmp_path, progress=False)
    (tmp_path / "supernet.npz").write_bytes(b"PK\x03\x04 not a zip")
    with pytest.raises(SearchError, match="not a supernet's checkpoint"):
        Supernet(SPACE, CONFIG).fit(data, tmp_path, progress=False)


def test_the_oracle_scores_once(
    trained: Supernet, data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    oracle = SupernetOracle(trained, data)
    assert oracle.standard_error == pytest.approx(0.5 / 40**0.5)
    genes = some_genes(5)
    scores = oracle.evaluate([*genes, genes[0]])
    assert scores.shape == (6,)
    assert scores[0] == scores[5]
    assert scores[:5] == pytest.approx(trained.correct(genes, data.search).mean(axis=1))

    def never(*arguments: object) -> object:
        raise AssertionError("was known")

    with monkeypatch.context() as patch:
        patch.setattr(trained, "correct", never)
        assert oracle.evaluate([]).shape == (0,)
        assert (oracle.evaluate(genes) == scores[:5]).all()
    assert oracle.ranking(6).architectures == 6


def test_a_convolution_matrix_by_hand() -> None:
    matrix = convolution_matrix(3, 1, 7).reshape(7, 7, 3, 3, 3, 3)
    assert matrix[3, 3].reshape(9, 9) == pytest.approx(np.eye(9))
    # The tap above the middle reads the pixel above.
    assert matrix[2, 3, 0, 1, 1, 1] == 1
    assert matrix[2, 3].sum() == 6


def test_the_learning_rate() -> None:
    rates = [cosine_rate(step, 100, 0.1, 10) for step in range(101)]
    assert rates[0] == pytest.approx(0.01)
    assert rates[50] == pytest.approx(0.05)
    assert rates[100] == pytest.approx(0)
    assert np.argmax(rates) == 9


def test_misuse_is_refused(trained: Supernet, data: Dataset) -> None:
    with pytest.raises(SearchError, match="at most 48"):
        Supernet(MogaSpace())
    with pytest.raises(SearchError, match="not trained"):
        Supernet(SPACE, CONFIG).correct(some_genes(1), data.search)
    with pytest.raises(SearchError, match="do not fit"):
        Supernet(replace(SPACE, classes=3), CONFIG).fit(data, progress=False)
    with pytest.raises(SearchError, match="14 integers"):
        trained.correct([(12,) * 14], data.search)
    with pytest.raises(SearchError, match="at least 1"):
        SupernetConfig(paths_per_call=0)
    with pytest.raises(SearchError, match="another supernet"):
        trained.restart(replace(CONFIG, momentum=0.5))
    with pytest.raises(SearchError, match="became"):
        Supernet(SPACE, replace(CONFIG, learning_rate=1e30, warmup_steps=0, clip_norm=0)).fit(
            data, progress=False
        )
