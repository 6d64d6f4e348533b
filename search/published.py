"""What the authors of reference networks, and others, printed about them.

Figures are as printed: rounded, and partly counted by other conventions than ours. Where several
sources describe one network, the first is the one to compare with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Status = Literal["primary", "secondary", "conflicting", "unverified"]


@dataclass(frozen=True)
class Published:
    """What one source prints about a network; None where it says nothing.

    Attributes:
        source: an article, or a repository's tables.
        params: learned numbers.
        madds: multiply-adds.
        top1_percent: top-1 accuracy in percent, of ImageNet unless the network's name says CIFAR.
        map_percent: mean average precision on COCO in percent, of detectors.
        pixel1_ms: latency on a Pixel 1 in milliseconds, TFLite, one large core.
        status: ``primary`` as read in the authors' article or repository, ``secondary`` as quoted
            by others, ``conflicting`` where sources disagree, ``unverified`` where it was not read.
        note: what to know when comparing.
    """

    source: str
    params: float | None = None
    madds: float | None = None
    top1_percent: float | None = None
    map_percent: float | None = None
    pixel1_ms: float | None = None
    status: Status = "primary"
    note: str = ""


_MNASNET = "Tan et al. 2019, MnasNet"
_TPU = "MnasNet's repository"
_SLIM = "TF-Slim's tables"
_V3 = "Howard et al. 2019, Searching for MobileNetV3"
_FAIRNAS = "Chu et al. 2021, FairNAS"
_MOGA = "Chu et al. 2020, MoGA"
_NASNET = "Zoph et al. 2018, NASNet"
_TORCHVISION = "torchvision"


def _millions(
    source: str,
    params: float | None = None,
    madds: float | None = None,
    top1: float | None = None,
    pixel1_ms: float | None = None,
    *,
    coco: float | None = None,
    status: Status = "primary",
    note: str = "",
) -> Published:
    return Published(
        source,
        params=None if params is None else round(params * 1e6),
        madds=None if madds is None else round(madds * 1e6),
        top1_percent=top1,
        map_percent=coco,
        pixel1_ms=pixel1_ms,
        status=status,
        note=note,
    )


RESOLUTIONS = (224, 192, 160, 128, 96)

_Cells = Sequence[tuple[float | None, ...]]


def _grid(
    network: str, width: float, source: str, params: float, cells: _Cells
) -> dict[str, tuple[Published, ...]]:
    """Return figures of one width at `RESOLUTIONS`: multiply-adds, top-1 and Pixel 1."""
    return {
        f"{network}_{width}_{resolution}": (_millions(source, params, *cell),)
        for resolution, cell in zip(RESOLUTIONS, cells, strict=False)
    }


_V1_SCALED = {
    **_grid("mobilenet_v1", 1.0, _SLIM, 4.24, [(569, 70.9), (418,), (291,), (186,)]),
    "mobilenet_v1_0.75_224": (
        _millions(
            *("Howard et al. 2017, MobileNets", 2.59, 325),
            note="TF-Slim's table prints 317M multiply-adds, which is wrong",
        ),
    ),
    **_grid("mobilenet_v1", 0.5, _SLIM, 1.34, [(150, 63.3)]),
    **_grid("mobilenet_v1", 0.25, _SLIM, 0.47, [(41, 49.8)]),
}

_V2_SCALED = {
    **_grid("mobilenet_v2", 1.4, _SLIM, 6.06, [(582, 75.0, 138)]),
    **_grid("mobilenet_v2", 1.3, _SLIM, 5.34, [(509, 74.4, 123)]),
    **_grid(
        *("mobilenet_v2", 1.0, _SLIM, 3.47),
        [
            *((300, 71.8, 73.8), (221, None, 55.1), (154, None, 40.2), (99, None, 27.6)),
            (56, None, 17.6),
        ],
    ),
    **_grid(
        *("mobilenet_v2", 0.75, _SLIM, 2.61),
        [
            *((209, 69.8, 55.8), (153, None, 41.6), (107, None, 30.4), (69, None, 21.9)),
            (39, None, 14.2),
        ],
    ),
    **_grid(
        *("mobilenet_v2", 0.5, _SLIM, 1.95),
        [
            *((97, 65.4, 28.7), (None, None, 21.1), (None, None, 14.9), (None, None, 9.9)),
            (None, None, 6.4),
        ],
    ),
    **_grid(
        *("mobilenet_v2", 0.35, _SLIM, 1.66),
        [
            *((59, 60.3, 19.7), (None, None, 14.6), (None, None, 10.5), (None, None, 6.9)),
            (None, None, 4.5),
        ],
    ),
}

_A1_SCALED = {
    **_grid(
        *("mnasnet_a1", 1.4, _TPU, 6.1),
        [
            *((591.5, 77.2, 135), (435.1, 76.1, 99), (302.8, 74.8, 72), (194.5, 72.5, 49)),
            (110.3, 68.6, 32),
        ],
    ),
    **_grid(
        *("mnasnet_a1", 1.0, _TPU, 3.9),
        [
            *((315.2, 75.2, 78), (232.0, 74.0, 57), (161.6, 72.0, 41), (104.1, 69.3, 29)),
            (59.3, 64.4, 18),
        ],
    ),
    **_grid(
        *("mnasnet_a1", 0.75, _TPU, 2.9),
        [
            *((226.7, 73.3, 61), (166.9, 72.1, 45), (116.4, 70.1, 33), (75.0, 67.0, 23)),
            (42.9, 62.1, 17),
        ],
    ),
    **_grid(
        *("mnasnet_a1", 0.5, _TPU, 2.1),
        [
            *((105.2, 68.9, 32), (77.6, 67.2, 24), (54.4, 64.9, 18), (35.3, 60.8, 12)),
            (20.5, 54.7, 7.4),
        ],
    ),
    **_grid(
        *("mnasnet_a1", 0.35, _TPU, 1.7),
        [
            *((63.2, 64.1, 22), (46.8, 62.4, 17), (32.9, None, 13), (21.6, 54.8, 8.5)),
            (12.7, 49.3, 5.4),
        ],
    ),
    "mnasnet_a1_0.35_160": (
        _millions(
            *(_TPU, 1.7, 32.9, None, 13),
            status="conflicting",
            note="top-1 is printed as 52.3 and as 59.3",
        ),
    ),
}

PUBLISHED: dict[str, tuple[Published, ...]] = {
    "mobilenet_v1": (
        _millions(_SLIM, 4.24, 569, 70.9),
        _millions(_MNASNET, None, 575, None, 113),
    ),
    "mobilenet_v2": (
        _millions(_MNASNET, 3.4, 300, 72.0),
        _millions(_MOGA, 3.4, 300, 72.0, 78, status="secondary"),
    ),
    "mobilenet_v3_large": (
        _millions(_V3, 5.4, 219, 75.2, 51),
        _millions(_SLIM, 5.4, 217),
        _millions(
            *(_MOGA, 5.4, 219, 75.0, 70),
            status="secondary",
            note="re-implemented; Pixel 1 is 66 ms in the first version of the original article",
        ),
    ),
    "mobilenet_v3_small": (
        _millions(
            *(_SLIM, 2.5, 56),
            status="conflicting",
            note="the last convolution has 1024 filters here, 1280 in a version between; the first "
            "version of the article prints 66M multiply-adds, which no published layers give",
        ),
        _millions(_V3, pixel1_ms=15.8),
    ),
    "mobilenet_v3_small_last1280": (
        _millions(_V3, 2.9, None, status="conflicting", note="the version between"),
    ),
    "mobilenet_v3_large_minimalistic": (_millions(_SLIM, 3.9, 209, 72.3, 44.1),),
    "mobilenet_v3_small_minimalistic": (
        _millions(
            *(_SLIM, 2.0, None, None, 12.2),
            note="65M multiply-adds are printed, which no published layers give",
        ),
    ),
    "mnasnet_a1": (
        _millions(_MNASNET, 3.9, 312, 75.2, 78),
        _millions(_V3, pixel1_ms=71, note="a later runtime"),
    ),
    "mnasnet_b1": (_millions(_TPU, 4.4, 315, 74.5, 77, status="secondary"),),
    "mnasnet_small": (
        _millions(_MNASNET, 2.0, 68, 66.0, 23.2),
        _millions(_V3, pixel1_ms=20.3, note="a later runtime"),
    ),
    "mnasnet_d1": (),
    "mnasnet_d1_320": (),
    "proxylessnas_mobile": (
        _millions(_MOGA, 4.0, 320, 74.6, 87, status="secondary"),
        _millions("Cai et al. 2019, ProxylessNAS", 4.1, 320, 74.6, 78, status="secondary"),
        _millions(_V3, pixel1_ms=72, note="a later runtime"),
    ),
    "fairnas_a": (
        _millions(_FAIRNAS, 4.6, 388, 75.3),
        _millions(_MOGA, 4.6, 388, 75.3, 104, status="secondary"),
    ),
    "fairnas_b": (_millions(_FAIRNAS, 4.5, 345, 75.1),),
    "fairnas_c": (_millions(_FAIRNAS, 4.4, 321, 74.7),),
    "moga_a": (_millions(_MOGA, 5.1, 304, 75.9, 101),),
    "moga_a_fig": (
        _millions(
            *(_MOGA, 5.1, 304),
            status="conflicting",
            note="the authors' figure; in their code (moga_a) layer 6 has the gate of layer 3",
        ),
    ),
    "moga_b": (_millions(_MOGA, 5.5, 248, 75.5, 81),),
    "moga_c": (_millions(_MOGA, 5.4, 221, 75.3, 71),),
    "nasnet_a_mobile": (
        _millions(_NASNET, 5.3, 564, 74.0),
        _millions(_MNASNET, 5.3, 564, 74.0, 183, status="secondary"),
    ),
    "nasnet_a_large": (_millions(_NASNET, 88.9, 23_800, 82.7),),
    "nasnet_a_cifar": (_millions(_NASNET, 3.3, None, 96.59, note="97.35 with cutout"),),
    "mobilenet_v1_ssdlite_320": (
        _millions(
            *(_MNASNET, 5.1, 1300),
            coco=22.2,
            pixel1_ms=270,
            note="5.1M is what 80 classes give; 90 labels give 5.2M",
        ),
        _millions(_V3, coco=22.2, pixel1_ms=228, note="a later runtime"),
    ),
    "mobilenet_v2_ssdlite_320": (
        _millions(
            *(_MNASNET, 4.3, 800),
            coco=22.1,
            pixel1_ms=200,
            note="4.3M is what 80 classes give; 90 labels give 4.5M",
        ),
        _millions(_V3, coco=22.1, pixel1_ms=162, note="a later runtime"),
    ),
    "mobilenet_v3_large_ssdlite_320": (_millions(_V3, 4.97, 620, coco=22.0, pixel1_ms=137),),
    "mnasnet_a1_ssdlite_320": (
        _millions(_MNASNET, 4.9, 800, coco=23.0, pixel1_ms=203),
        _millions(_V3, 4.88, 840, coco=23.0, pixel1_ms=174, note="a later runtime"),
    ),
    **_V1_SCALED,
    **_V2_SCALED,
    "mobilenet_v3_large_0.75_224": (_millions(_V3, 4.0, 155, None, 39),),
    "mobilenet_v3_small_0.75_224": (
        _millions(
            *(_SLIM, 2.0, 44),
            status="conflicting",
            note="2.4M parameters are printed elsewhere, for 1280 last filters",
        ),
        _millions(_V3, pixel1_ms=12.8),
    ),
    "mobilenet_v3_small_last1280_0.75_224": (
        _millions(_V3, 2.4, 44, status="conflicting", note="the version between"),
    ),
    **_A1_SCALED,
    "mnasnet_b1_0.5_224": (_millions(_TORCHVISION, 2.218_512, status="secondary"),),
    "mnasnet_b1_0.75_224": (_millions(_TORCHVISION, 3.170_208, status="secondary"),),
    "mnasnet_b1_1.0_224": (_millions(_TORCHVISION, 4.383_312, status="secondary"),),
    "mnasnet_b1_1.3_224": (_millions(_TORCHVISION, 6.282_256, status="secondary"),),
}
"""Figures by the names of `latlas.search.zoo`."""
