"""Configurations: whatever a file may contain, what comes with latlas, and what a phone says."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latlas.profiler.adb.identity import CpuCluster, PhoneIdentity
from latlas.profiler.cores import format_cores
from latlas.profiler.device_config import (
    DeviceConfig,
    TargetChoice,
    config_of,
    default_targets,
    disagreements,
)
from latlas.profiler.device_config_file import (
    MAX_BYTES,
    find_config,
    known_configs,
    load_config,
    parse_config,
    to_toml,
)
from latlas.profiler.errors import UsageError

MINIMAL = 'models = ["Pixel 6"]\n'
CLUSTERS = (CpuCluster((0, 1, 2, 3), 160, 1803000, "0xd05"), CpuCluster((4, 5), 1024, 2802000))

FULL = """
models = ["Pixel 6", "other"]
soc = "Google Tensor"
gpu = "Mali-G78"
thermal_limit = 2
notes = "one\\ntwo"
source = "a book"

[[clusters]]
cores = "0-3"
mask = "F"
capacity = 160
max_freq_khz = 1803000
part = "0xd05"

[[clusters]]
cores = "4,5"
mask = "30"
capacity = 1024
max_freq_khz = 2802000

[[targets]]
delegate = "cpu"
cores = "4-5"
threads = 2

[[targets]]
delegate = "gpu"
backend = "opencl"
"""


def test_every_key() -> None:
    expected = DeviceConfig(
        name="mine",
        models=("Pixel 6", "other"),
        soc="Google Tensor",
        gpu="Mali-G78",
        clusters=CLUSTERS,
        thermal_limit=2,
        targets=(TargetChoice("cpu", "4-5", 2), TargetChoice("gpu", backend="opencl")),
        notes="one\ntwo",
        source="a book",
    )
    assert parse_config(FULL, "mine") == expected


def test_only_models_are_required() -> None:
    assert parse_config(MINIMAL, "mine") == DeviceConfig("mine", ("Pixel 6",))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "models is missing"),
        ("models = 'Pixel 6'", "models must be a list, got 'Pixel 6'"),
        ("models = [6]", "models: must be texts, got 6"),
        ("models = ['']", "models must be 1 to 300 printable"),
        ("models = ['a\\u202eb']".replace("'", '"'), "models must be 1 to 300 printable"),
        ("models = ['a', 'A']", "models has one of them twice"),
        (f"models = {[str(i) for i in range(101)]}", "models: at most 100, got 101"),
        (MINIMAL + "themal_limit = 2", "unknown key 'themal_limit'; known are models, soc"),
        (MINIMAL + "thermal_limit = 7", "thermal_limit must be 0 to 6, got 7"),
        (MINIMAL + "thermal_limit = true", "thermal_limit must be a whole number, got True"),
        (MINIMAL + "soc = 1", "soc must be text, got 1"),
        (MINIMAL + f"soc = '{'x' * 301}'", "soc must be 1 to 300"),
        (MINIMAL + f"notes = '{'x' * 4001}'", "notes must be at most 4000"),
        (MINIMAL + 'notes = "\\u001b[2J"', "notes must be at most 4000 printable"),
        (MINIMAL + "clusters = [1]", "cluster 1: must be a table, got 1"),
        (MINIMAL + "clusters = [{}]", "cluster 1: cores is missing"),
        (MINIMAL + "clusters = [{cores = 'x'}]", "cluster 1: cores are written like 0, 4-7"),
        (MINIMAL + "clusters = [{cores = ''}]", "cluster 1: cores are written like"),
        (MINIMAL + "clusters = [{cores = '٣'}]", "cluster 1: cores are written like"),
        (MINIMAL + "clusters = [{cores = '3-1'}]", "'3-1' is not a range"),
        (MINIMAL + "clusters = [{cores = '0-256'}]", "cores are 0 to 255, got 256"),
        (
            MINIMAL + "clusters = [{cores = '0-3'}, {cores = '3-4'}]",
            "cluster 2: cores 3 are in another one too",
        ),
        (
            MINIMAL + "clusters = [{cores = '4-5', mask = '3'}]",
            "mask '3' is not that of cores 4-5: write '30'",
        ),
        (MINIMAL + "clusters = [{cores = '4', mask = '0x10'}]", "write '10', or leave it out"),
        (MINIMAL + "clusters = [{cores = '0', freq = 1}]", "cluster 1: unknown key 'freq'"),
        (MINIMAL + "clusters = [{cores = '0', max_freq_khz = 0}]", "max_freq_khz must be 1 to"),
        (MINIMAL + "clusters = [{cores = '0', part = 'A55'}]", "written like 0xd44, not 'A55'"),
        (
            MINIMAL + "".join(f"[[clusters]]\ncores = '{core}'\n" for core in range(17)),
            "clusters: at most 16, got 17",
        ),
        (
            MINIMAL + "[[targets]]\ndelegate = 'cpu'\n" * 65,
            "targets: at most 64, got 65",
        ),
        (MINIMAL + "targets = [{cores = '0'}]", "target 1: delegate is missing"),
        (MINIMAL + "targets = [{delegate = 'npu'}]", "delegate must be cpu or gpu, got 'npu'"),
        (MINIMAL + "targets = [{delegate = 'cpu', threads = 0}]", "threads must be 1 to 256"),
        (MINIMAL + "targets = [{delegate = 'cpu', backend = 'opencl'}]", "backend is for delegate"),
        (MINIMAL + "targets = [{delegate = 'cpu', cores = '0; reboot'}]", "cores are written like"),
        (MINIMAL + "targets = [{delegate = 'gpu', backend = 'cuda'}]", "opencl or opengl, got"),
        (MINIMAL + "targets = [{delegate = 'gpu', cores = '0'}]", "are for delegate cpu"),
        (
            MINIMAL + "clusters = [{cores = '0-3'}]\ntargets = [{delegate = 'cpu', cores = '3-4'}]",
            "target 1: cores 4 are in no cluster; there are 0-3",
        ),
        (
            MINIMAL + "targets = [{delegate = 'gpu'}, {delegate = 'gpu'}]",
            "targets has one of them twice",
        ),
        ("models = [", "not TOML"),
        (MINIMAL * 2, "not TOML"),
        ("thermal_limit = " + "9" * 60_000, "not TOML"),
        (MINIMAL + "thermal_limit = 0x" + "f" * 60_000, "too large to show"),
        ("soc = 0x" + "f" * 60_000, "soc must be text, got one too large to show"),
    ],
    ids=lambda text: text[:40],
)
def test_what_is_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=r"^device configuration mine: ") as caught:
        parse_config(text, "mine")
    shown = str(caught.value)
    assert message in shown
    assert len(shown) < 400
    assert shown.isprintable()


@pytest.mark.parametrize(
    "text",
    [
        "x = " + "[" * 60_000,
        "x = " + "{a=" * 20_000,
        ".".join("a" * 30_000) + " = 1",
        "\n".join(f"[{'.'.join('a' * 150)}.b{i}]" for i in range(200)),
        "[[a]]\n" * 10_000,
        "x = '''" + "'" * 60_000,
        'x = "' + "\\" * 60_000,
        "#" * 60_000,
        "".join(f"k{i} = 1\n" for i in range(6_000)),
        "models = [\n" + "{a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a = [\n" * 1_000,
        "models = " + f"{{{'.'.join('a' * 150)} = [\n" * 60 + "]}" * 60,
        "=" * (MAX_BYTES + 1),
        "é" * (MAX_BYTES // 2 + 1),
    ],
    ids=lambda text: text[:20],
)
def test_hostile_texts_end_soon(text: str) -> None:
    start = time.monotonic()
    with pytest.raises(UsageError) as caught:
        parse_config(text, "mine")
    assert time.monotonic() - start < 10
    assert len(str(caught.value)) < 400


@given(st.text())
def test_any_text(text: str) -> None:
    with pytest.raises(UsageError):
        parse_config(text, "mine")


@pytest.mark.parametrize("name", ["", "../x", "a b", "-x", "x" * 101, "ü", "a\n"])
def test_names_that_make_no_file(name: str) -> None:
    with pytest.raises(UsageError, match="no name for a device configuration"):
        parse_config(MINIMAL, name)


LETTERS = st.characters(categories=("L", "N", "P", "S"), include_characters=" ")
LINES = st.text(LETTERS, min_size=1, max_size=40).filter(lambda text: text.strip())
NUMBERS = st.none() | st.integers(1, 999_999_999)


@st.composite
def configs(draw: st.DrawFn) -> DeviceConfig:
    cores = sorted(draw(st.sets(st.integers(0, 255), max_size=20)))
    cuts = sorted(draw(st.sets(st.integers(1, max(len(cores) - 1, 1)), max_size=6)))
    groups = [cores[a:b] for a, b in zip([0, *cuts], [*cuts, None], strict=True)]
    part = st.none() | st.integers(0, 0xFFFF).map(hex)
    clusters = tuple(
        CpuCluster(tuple(group), draw(NUMBERS), draw(NUMBERS), draw(part))
        for group in draw(st.permutations(groups))
        if group
    )
    threads = st.integers(1, 256)
    choices = [
        st.builds(TargetChoice, st.just("cpu"), st.just(format_cores(group)), threads)
        for group in groups
    ]
    gpu = st.builds(TargetChoice, st.just("gpu"), backend=st.sampled_from(["", "opencl", "opengl"]))
    targets = st.lists(st.one_of(gpu, *choices), max_size=8, unique=True).map(tuple)
    texts = st.text(LETTERS | st.just("\n"), max_size=80)
    models = st.lists(LINES, max_size=5, unique_by=lambda model: model.strip().casefold())
    return DeviceConfig(
        name=draw(st.from_regex("[A-Za-z0-9][A-Za-z0-9._-]{0,9}", fullmatch=True)),
        models=tuple(draw(models)),
        soc=draw(st.none() | LINES),
        gpu=draw(st.none() | LINES),
        clusters=clusters,
        thermal_limit=draw(st.none() | st.integers(0, 6)),
        targets=draw(targets),
        notes=draw(texts),
        source=draw(texts),
    )


@given(configs())
def test_what_is_written_is_read_again(config: DeviceConfig) -> None:
    text = to_toml(config)
    assert text.startswith("# ")
    assert parse_config(text, config.name) == config


@pytest.mark.parametrize(
    "change",
    [
        {"name": "../mine"},
        {"clusters": (CpuCluster((1, 0)),)},
        {"clusters": (CpuCluster((-1,)),)},
        {"clusters": (CpuCluster(()),)},
        {"notes": "." * 1000},
    ],
)
def test_nothing_is_written_that_cannot_be_read(change: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        to_toml(replace(DeviceConfig("mine", ("x",)), **change))  # type: ignore[arg-type]


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "my_phone.toml"
    path.write_bytes(FULL.replace("\n", "\r\n").encode())
    assert load_config(path) == parse_config(FULL, "my_phone")


def test_files_that_are_none(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.toml")
    (tmp_path / "latin.toml").write_bytes(b'models = ["\xe9"]')
    (tmp_path / "huge.toml").write_bytes(b"#\n" * MAX_BYTES)
    (tmp_path / "cut.toml").write_bytes("é".encode() * MAX_BYTES)
    (tmp_path / "my phone.toml").write_text(MINIMAL)
    for name, message in [
        ("missing.toml", "no file"),
        ("pipe.toml", "no file"),
        ("", "no file"),
        ("nul\0", "no file"),
        ("latin.toml", "not UTF-8 at byte 11"),
        ("huge.toml", "longer than 65536 bytes"),
        ("cut.toml", "longer than 65536 bytes"),
        ("my phone.toml", "rename the file"),
    ]:
        with pytest.raises(UsageError, match=message):
            load_config(tmp_path / name)


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(MINIMAL)

    def refuse(*arguments: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)  # file modes do not stop root
    with pytest.raises(UsageError, match="Permission denied"):
        load_config(path)


# ---- what comes with latlas


def test_the_phones_that_are_known() -> None:
    names = [config.name for config in known_configs()]
    assert names == sorted(names)
    assert {"pixel_3", "pixel_4", "pixel_6", "pixel_8", "pixel_9", "galaxy_a22"} <= set(names)


def test_no_model_is_two_phones() -> None:
    models = [model.casefold() for config in known_configs() for model in config.models]
    assert len(models) == len(set(models))


@pytest.mark.parametrize("config", known_configs(), ids=lambda config: config.name)
def test_each_known_phone(config: DeviceConfig) -> None:
    assert config.models and config.soc and config.gpu and config.source
    cores = sorted(core for cluster in config.clusters for core in cluster.cores)
    assert cores == list(range(len(cores))) and len(cores) in (8, 9, 10)
    clocks = [c.max_freq_khz for c in config.clusters if c.max_freq_khz is not None]
    assert clocks == sorted(clocks)
    assert config.targets[: len(config.clusters)] == default_targets(config.clusters)
    assert [target.delegate for target in config.targets].count("gpu") == 1
    assert parse_config(to_toml(config), config.name) == config
    # A phone that is exactly so is found, and agrees.
    phone = PhoneIdentity(model=config.models[-1], gpu=config.gpu, clusters=config.clusters)
    assert find_config(phone) == config
    assert disagreements(config, phone) == []


@pytest.mark.parametrize(
    ("model", "soc"),
    [
        ("SM-G973F", "Exynos 9820"),
        ("SM-G973U1", "Snapdragon 855"),
        ("sm-g991b", "Exynos 2100"),
        ("SM-G9910", "Snapdragon 888"),
        ("SM-S921B", "Exynos 2400"),
        ("SM-S921U", "Snapdragon 8 Gen 3"),
    ],
)
def test_variants_with_another_soc(model: str, soc: str) -> None:
    found = find_config(PhoneIdentity(model=model))
    assert found is not None and found.soc is not None and soc in found.soc


@pytest.mark.parametrize("model", [None, "Pixel 6 Pro", "Pixel", "SM-G991", "SM-A226B"])
def test_phones_that_are_not_known(model: str | None) -> None:
    assert find_config(PhoneIdentity(model=model)) is None


def test_the_users_configurations_come_first() -> None:
    mine = [DeviceConfig("a", ("x",)), DeviceConfig("b", ("PIXEL 6",)), DeviceConfig("c", ("x",))]
    assert find_config(PhoneIdentity(model="Pixel 6"), mine) == mine[1]
    assert find_config(PhoneIdentity(model="X"), mine) == mine[0]


# ---- what a phone says


def test_a_phone_that_nobody_knows() -> None:
    phone = PhoneIdentity(
        model="../ÄB Phone+", soc="Acme 1", gpu="Mali-G1", android="14", clusters=CLUSTERS
    )
    config = config_of(phone, default_targets(CLUSTERS))
    assert config == DeviceConfig(
        name="b_phone",
        models=("../ÄB Phone+",),
        soc="Acme 1",
        gpu="Mali-G1",
        clusters=CLUSTERS,
        targets=(TargetChoice("cpu", "4-5"), TargetChoice("cpu", "0-3")),
        source="the phone itself, Android 14",
    )
    assert parse_config(to_toml(config), config.name) == config
    assert disagreements(config, phone) == []
    assert find_config(phone, [config]) == config


def test_a_phone_that_says_nothing() -> None:
    config = config_of(PhoneIdentity(), [])
    assert (config.name, config.models, config.targets) == ("phone", (), ())
    assert parse_config(to_toml(config), "phone") == config
    assert find_config(PhoneIdentity(), [config]) is None


def test_targets_that_do_not_fit_the_phone() -> None:
    with pytest.raises(UsageError, match="cores 7 are in no cluster; there are 0-5"):
        config_of(PhoneIdentity(model="x", clusters=CLUSTERS), [TargetChoice("cpu", "7")])


PHONE = PhoneIdentity(model="Pixel 6", gpu="Mali-G78", clusters=CLUSTERS)


@pytest.mark.parametrize(
    ("phone", "words"),
    [
        (PHONE, []),
        (PhoneIdentity(), []),
        (replace(PHONE, model="PIXEL 6", gpu="mali"), []),
        (replace(PHONE, gpu="ANGLE (ARM, Vulkan 1.3 (Mali-G78), r44)"), []),
        (replace(PHONE, gpu="Mali-G78 MP20"), []),
        (replace(PHONE, model="Pixel 7"), ["model: 'Pixel 6, other'"]),
        (replace(PHONE, gpu="Mali-G710"), ["'Mali-G710' on the phone"]),
        (replace(PHONE, gpu="Adreno (TM) 640"), ["'Adreno (TM) 640' on the phone"]),
        (
            replace(PHONE, clusters=(CpuCluster((0, 1, 2, 3, 4, 5)),)),
            ["CPU clusters: '0-3; 4-5' in the configuration, '0-5' on the phone"],
        ),
        (
            replace(PHONE, clusters=CLUSTERS[:1]),
            ["CPU clusters", "cores of a target: '4-5' in the configuration, '0-3' on the phone"],
        ),
        (
            replace(PHONE, clusters=(replace(CLUSTERS[0], max_freq_khz=1800000), CLUSTERS[1])),
            [],  # within 1%
        ),
        (
            replace(PHONE, clusters=(CpuCluster((0, 1, 2, 3), 200, 1500000, "0xd03"), CLUSTERS[1])),
            ["cores 0-3, capacity: 160", "cores 0-3, highest clock", "cores 0-3, CPU part"],
        ),
    ],
)
def test_disagreements(phone: PhoneIdentity, words: list[str]) -> None:
    found = disagreements(parse_config(FULL, "mine"), phone)
    assert len(found) == len(words)
    for sentence, word in zip(found, words, strict=True):
        assert word in sentence


def test_targets_are_compared_even_if_the_configuration_has_no_clusters() -> None:
    config = DeviceConfig("mine", (), targets=(TargetChoice("cpu", "7"), TargetChoice("gpu")))
    (found,) = disagreements(config, PHONE)
    assert found == "cores of a target: '7' in the configuration, '0-5' on the phone"
