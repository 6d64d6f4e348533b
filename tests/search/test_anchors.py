from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latlas.profiler.errors import SearchError
from latlas.search import zoo
from latlas.search.anchors import scales, ssd_anchors
from latlas.search.detection import Grid, grids


def test_anchors_of_the_published_detector() -> None:
    maps = grids(zoo.build("mobilenet_v2_ssdlite_320"))
    anchors = ssd_anchors(maps)
    assert anchors.shape == (2034, 4)
    assert anchors.dtype == np.float32
    first, last = anchors[:3], anchors[-6:]
    # The first pixel of 20x20: a square of 0.1, then 0.2 wide and high times the root of 2.
    root = 0.2 * 2**0.5
    np.testing.assert_allclose((first[:, :2] + first[:, 2:]) / 2, 0.025, atol=1e-6)
    sizes = first[:, 2:] - first[:, :2]
    np.testing.assert_allclose(sizes, [(0.1, 0.1), (root / 2, root), (root, root / 2)], rtol=1e-5)
    # The only pixel of the last map: 0.95, and a square between that and the whole image.
    np.testing.assert_allclose((last[:, :2] + last[:, 2:]) / 2, 0.5, atol=1e-6)
    heights, widths = (last[:, 2:] - last[:, :2]).T
    np.testing.assert_allclose(widths / heights, [1, 2, 1 / 2, 3, 1 / 3, 1], rtol=1e-5)
    np.testing.assert_allclose((widths * heights)[:5], 0.95**2, rtol=1e-5)
    assert heights[5] == pytest.approx(0.95**0.5)


def test_scales() -> None:
    assert scales(6) == (0.2, 0.35, 0.5, 0.65, 0.8, 0.95)


grid = st.builds(Grid, st.integers(1, 5), st.integers(1, 5), st.sampled_from([3, 6]))


@given(st.lists(grid, min_size=1, max_size=4))
def test_there_is_an_anchor_for_every_output(maps: list[Grid]) -> None:
    anchors = ssd_anchors(maps)
    assert len(anchors) == sum(each.height * each.width * each.anchors for each in maps)
    assert (anchors[:, 2:] > anchors[:, :2]).all()
    middle = (anchors[:, 2:] + anchors[:, :2]) / 2
    assert ((middle > 0) & (middle < 1)).all()


def test_rows_come_before_columns() -> None:
    anchors = ssd_anchors([Grid(1, 2, 3)])
    tops, lefts = anchors[::3, 0], anchors[::3, 1]
    assert tops[0] == tops[1]
    assert lefts[0] < lefts[1]


def test_other_numbers_of_anchors() -> None:
    with pytest.raises(SearchError, match="map 1 has 4 anchors a pixel; expected 3 or 6"):
        ssd_anchors([Grid(2, 2, 3), Grid(1, 1, 4)])
