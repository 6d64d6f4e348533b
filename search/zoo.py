"""Reference networks, as their authors published them.

A network is written as short block strings: ``ir_k5_s2_e3_c40_r3_sei0.25`` is an inverted residual,
kernel 5, stride 2, expansion 3, 40 filters, repeated 3 times (stride 1 after the first), with
squeeze-and-excitation of 0.25 of the block's input (``ser`` is a ratio of the expanded channels,
rounded to a multiple of 8). ``x64`` names the expanded channels instead of their ratio. ``ds`` is a
depthwise separable convolution and ``dsr`` one with a residual. A last word names another
activation.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from latlas.profiler.errors import SearchError, UsageError
from latlas.profiler.graph import Graph, GraphBuilder
from latlas.search.blocks import classifier, conv_bn, mbconv, round_channels, separable
from latlas.search.spaces import FairnasSpace, MogaSpace, fairnas, moga

_ACTIVATIONS = {"re": "relu", "r6": "relu6", "hs": "hard_swish"}
_WORD = re.compile(r"(sei|ser|[kserxc])(\d+(?:\.\d+)?)")


@dataclass(frozen=True)
class Recipe:
    """A network in short form.

    Attributes:
        stem: filters of the first 3x3 convolution, stride 2.
        blocks: block strings, separated by spaces.
        head: filters of the last 1x1 convolution, 0 for none.
        act: activation unless a block names its own: ``re``, ``r6`` or ``hs``.
        stem_act, head_act: activations of the ends, by default `act`.
        features: filters of a second 1x1 convolution after the pooling (MobileNetV3), 0 for none.
        gate: the gate of squeeze-and-excitation.
        pointwise_act: whether ``ds`` blocks activate their pointwise convolution (MobileNetV1).
        resolution: height and width of the input.
        source: where it was published.
    """

    stem: int
    blocks: str
    head: int
    source: str
    act: str = "r6"
    stem_act: str = ""
    head_act: str = ""
    features: int = 0
    gate: str = "hard_sigmoid"
    pointwise_act: bool = False
    resolution: int = 224


def _append_block(b: GraphBuilder, x: int, text: str, recipe: Recipe) -> int:
    kind, *words = text.split("_")
    given: dict[str, float] = {}
    act = _ACTIVATIONS[recipe.act]
    for word in words:
        match = _WORD.fullmatch(word)
        if match:
            given[match[1]] = float(match[2])
        elif word in _ACTIVATIONS:
            act = _ACTIVATIONS[word]
        else:
            raise SearchError(f"cannot read {word!r} in the block {text!r}")
    filters, kernel = int(given["c"]), int(given["k"])
    for repeat in range(int(given.get("r", 1))):
        stride = int(given.get("s", 1)) if repeat == 0 else 1
        channels = b.shape(x)[3]
        expanded = channels
        if kind == "ir":
            expanded = int(given["x"]) if "x" in given else round(channels * given["e"])
        if "sei" in given:
            se_channels = max(1, int(channels * given["sei"]))
        else:
            se_channels = round_channels(expanded * given["ser"]) if "ser" in given else 0
        if kind == "ir":
            x = mbconv(
                *(b, x, filters, kernel),
                expanded=expanded,
                stride=stride,
                act=act,
                se_channels=se_channels,
                se_gate=recipe.gate,
            )
        elif kind in ("ds", "dsr"):
            x = separable(
                *(b, x, filters, kernel),
                stride=stride,
                act=act,
                pointwise_act=act if recipe.pointwise_act else "none",
                residual=kind == "dsr",
                se_channels=se_channels,
                se_gate=recipe.gate,
            )
        else:
            raise SearchError(f"unknown block {kind!r} in {text!r}; known are ds, dsr and ir")
    return x


def _build(recipe: Recipe, resolution: int, classes: int) -> Graph:
    b = GraphBuilder((1, resolution, resolution, 3))
    stem_act = _ACTIVATIONS[recipe.stem_act or recipe.act]
    x = conv_bn(b, b.input, recipe.stem, 3, stride=2, act=stem_act)
    for block in recipe.blocks.split():
        x = _append_block(b, x, block, recipe)
    head_act = _ACTIVATIONS[recipe.head_act or recipe.act]
    if recipe.head:
        x = conv_bn(b, x, recipe.head, 1, act=head_act)
    x = b.mean(x)
    if recipe.features:
        x = b.activation(b.conv(x, recipe.features, 1), head_act)
    return b.build(classifier(b, x, classes))


_MNASNET = "Tan et al. 2019, MnasNet"
_FAIRNAS = "Chu et al. 2021, FairNAS"
_MOGA = "Chu et al. 2020, MoGA"
_V3 = "Howard et al. 2019, Searching for MobileNetV3"


RECIPES: dict[str, Recipe] = {
    "mobilenet_v1": Recipe(
        32,
        "ds_k3_c64 ds_k3_s2_c128 ds_k3_c128 ds_k3_s2_c256 ds_k3_c256 "
        "ds_k3_s2_c512 ds_k3_c512_r5 ds_k3_s2_c1024 ds_k3_c1024",
        0,
        "Howard et al. 2017, MobileNets",
        pointwise_act=True,
    ),
    "mobilenet_v2": Recipe(
        32,
        "ds_k3_c16 ir_k3_s2_e6_c24_r2 ir_k3_s2_e6_c32_r3 ir_k3_s2_e6_c64_r4 "
        "ir_k3_e6_c96_r3 ir_k3_s2_e6_c160_r3 ir_k3_e6_c320",
        1280,
        "Sandler et al. 2018, MobileNetV2",
    ),
    "mobilenet_v3_large": Recipe(
        16,
        "dsr_k3_c16_re ir_k3_s2_x64_c24_re ir_k3_x72_c24_re ir_k5_s2_x72_c40_ser0.25_re "
        "ir_k5_x120_c40_ser0.25_r2_re ir_k3_s2_x240_c80 ir_k3_x200_c80 ir_k3_x184_c80_r2 "
        "ir_k3_x480_c112_ser0.25 ir_k3_x672_c112_ser0.25 ir_k5_s2_x672_c160_ser0.25 "
        "ir_k5_x960_c160_ser0.25_r2",
        960,
        _V3,
        act="hs",
        features=1280,
    ),
    "mobilenet_v3_small": Recipe(
        16,
        "ds_k3_s2_c16_ser0.5_re ir_k3_s2_x72_c24_re ir_k3_x88_c24_re ir_k5_s2_x96_c40_ser0.25 "
        "ir_k5_x240_c40_ser0.25_r2 ir_k5_x120_c48_ser0.25 ir_k5_x144_c48_ser0.25 "
        "ir_k5_s2_x288_c96_ser0.25 ir_k5_x576_c96_ser0.25_r2",
        576,
        _V3,
        act="hs",
        features=1024,
    ),
    "mnasnet_a1": Recipe(
        32,
        "ds_k3_c16 ir_k3_s2_e6_c24_r2 ir_k5_s2_e3_c40_r3_sei0.25 ir_k3_s2_e6_c80_r4 "
        "ir_k3_e6_c112_r2_sei0.25 ir_k5_s2_e6_c160_r3_sei0.25 ir_k3_e6_c320",
        1280,
        _MNASNET,
        act="re",
        gate="logistic",
    ),
    "mnasnet_b1": Recipe(
        32,
        "ds_k3_c16 ir_k3_s2_e3_c24_r3 ir_k5_s2_e3_c40_r3 ir_k5_s2_e6_c80_r3 "
        "ir_k3_e6_c96_r2 ir_k5_s2_e6_c192_r4 ir_k3_e6_c320",
        1280,
        _MNASNET,
        act="re",
    ),
    "mnasnet_small": Recipe(
        8,
        "ds_k3_c8 ir_k3_s2_e3_c16 ir_k3_s2_e6_c16_r2 ir_k5_s2_e6_c32_r4_sei0.25 "
        "ir_k3_e6_c32_r3_sei0.25 ir_k5_s2_e6_c88_r3_sei0.25 ir_k3_e6_c144",
        1280,
        _MNASNET,
        act="re",
        gate="logistic",
    ),
    "mnasnet_d1": Recipe(
        32,
        "ir_k3_e9_c24 ir_k3_s2_e9_c36_r3 ir_k3_s2_e9_c48_r5 ir_k5_s2_e9_c96_r4 "
        "ir_k7_e3_c96_r5 ir_k3_s2_e9_c80_r3 ir_k7_e6_c320",
        1280,
        "Chen et al. 2020, MnasFPN",
        act="re",
    ),
    "mnasnet_d1_320": Recipe(
        32,
        "ir_k5_e6_c24_r3 ir_k7_s2_e9_c36_r4 ir_k5_s2_e9_c48_r5 ir_k7_s2_e6_c96_r5 "
        "ir_k3_e9_c144_r5 ir_k5_s2_e6_c160_r5 ir_k7_e9_c320",
        1280,
        "Chen et al. 2020, MnasFPN",
        act="re",
        resolution=320,
    ),
    "proxylessnas_mobile": Recipe(
        32,
        "ds_k3_c16 ir_k5_s2_e3_c32 ir_k3_e3_c32 ir_k7_s2_e3_c40 ir_k3_e3_c40 ir_k5_e3_c40_r2 "
        "ir_k7_s2_e6_c80 ir_k5_e3_c80_r3 ir_k5_e6_c96 ir_k5_e3_c96_r3 ir_k7_s2_e6_c192 "
        "ir_k7_e6_c192 ir_k7_e3_c192_r2 ir_k7_e6_c320",
        1280,
        "Cai et al. 2019, ProxylessNAS",
    ),
}

_FROM_SPACES = {
    **dict.fromkeys(fairnas.ARCHITECTURES, _FAIRNAS),
    **dict.fromkeys(moga.ARCHITECTURES, _MOGA),
}
"""Networks that their authors found in a space, and where they were published."""


def names() -> tuple[str, ...]:
    """Return the names of all reference networks."""
    return (*RECIPES, *_FROM_SPACES)


def source(name: str) -> str:
    """Return where a network was published."""
    return RECIPES[name].source if name in RECIPES else _FROM_SPACES[name]


def build(name: str, resolution: int | None = None, classes: int = 1000) -> Graph:
    """Build a reference network in the training form.

    Args:
        name: one of `names`.
        resolution: height and width of the input; by default the published one.
        classes: number of classes.

    >>> build("mobilenet_v2").inputs
    ((1, 224, 224, 3),)

    Raises:
        UsageError: no such network.
    """
    if name in moga.ARCHITECTURES:
        moga_space = MogaSpace(resolution=resolution or 224, classes=classes)
        return moga_space.decode(moga_space.encode(moga.ARCHITECTURES[name]))
    if name in fairnas.ARCHITECTURES:
        fairnas_space = FairnasSpace(resolution=resolution or 224, classes=classes)
        return fairnas_space.decode(fairnas_space.encode(fairnas.ARCHITECTURES[name]))
    recipe = RECIPES.get(name)
    if recipe is None:
        raise UsageError(f"no network {name!r} in the zoo; known are {', '.join(names())}")
    return _build(recipe, resolution or recipe.resolution, classes)
