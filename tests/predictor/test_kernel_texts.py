from __future__ import annotations

import pytest

from latlas.predictor.kernel_texts import KernelTexts
from latlas.profiler.errors import PredictorError
from latlas.profiler.kernel import Kernel

TEXTS = [
    "1x8x8x4 | conv2d filters=8 kernel=1x1 @0 | @1",
    "1x8x8x4,1x8x8x4 | binary kind=add @0,1 | @2",
    "1x8x8x4:int8 | conv2d filters=8 kernel=1x1 @0 | @1",
    "1x8x8x4 | conv2d filters=9 kernel=1x1 @0 | @1",
]
OTHER = Kernel.from_text("1x8x8x4 | conv2d filters=7 kernel=1x1 @0 | @1")


def test_it_is_the_mapping_of_its_kernels() -> None:
    kernels = list(map(Kernel.from_text, TEXTS))
    plain = dict(zip(kernels, (1.0, 2.0, 3.0, 4.0), strict=True))
    table = KernelTexts(TEXTS, [1.0, 2.0, 3.0, 4.0], "p.latlas")
    assert len(table) == 4
    assert [table[kernel] for kernel in kernels[::-1]] == [4.0, 3.0, 2.0, 1.0]
    assert table.get(OTHER) is None and table.get(OTHER, 7.0) == 7.0
    assert [table.get(kernel) for kernel in kernels] == [1.0, 2.0, 3.0, 4.0]
    assert OTHER not in table
    assert list(table) == kernels
    assert list(table.values()) == [1.0, 2.0, 3.0, 4.0]
    assert table == plain == KernelTexts(TEXTS, [1.0, 2.0, 3.0, 4.0], "p.latlas")
    assert not KernelTexts([], [], "p.latlas")


@pytest.mark.parametrize("texts", [["hello"], [None], [TEXTS], [3], [TEXTS[0], TEXTS[0]]])
def test_what_is_no_list_of_kernels(texts: list[str]) -> None:
    with pytest.raises(PredictorError, match=r"p\.latlas is damaged"):
        KernelTexts(texts, [1.0] * len(texts), "p.latlas")


@pytest.mark.parametrize(
    "text",
    [
        "1x8x8x3 | conv2d filters=8 kernel=99x99 groups=7 @0 | @1",
        "1x8x8x3 | nothing @0 | @1",
        "1x8x8x3 | conv2d kernel=1x1 filters=8 @0 | @1",
        "1x8x8x3 | ",
        "1x8x8x3 | @5",
    ],
)
def test_a_damaged_text_is_told_when_it_is_read(text: str) -> None:
    table = KernelTexts([*TEXTS, text], [1.0] * 5, "p.latlas")
    assert table[Kernel.from_text(TEXTS[0])] == 1.0
    with pytest.raises(PredictorError, match=r"p\.latlas is damaged.*fit it again"):
        table.get(Kernel.from_text("1x8x8x3 | conv2d filters=8 kernel=1x1 @0 | @1"))
    with pytest.raises(PredictorError, match=r"p\.latlas is damaged"):
        list(table)


@pytest.mark.parametrize("shapes", ["1x8xeightx3", "", "1x8x8x3,", "x".join("1" * 99)])
def test_damaged_shapes_are_told_at_the_first_question(shapes: str) -> None:
    table = KernelTexts([*TEXTS, f"{shapes} | conv2d filters=8 kernel=1x1 @0 | @1"], [1.0] * 5, "p")
    with pytest.raises(PredictorError, match=r"p is damaged .*fit it again"):
        table.get(OTHER)
