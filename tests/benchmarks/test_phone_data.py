"""Phones' networks by family, on a small made-up folder; what has no figures is told."""

from __future__ import annotations

import csv
import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from scripts import benchmark

from latlas.predictor.fit import fit

recordings = benchmark("phone_recordings")
with pytest.MonkeyPatch.context() as patch:
    patch.setitem(sys.modules, "phone_recordings", recordings)
    phone_data = benchmark("phone_data")

RESIDUAL = [f"resnet{index}" for index in range(7)]
MOBILE = [f"mobilenet_w{index}" for index in range(6)]
FEW = [f"regnetx{index}" for index in range(2)]

Row = dict[str, str]


def conv(model: str, channels: int, filters: int, window: int, device: str) -> Row:
    config = {
        "Input_shape": "16",
        "Input_channel": channels,
        "Output_shape": str(17 - window),
        "Stride": "1",
        "Kernel": str(window),
        "Filter": str(filters),
        "Group": "1",
    }
    time_us = str(5 + channels * filters * window**2 / 100)
    names = {f"{device}_us": time_us, f"{device}_kernel": "convolution_2d_0"}
    return {"model": model, "operation": "CONV_2D", "config": json.dumps(config)} | names


def rows(models: list[str], device: str) -> tuple[list[Row], list[Row]]:
    """Return kernels and whole times of models, each of six convolutions."""
    kernels = [
        conv(model, 4 * (index + 1), 8 * (layer + 1), 1 + 2 * (layer % 2), device)
        for index, model in enumerate(models)
        for layer in range(6)
    ]
    whole_us = dict.fromkeys(models, 50.0)
    for row in kernels:
        whole_us[row["model"]] += 1.1 * float(row[f"{device}_us"])
    column = f"{device}|gpu|float|mean"
    return kernels, [{"model": name, column: str(us)} for name, us in whole_us.items()]


def write(folder: Path, kernels: list[Row], models: list[Row]) -> None:
    for name, table in ((recordings.KERNELS, kernels), (recordings.MODELS, models)):
        with (folder / name).open("w", newline="") as file:
            writer = csv.DictWriter(file, table[0])
            writer.writeheader()
            writer.writerows(table)


def document(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> dict[str, Any]:
    for arguments in ([], ["--json"]):
        monkeypatch.setattr(sys, "argv", ["phone_data.py", "--data", str(folder), *arguments])
        phone_data.main()
        text = capsys.readouterr().out
    found: dict[str, Any] = json.loads(text)
    return found


def test_figures_of_every_device(tmp_path: Path) -> None:
    kernels, models = rows(RESIDUAL + MOBILE, "new")
    for row in kernels:  # a second device, twice as slow, and one without whole networks
        row |= {"old_us": str(2 * float(row["new_us"])), "old_kernel": "", "lone_us": "1"}
    for row in models:
        row["old|gpu|float|mean"] = str(2 * float(row["new|gpu|float|mean"]))
    models[0]["old|gpu|float|mean"] = "-"
    write(tmp_path, kernels, models)
    found, absent = phone_data.evaluate_folder(tmp_path, partial(fit, trees=3))
    assert all(reason in phone_data._text(found, absent) for reason in absent)
    found = json.loads(json.dumps(found))
    assert list(found) == ["new", "old"]
    for device, count in (("new", 13), ("old", 12)):
        assert list(found[device]) == ["measured", "predicted"]
        assert [each["n"] for each in found[device].values()] == [count, count]
    for figures in found["new"].values():
        assert {"mape", "within10", "n", "intervals"} <= figures.keys()
    assert found["new"]["measured"]["mape"] < 5
    assert found["new"]["predicted"]["families"].keys() == {"residual", "mobilenet_v1"}
    assert len(absent) == 2
    assert "no column lone|gpu|float|mean" in absent[0]
    assert absent[1] == "old: resnet0: it was not measured whole"


def test_a_family_without_which_too_few_are_left(tmp_path: Path) -> None:
    kernels, models = rows(RESIDUAL + FEW, "new")
    found, absent = phone_data.evaluate(recordings.observations(kernels, models, "new"))
    assert found["predicted"]["n"] == 2
    assert list(found["predicted"]["families"]) == ["regnet"]
    (reason,) = absent
    assert "without 'residual' (7 networks)" in reason
    kernels, models = rows(RESIDUAL, "new")
    found, absent = phone_data.evaluate(recordings.observations(kernels, models, "new"))
    assert found == {}
    assert "all 7 networks are of one group" in absent[0]


def test_what_is_absent_is_told_in_json(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    found = document(tmp_path, monkeypatch, capsys)
    assert [each.partition(":")[0] for each in found["absent"]] == [
        recordings.KERNELS,
        recordings.MODELS,
    ]
    (tmp_path / recordings.KERNELS).write_text("model,operation,config,new_us\n")
    (tmp_path / recordings.MODELS).write_bytes(b"\xff\xfe\x00")
    found = document(tmp_path, monkeypatch, capsys)
    assert [*found] == ["absent"]
    assert len(found["absent"]) == 2
    kernels, models = rows(FEW, "new")
    write(tmp_path, kernels, [{**row, "new|gpu|float|mean": "-"} for row in models])
    found = document(tmp_path, monkeypatch, capsys)
    assert [*found] == ["absent"]
    assert found["absent"][-1] == "new: no network was measured whole"
    write(tmp_path, [{k: v for k, v in row.items() if k != "config"} for row in kernels], models)
    assert "config" in document(tmp_path, monkeypatch, capsys)["absent"][0]
