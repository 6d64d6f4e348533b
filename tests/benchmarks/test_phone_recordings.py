"""Recorded kernels of phones become kernels such as a user's own table holds."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from scripts import benchmark

from latlas.predictor.fit import fit
from latlas.profiler.kernel import Kernel

recordings = benchmark("phone_recordings")
Row = recordings.Row


def row(
    operation: str,
    size: int,
    channels: int,
    *,
    out: int = 0,
    window: int | str = "-",
    stride: int | str = "-",
    filters: int | str = "-",
    group: int | str = "-",
    name: str = "kernel_0",
    other_name: str = "",
    model: str = "resnet10",
    us: float = 10.0,
) -> Row:
    config = {
        "Input_shape": str(size) if size else "-",
        "Input_channel": channels,
        "Output_shape": str(out or size),
        "Stride": str(stride),
        "Kernel": str(window),
        "Filter": str(filters),
        "Group": str(group),
    }
    return {
        "model": model,
        "operation": operation,
        "config": json.dumps(config),
        "pixel4_us": str(us),
        "pixel4_kernel": name,
        "new_us": str(2 * us),
        "new_kernel": other_name or name,
    }


def conv(size: int, channels: int, filters: int, window: int = 1, **options: object) -> Row:
    return row(
        *("CONV_2D", size, channels),
        **{"window": window, "stride": 1, "filters": filters, "group": 1, **options},  # type: ignore[arg-type]
    )


def kernels(*rows: Row) -> list[Kernel]:
    whole = {"model": "resnet10", "pixel4|gpu|float|mean": "1000"}
    (network,) = recordings.observations(list(rows), [whole], "pixel4").networks
    return list(network.kernels)


@pytest.mark.parametrize(("recorded", "text"), [
    (conv(8, 4, 16), "1x8x8x4 | conv2d filters=16 kernel=1x1 @0 | @1"),
    (
        row("DEPTHWISE_CONV_2D", 8, 4, out=4, window=2, stride=2, filters=1, group=1),
        "1x8x8x4 | depthwise_conv2d kernel=2x2 stride=2x2 @0 | @1",
    ),
    (
        row("CONV_2D_GROUP", 8, 4, window=1, stride=1, filters=8, group=2),
        "1x8x8x4 | conv2d filters=8 kernel=1x1 groups=2 @0 | @1",
    ),
    (
        row("AVERAGE_POOL_2D", 8, 4, out=4, window=2, stride=2),
        "1x8x8x4 | pool kind=average kernel=2x2 stride=2x2 @0 | @1",
    ),
    (row("MEAN", 7, 32, out=32, window=0), "1x7x7x32 | mean @0 | @1"),
    (row("FULLY_CONNECTED", 0, 32, filters=10), "1x32 | fully_connected units=10 @0 | @1"),
])  # fmt: skip
def test_one_operator(recorded: Row, text: str) -> None:
    (kernel,) = kernels(recorded)
    assert kernel == Kernel.from_text(text)


def test_a_concatenation_whose_other_inputs_are_shared_out() -> None:
    (kernel,) = kernels(row("CONCATENATION", 28, 64, window=4, filters=256))
    assert kernel.inputs == tuple((1, 28, 28, part) for part in (64, 64, 64, 64))
    (kernel,) = kernels(row("CONCATENATION", 28, 64, window=3, filters=97))
    assert [shape[3] for shape in kernel.inputs] == [64, 17, 16]


def test_zeros_that_run_inside_the_kernel() -> None:
    """A padded input is recorded with its zeros; nothing before has made a map of that size."""
    _, second = kernels(conv(8, 4, 4), conv(10, 4, 4, window=3, out=8))
    assert second.inputs == ((1, 8, 8, 4),)
    assert second.op == Kernel.from_text(
        "1x8x8x4 | conv2d filters=4 kernel=3x3 padding=1x1x1x1 @0 | @1"
    ).op  # fmt: skip


def test_what_is_merged_is_read_from_the_name() -> None:
    def merged(name: str, other_name: str = "") -> list[str]:
        (kernel,) = kernels(conv(8, 4, 16, name=name, other_name=other_name))
        return [f"{node.op.name} {len(node.inputs)}" for node in kernel.nodes[1:]]

    assert merged("convolution_2d_0") == []
    assert merged("convolution_2d_1_linked_:_relu_2") == ["activation 1"]
    assert merged("convolution_2d_1_linked_:_add_2") == ["binary 2"]
    assert merged("convolution_2d_1_linked_:_mul_2_linked_:_add_3") == ["binary 1", "binary 1"]
    assert merged("convolution_2d_1_linked_:_mul_2") == ["binary 1"]
    # Where devices differ, the longest name says most: some split Winograd's algorithm in parts.
    assert merged("winograd_1", "convolution_2d_1_linked_:_relu_2") == ["activation 1"]


def test_networks_of_what_is_not_known_are_left_out() -> None:
    rows = [
        row("LSTM", 8, 4, window=1, stride=1, filters=4),
        {**conv(8, 4, 4, model="torn"), "config": "{"},
        conv(8, 4, 4, model="good"),
    ]
    names = "resnet10", "torn", "good"
    whole = [{"model": name, "new|gpu|float|mean": "50"} for name in names]
    found = recordings.observations(rows, whole, "new")
    assert [network.name for network in found.networks] == ["good"]
    assert "'LSTM' is not known" in found.left_out["resnet10"]
    assert "cannot be read" in found.left_out["torn"]


def test_families() -> None:
    names = ("resnet18", "preresnet10", "mobilenetv3_w1", "regnetx002", "proxyless", "densenet121")
    found = [recordings.family(name) for name in names]
    assert found == ["residual", "residual", "mobilenet_v3", "regnet", "nas", "others"]


def test_models_without_a_whole_time_are_left_out() -> None:
    rows = [conv(8, 4, 16), conv(8, 4, 16, model="a"), conv(8, 4, 16, model="b", us=0.0)]
    whole = [{"model": name, "new|gpu|float|mean": "50"} for name in ("resnet10", "b")]
    whole.append({"model": "a", "new|gpu|float|mean": "-"})
    found = recordings.observations(rows, whole, "new")
    assert [network.name for network in found.networks] == ["resnet10"]
    assert (found.networks[0].latency_us, found.networks[0].listed_us) == (50, (20,))
    assert found.left_out.keys() == {"a", "b"}
    assert found.target.adapter == "Adreno (TM) 640"


def test_a_file_is_fitted_as_a_table_is(tmp_path: Path) -> None:
    rows = [
        conv(8, 4 * index, 16, window=window, model=f"m{index}", us=float(index * window))
        for index in range(1, 9)
        for window in (1, 3)
    ]
    path = tmp_path / recordings.KERNELS
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    read = recordings.read_rows(path)
    whole = [
        {"model": f"m{index}", "pixel4|gpu|float|mean": str(4 * index + 5)} for index in range(1, 9)
    ]
    assert recordings.devices(read, whole) == ["pixel4"]
    predictor = fit(recordings.observations(read, whole, "pixel4"), trees=5)
    assert predictor.target.adapter == "Adreno (TM) 640"
    assert len(predictor.table_us) == 16
    assert predictor.calibration.networks == 8
