"""What a phone says about itself, asked through Google's adbd."""

from __future__ import annotations

import time

import pytest
from phone_lab.lab import LabPhone

from latlas.profiler.adb.health import Battery, Thermal
from latlas.profiler.adb.identity import CpuCluster, PhoneIdentity
from latlas.profiler.adb.phone import Phone
from latlas.profiler.errors import DeviceLost, DeviceTimeout
from latlas.profiler.temperature import Temperature


def test_identity(phone: LabPhone) -> None:
    assert Phone(phone.serial).identity() == PhoneIdentity(
        manufacturer="Google",
        model="Pixel 6",
        soc="Google Tensor",
        gpu="Mali-G78",
        android="14",
        sdk=34,
        abi="arm64-v8a",
        fingerprint="google/oriole/oriole:14/UQ1A.000000.000/1:user/release-keys",
        clusters=(
            CpuCluster((0, 1, 2, 3), 124, 1803000, "0xd05"),
            CpuCluster((4, 5), 427, 2253000, "0xd0b"),
            CpuCluster((6, 7), 1024, 2802000, "0xd44"),
        ),
    )


def test_condition(phone: LabPhone) -> None:
    device = Phone(phone.serial)
    assert device.battery() == Battery(87.0, 26.8, True)
    sensors = (Temperature("VIRTUAL-SKIN", 31.5), Temperature("BIG", 45.0))
    assert device.thermal() == Thermal(0, False, sensors)
    assert device.temperatures_c == (Temperature("battery", 26.8), *sensors)


def test_masks_are_what_taskset_wants(phone: LabPhone) -> None:
    device = Phone(phone.serial)
    masks = [cluster.mask for cluster in device.identity().clusters]
    assert masks == ["f", "30", "c0"]
    # Not the phone's own masks: this machine may have fewer cores.
    mask = CpuCluster((0,)).mask
    found = device.transport.run(["taskset", mask, "sh", "-c", "taskset -p $$"], 5)
    assert found.text.split()[-1] == mask


def test_a_phone_that_is_not_there(phone: LabPhone) -> None:
    for ask in (Phone("nobody").identity, Phone("nobody").battery, Phone("nobody").thermal):
        with pytest.raises(DeviceLost):
            ask()


def test_a_frozen_phone(fragile_phone: LabPhone) -> None:
    fragile_phone.link.frozen = True
    device = Phone(fragile_phone.serial, timeout_s=0.5)
    started = time.monotonic()
    for ask in (device.identity, device.battery, device.thermal):
        with pytest.raises(DeviceTimeout):
            ask()
    assert time.monotonic() - started < 4
