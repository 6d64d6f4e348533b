import numpy as np
import pytest

from latlas.profiler.errors import SearchError
from latlas.search.data import digits


def test_splits_are_disjoint_stratified_and_repeatable() -> None:
    data, again, other = digits(8), digits(8), digits(8, seed=1)
    parts = [data.train, data.search, data.test]
    assert [len(part) for part in parts] == [1077, 360, 360]
    # The images of the digits are all different, so equal rows would be a leak.
    rows = [{image.tobytes() for image in part.images} for part in parts]
    assert len(set.union(*rows)) == sum(map(len, rows)) == 1797
    for part in parts:
        shares = np.bincount(part.labels, minlength=10) / len(part)
        assert shares == pytest.approx(np.full(10, 0.1), abs=0.01)
    assert np.array_equal(data.search.images, again.search.images)
    assert not np.array_equal(data.search.labels, other.search.labels)
    assert data.name == again.name != other.name


def test_images_are_enlarged_and_normalised() -> None:
    data = digits()
    assert data.train.images.shape == (1077, 32, 32, 1)
    assert data.train.images.dtype == np.float32
    assert data.train.labels.dtype == np.int32
    assert abs(data.train.images.mean()) < 1e-4
    assert data.train.images.std() == pytest.approx(1, abs=1e-4)
    # Averaging 4x4 pixels of an enlarged image gives roughly the small one back.
    small = data.test.images.reshape(360, 8, 4, 8, 4).mean(axis=(2, 4))
    assert np.corrcoef(small.ravel(), digits(8).test.images.ravel())[0, 1] > 0.95


def test_resizing_is_tensorflows() -> None:
    tf = pytest.importorskip("tensorflow")
    from sklearn.datasets import load_digits

    from latlas.search.data import _bilinear

    image = load_digits().images[3]
    wanted = tf.image.resize(image[..., None], (20, 20)).numpy()[..., 0]
    matrix = _bilinear(8, 20)
    assert matrix @ image @ matrix.T == pytest.approx(wanted, abs=1e-4)


def test_too_small() -> None:
    with pytest.raises(SearchError, match="too small"):
        digits(4)
