"""Reference networks, as their authors published them.

A name is that of a network, at its published resolution and width 1; ``NETWORK_WIDTH_RESOLUTION``
is another width and resolution of it (``mobilenet_v2_1.4_224``), ``NETWORK_ssdlite_RESOLUTION`` an
object detector on it (``mobilenet_v2_ssdlite_320``, ``mnasnet_a1_0.75_ssdlite_320``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from latlas.profiler.errors import UsageError
from latlas.profiler.graph import Graph
from latlas.search.chain import Chain
from latlas.search.detection import ssdlite
from latlas.search.published import PUBLISHED, Published
from latlas.search.spaces import FairnasSpace, MogaSpace, fairnas, moga
from latlas.search.spaces.nasnet import NASNET_A, STACKINGS

_MNASNET = "Tan et al. 2019, MnasNet"
_V3 = "Howard et al. 2019, Searching for MobileNetV3"

_V3_SMALL = Chain(
    16,
    "ds_k3_s2_c16_ser0.5_re ir_k3_s2_x72_c24_re ir_k3_x88_c24_re ir_k5_s2_x96_c40_ser0.25 "
    "ir_k5_x240_c40_ser0.25_r2 ir_k5_x120_c48_ser0.25 ir_k5_x144_c48_ser0.25 "
    "ir_k5_s2_x288_c96_ser0.25 ir_k5_x576_c96_ser0.25_r2",
    576,
    _V3,
    act="hs",
    features=1024,
    head_width="scaled",
)

CHAINS: dict[str, Chain] = {
    "mobilenet_v1": Chain(
        32,
        "ds_k3_c64 ds_k3_s2_c128 ds_k3_c128 ds_k3_s2_c256 ds_k3_c256 "
        "ds_k3_s2_c512 ds_k3_c512_r5 ds_k3_s2_c1024 ds_k3_c1024",
        0,
        "Howard et al. 2017, MobileNets",
        pointwise_act=True,
    ),
    "mobilenet_v2": Chain(
        32,
        "ds_k3_c16 ir_k3_s2_e6_c24_r2 ir_k3_s2_e6_c32_r3 ir_k3_s2_e6_c64_r4 "
        "ir_k3_e6_c96_r3 ir_k3_s2_e6_c160_r3 ir_k3_e6_c320",
        1280,
        "Sandler et al. 2018, MobileNetV2",
        head_width="grows",
    ),
    "mobilenet_v3_large": Chain(
        16,
        "dsr_k3_c16_re ir_k3_s2_x64_c24_re ir_k3_x72_c24_re ir_k5_s2_x72_c40_ser0.25_re "
        "ir_k5_x120_c40_ser0.25_r2_re ir_k3_s2_x240_c80 ir_k3_x200_c80 ir_k3_x184_c80_r2 "
        "ir_k3_x480_c112_ser0.25 ir_k3_x672_c112_ser0.25 ir_k5_s2_x672_c160_ser0.25 "
        "ir_k5_x960_c160_ser0.25_r2",
        960,
        _V3,
        act="hs",
        features=1280,
        head_width="scaled",
    ),
    "mobilenet_v3_small": _V3_SMALL,
    "mobilenet_v3_small_last1280": replace(_V3_SMALL, features=1280),
    "mobilenet_v3_large_minimalistic": Chain(
        16,
        "dsr_k3_c16 ir_k3_s2_x64_c24 ir_k3_x72_c24 ir_k3_s2_x72_c40 ir_k3_x120_c40_r2 "
        "ir_k3_s2_x240_c80 ir_k3_x200_c80 ir_k3_x184_c80_r2 ir_k3_x480_c112 ir_k3_x672_c112 "
        "ir_k3_s2_x672_c160 ir_k3_x960_c160_r2",
        960,
        _V3,
        act="re",
        features=1280,
        head_width="scaled",
    ),
    "mobilenet_v3_small_minimalistic": Chain(
        16,
        "ds_k3_s2_c16 ir_k3_s2_x72_c24 ir_k3_x88_c24 ir_k3_s2_x96_c40 ir_k3_x240_c40_r2 "
        "ir_k3_x120_c48 ir_k3_x144_c48 ir_k3_s2_x288_c96 ir_k3_x576_c96_r2",
        576,
        _V3,
        act="re",
        features=1024,
        head_width="scaled",
    ),
    "mnasnet_a1": Chain(
        32,
        "ds_k3_c16 ir_k3_s2_e6_c24_r2 ir_k5_s2_e3_c40_r3_sei0.25 ir_k3_s2_e6_c80_r4 "
        "ir_k3_e6_c112_r2_sei0.25 ir_k5_s2_e6_c160_r3_sei0.25 ir_k3_e6_c320",
        1280,
        _MNASNET,
        act="re",
        gate="logistic",
    ),
    "mnasnet_b1": Chain(
        32,
        "ds_k3_c16 ir_k3_s2_e3_c24_r3 ir_k5_s2_e3_c40_r3 ir_k5_s2_e6_c80_r3 "
        "ir_k3_e6_c96_r2 ir_k5_s2_e6_c192_r4 ir_k3_e6_c320",
        1280,
        _MNASNET,
        act="re",
    ),
    "mnasnet_small": Chain(
        8,
        "ds_k3_c8 ir_k3_s2_e3_c16 ir_k3_s2_e6_c16_r2 ir_k5_s2_e6_c32_r4_sei0.25 "
        "ir_k3_e6_c32_r3_sei0.25 ir_k5_s2_e6_c88_r3_sei0.25 ir_k3_e6_c144",
        1280,
        _MNASNET,
        act="re",
        gate="logistic",
    ),
    "mnasnet_d1": Chain(
        32,
        "ir_k3_e9_c24 ir_k3_s2_e9_c36_r3 ir_k3_s2_e9_c48_r5 ir_k5_s2_e9_c96_r4 "
        "ir_k7_e3_c96_r5 ir_k3_s2_e9_c80_r3 ir_k7_e6_c320",
        1280,
        "Chen et al. 2020, MnasFPN",
        act="re",
    ),
    "mnasnet_d1_320": Chain(
        32,
        "ir_k5_e6_c24_r3 ir_k7_s2_e9_c36_r4 ir_k5_s2_e9_c48_r5 ir_k7_s2_e6_c96_r5 "
        "ir_k3_e9_c144_r5 ir_k5_s2_e6_c160_r5 ir_k7_e9_c320",
        1280,
        "Chen et al. 2020, MnasFPN",
        act="re",
        resolution=320,
    ),
    "proxylessnas_mobile": Chain(
        32,
        "ds_k3_c16 ir_k5_s2_e3_c32 ir_k3_e3_c32 ir_k7_s2_e3_c40 ir_k3_e3_c40 ir_k5_e3_c40_r2 "
        "ir_k7_s2_e6_c80 ir_k5_e3_c80_r3 ir_k5_e6_c96 ir_k5_e3_c96_r3 ir_k7_s2_e6_c192 "
        "ir_k7_e6_c192 ir_k7_e3_c192_r2 ir_k7_e6_c320",
        1280,
        "Cai et al. 2019, ProxylessNAS",
    ),
}
"""MobileNetV3-Small ends in 1024 filters as in TF-Slim; ``_last1280`` is a version between."""

_SOURCES = {
    **{name: chain.source for name, chain in CHAINS.items()},
    **dict.fromkeys(fairnas.ARCHITECTURES, "Chu et al. 2021, FairNAS"),
    **dict.fromkeys(moga.ARCHITECTURES, "Chu et al. 2020, MoGA"),
    **dict.fromkeys(STACKINGS, "Zoph et al. 2018, NASNet"),
}
"""Networks at width 1, and where they were published."""

DETECTORS = (
    *("mobilenet_v1_ssdlite_320", "mobilenet_v2_ssdlite_320"),
    *("mobilenet_v3_large_ssdlite_320", "mnasnet_a1_ssdlite_320"),
)

_NAME = re.compile(
    r"(?P<network>.+?)(?:_(?P<width>\d{1,2}\.\d{1,3}))?_(?P<ssdlite>ssdlite_)?(?P<side>\d{1,4})"
)


@dataclass(frozen=True)
class _Wanted:
    network: str
    width: float = 1.0
    resolution: int | None = None
    detector: bool = False


def names(variants: bool = False) -> tuple[str, ...]:
    """Return the names of all reference networks.

    Args:
        variants: whether to add the published widths and resolutions of the networks.
    """
    found = (*_SOURCES, *DETECTORS)
    return found + tuple(name for name in PUBLISHED if name not in found) if variants else found


def source(name: str) -> str:
    """Return where a network was published.

    >>> source("mobilenet_v2_1.4_224")
    'Sandler et al. 2018, MobileNetV2'

    Raises:
        UsageError: no such network.
    """
    return _SOURCES[_parse(name).network]


def classes_of(name: str) -> int:
    """Return the number of classes that a network was published for.

    Those are 1000 of ImageNet, 10 of CIFAR-10, and for detectors the 90 labels of COCO, where the
    background comes on top.

    >>> classes_of("mobilenet_v1"), classes_of("mobilenet_v1_ssdlite_320")
    (1000, 90)

    Raises:
        UsageError: no such network.
    """
    wanted = _parse(name)
    if wanted.detector:
        return 90
    return STACKINGS[wanted.network].classes if wanted.network in STACKINGS else 1000


def published(name: str) -> tuple[Published, ...]:
    """Return what is printed about a network, the figures to compare with first.

    >>> published("mnasnet_a1_0.5_160")[0].madds
    54400000
    """
    return PUBLISHED.get(name, ())


def build(name: str, resolution: int | None = None, classes: int | None = None) -> Graph:
    """Build a reference network in the training form.

    Args:
        name: one of `names`, or another width or resolution of one.
        resolution: height and width of the input; by default the published one.
        classes: number of classes; by default those of `classes_of`.

    >>> build("mobilenet_v2").inputs, build("mobilenet_v2_1.4_192").inputs
    (((1, 224, 224, 3),), ((1, 192, 192, 3),))

    Raises:
        UsageError: no such network.
    """
    wanted = _parse(name)
    resolution = resolution or wanted.resolution
    classes = classes_of(name) if classes is None else classes
    if wanted.detector:
        return ssdlite(_classifier(wanted, resolution, classes=1), classes)
    return _classifier(wanted, resolution, classes)


def _classifier(wanted: _Wanted, resolution: int | None, classes: int) -> Graph:
    network, width = wanted.network, wanted.width
    if network in STACKINGS:
        side = resolution or STACKINGS[network].resolution
        nasnet = replace(STACKINGS[network], resolution=side, classes=classes)
        return nasnet.decode(nasnet.encode(*NASNET_A))
    if network in CHAINS:
        chain = CHAINS[network]
        return chain.build(resolution or chain.resolution, classes, width)
    side = resolution or 224
    if network in moga.ARCHITECTURES:
        moga_space = MogaSpace(resolution=side, width=width, classes=classes)
        return moga_space.decode(moga_space.encode(moga.ARCHITECTURES[network]))
    fairnas_space = FairnasSpace(resolution=side, width=width, classes=classes)
    return fairnas_space.decode(fairnas_space.encode(fairnas.ARCHITECTURES[network]))


def _parse(name: str) -> _Wanted:
    if name in _SOURCES:
        return _Wanted(name)
    match = _NAME.fullmatch(name)
    if match is None or match["network"] not in _SOURCES:
        raise UsageError(
            f"no network {name!r} in the zoo; known are {', '.join(names())}, and other widths and "
            "resolutions as in mobilenet_v2_1.4_192 or mnasnet_a1_ssdlite_320"
        )
    width = float(match["width"] or 1.0)
    if match["width"] is None and not match["ssdlite"]:
        raise UsageError(f"{name!r} lacks a width: write {match['network']}_1.0_{match['side']}")
    if not 0 < width <= 10 or not int(match["side"]):
        raise UsageError(f"{name!r} has an impossible width or resolution")
    if width != 1.0 and match["network"] in STACKINGS:
        raise UsageError(f"{match['network']} has no widths; its filters are part of its name")
    return _Wanted(match["network"], width, int(match["side"]), bool(match["ssdlite"]))
