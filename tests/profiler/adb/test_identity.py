"""Which phone it is, read from whatever a phone may print."""

from __future__ import annotations

from dataclasses import astuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latlas.profiler.adb.identity import (
    CpuCluster,
    PhoneIdentity,
    identify,
    parse_clusters,
    parse_gpu,
    parse_properties,
)

CPU = "/sys/devices/system/cpu/cpu"


def speeds(name: str, *values: int) -> str:
    return "".join(f"{CPU}{core}/{name}:{value}\n" for core, value in enumerate(values))


def test_properties_that_are_none() -> None:
    text = "[a]: [b]\r\n[multi]: [one\ntwo]\n[]: [x]\nrubbish\n[c]: []\n[d]: [[e]]\n"
    assert parse_properties(text) == {"a": "b", "c": "", "d": "[e]"}


def test_clusters_by_clock_where_the_kernel_has_no_capacity() -> None:
    clocks = speeds("cpufreq/cpuinfo_max_freq", 1800000, 1800000, 2800000)
    assert parse_clusters(clocks, "") == (
        CpuCluster((0, 1), None, 1800000),
        CpuCluster((2,), None, 2800000),
    )


def test_clusters_by_clock_where_capacities_do_not_tell_them_apart() -> None:
    text = speeds("cpu_capacity", 1024, 1024) + speeds("cpufreq/cpuinfo_max_freq", 2000000, 3000000)
    assert [cluster.cores for cluster in parse_clusters(text, "")] == [(0,), (1,)]


def test_clusters_with_an_offline_core() -> None:
    text = speeds("cpu_capacity", 200, 200, 1024) + speeds("cpufreq/cpuinfo_max_freq", 1800000)
    assert parse_clusters(text, "processor : 2\nCPU part : 0xd44\n") == (
        CpuCluster((0, 1), 200, None, None),
        CpuCluster((2,), 1024, None, "0xd44"),
    )


def test_cores_in_any_order_and_many() -> None:
    text = f"{CPU}10/cpu_capacity:5\n{CPU}9/cpu_capacity:5\n{CPU}999/cpu_capacity:5\n"
    (cluster,) = parse_clusters(text, "")
    assert (cluster.cores, cluster.mask) == ((9, 10), "600")


@pytest.mark.parametrize(
    ("line", "gpu"),
    [
        ("GLES: ARM, Mali-G78, OpenGL ES 3.2 v1.r36p0", "Mali-G78"),
        (
            "GLES: Google Inc. (ARM), ANGLE (ARM, Vulkan 1.3 (Mali-G715), r44), OpenGL ES 3.2",
            "ANGLE (ARM, Vulkan 1.3 (Mali-G715), r44)",
        ),
        ("GLES: nothing", None),
        ("Can't find service: SurfaceFlinger", None),
    ],
)
def test_gpu(line: str, gpu: str | None) -> None:
    assert parse_gpu(f"before\n{line}\nafter") == gpu


def test_an_older_phone() -> None:
    properties = {
        "ro.board.platform": "msm8998",
        "ro.hardware.egl": "adreno",
        "ro.build.version.sdk": "many",
        "ro.product.model": "evil\x1b]0;name\x07",
    }
    assert identify(properties, None, ()) == PhoneIdentity(
        model="evil?]0;name?", soc="msm8998", gpu="adreno"
    )


@given(st.text(), st.text(), st.text())
def test_any_text(properties: str, sysfs: str, cpuinfo: str) -> None:
    identity = identify(
        parse_properties(properties), parse_gpu(sysfs), parse_clusters(sysfs, cpuinfo)
    )
    assert identity == PhoneIdentity()


LINES = st.lists(
    st.one_of(
        st.builds("[ro.product.model]: [{}]".format, st.text()),
        st.builds("[ro.build.version.sdk]: [{}]".format, st.text("0123456789-. ")),
        st.builds("GLES: {}, {}, OpenGL ES".format, st.text(), st.text()),
        st.builds(
            "{}{}/cpu_capacity:{}".format,
            st.just(CPU),
            st.integers(0, 2000),
            st.integers(-10, 10**12),
        ),
        st.builds("processor\t: {}\nCPU part\t: {}".format, st.integers(0, 20), st.text()),
        st.text(),
    )
).map("\n".join)


@given(LINES)
def test_texts_that_look_right(text: str) -> None:
    clusters = parse_clusters(text, text)
    identity = identify(parse_properties(text), parse_gpu(text), clusters)
    for value in astuple(identity):
        assert not isinstance(value, str) or (value.isprintable() and 0 < len(value) <= 300)
    cores = [core for cluster in clusters for core in cluster.cores]
    assert len(cores) == len(set(cores))
    assert sum(int(cluster.mask, 16) for cluster in clusters) == sum(1 << core for core in cores)
