from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latlas.predictor.families import Families, leading_word
from latlas.profiler.errors import UsageError

EIGHT = Families.parse(
    [
        "^(?!.*squeeze).*(resnet|resnext|diracnet|bagnet|dla|hrnet)=residual",
        "^mobilenetv3=mobilenetv3",
        "^mobilenetv2=mobilenetv2",
        "^(mobilenet|fdmobilenet)=mobilenet",
        "^regnet=regnet",
        "^(mnasnet|fbnet|proxyless|spnas|efficientnet)=nas",
        "^squeeze=squeeze",
        ".*=other",
    ]
)
"""The families by which published measurements of 102 networks are divided."""


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("mobilenet_v2_1.0", "mobilenet_v2"),
        ("mobilenetv2_100", "mobilenet_v2"),
        ("MobileNetV3Large", "mobilenet_v3"),
        ("a/b/mobilenet_v2_0.35_96.tflite", "mobilenet_v2"),
        ("C:\\models\\resnet50.tflite", "resnet"),
        ("resnet50v2", "resnet"),
        ("InceptionV3", "inception_v3"),
        ("DenseNet121", "densenet"),
        ("moga-0-012", "moga"),
        ("general-0-017-bottleneck", "bottleneck"),
        ("general-3-1024-dense", "dense"),
        ("general-purpose", "general"),
        ("7-3", "7"),
        ("_x", "_x"),
        ("", ""),
    ],
)
def test_leading_words(name: str, family: str) -> None:
    assert leading_word(name) == family


@given(st.text(max_size=20).filter(lambda name: not name.lower().endswith(".tflite")))
def test_every_name_has_a_family(name: str) -> None:
    assert leading_word(name) == leading_word(f"somewhere/{name}.TFLITE")
    assert Families().of(name) == leading_word(name)


def test_the_first_rule_that_matches_wins() -> None:
    families = {
        "bagnet17": "residual",
        "squeezeresnet": "squeeze",
        "mobilenetv3_large_w1": "mobilenetv3",
        "fdmobilenet_w1": "mobilenet",
        "efficientnet_b0": "nas",
        "vgg16": "other",
    }
    assert {name: EIGHT.of(name) for name in families} == families


def test_names_without_a_rule_keep_their_leading_word() -> None:
    assert Families.parse(["net=x", "(?=vgg)=y"]).of("dla34") == "dla"
    assert Families.parse(["(?=vgg)=y"]).of("vgg16") == "y"


@pytest.mark.parametrize("rule", ["", "x", "x=", "=x", "x= ", "(=x", "a{99999999999}=x"])
def test_rules_that_make_no_sense(rule: str) -> None:
    with pytest.raises(UsageError, match="--family"):
        Families.parse([rule])
