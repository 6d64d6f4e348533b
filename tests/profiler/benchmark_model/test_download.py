"""Fetching a benchmark binary, from a real server that behaves and one that does not."""

from __future__ import annotations

import hashlib
import json
import resource
import stat
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from latlas.profiler.benchmark_model import download
from latlas.profiler.benchmark_model.binary import cached_path, find_binary
from latlas.profiler.benchmark_model.download import fetch_binary
from latlas.profiler.errors import DeviceError, UsageError

ABI = "arm64-v8a"
ELF = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HH", 3, 183) + bytes(44) + b"code" * 100_000
Answer = Callable[[BaseHTTPRequestHandler], None]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LATLAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "*")
    return tmp_path / "cache"


class Server:
    """Answers every request as the test wants, and keeps the paths asked for."""

    def __init__(self) -> None:
        self.answer: Answer = lambda request: send(request, ELF)
        self.paths: list[str] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.paths.append(self.path)
                with suppress(ConnectionError):
                    server.answer(self)

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"


def send(
    request: BaseHTTPRequestHandler, body: bytes, code: int = 200, **headers: str | int
) -> None:
    request.send_response(code)
    for name, value in ({"Content_Length": len(body)} | headers).items():
        request.send_header(name.replace("_", "-"), str(value))
    request.end_headers()
    request.wfile.write(body)


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    thread = Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.http.shutdown()
    thread.join()
    server.http.server_close()


def test_a_binary_is_fetched_kept_and_found(server: Server, cache: Path) -> None:
    found = fetch_binary(ABI, base_url=server.url + "/mirror/")
    assert server.paths == ["/mirror/android_aarch64_benchmark_model"]
    assert found == find_binary(ABI)
    assert (found.path, found.tool, found.content) == (cached_path(ABI, "tflite"), "tflite", ELF)
    assert stat.S_IMODE(found.path.stat().st_mode) == 0o755
    note = json.loads(found.path.with_name("benchmark_model.json").read_text())
    assert note.pop("date").endswith("+00:00")
    assert note == {
        "url": server.url + "/mirror/android_aarch64_benchmark_model",
        "sha256": hashlib.sha256(ELF).hexdigest(),
        "size": len(ELF),
    }
    fetch_binary(ABI, "litert", base_url=server.url)
    assert server.paths[-1] == "/android_arm64/benchmark_model"
    assert find_binary(ABI, "litert").tool == "litert"
    assert sorted(path.name for path in cache.rglob("*") if path.is_file()) == (
        ["benchmark_model"] * 2 + ["benchmark_model.json"] * 2
    )


def test_a_redirect_to_the_same_scheme_is_followed(server: Server) -> None:
    def answer(request: BaseHTTPRequestHandler) -> None:
        if request.path == "/elsewhere":
            send(request, ELF)
        else:
            send(request, b"", 302, Location="/elsewhere")

    server.answer = answer
    assert fetch_binary(ABI, base_url=server.url).content == ELF


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("https://127.0.0.1:1/a", "another scheme"),
        ("ftp://127.0.0.1/a", "another scheme"),
        ("file:///etc/passwd", "not allowed"),
        ("/android_aarch64_benchmark_model", "infinite loop"),
    ],
)
def test_other_redirects_are_refused(server: Server, location: str, words: str) -> None:
    server.answer = lambda request: send(request, b"", 302, Location=location)
    with pytest.raises(DeviceError, match=words):
        fetch_binary(ABI, base_url=server.url)


def _chunked_and_cut(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.send_header("Transfer-Encoding", "chunked")
    request.end_headers()
    request.wfile.write(b"4000\r\n" + ELF[:1000])


def _drip(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.send_header("Content-Length", str(len(ELF)))
    request.end_headers()
    for byte in ELF[:100]:
        request.wfile.write(bytes([byte]))
        time.sleep(0.05)


def _stall(request: BaseHTTPRequestHandler) -> None:
    time.sleep(1)


def _stall_in_the_midst(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.send_header("Content-Length", str(len(ELF)))
    request.end_headers()
    request.wfile.write(ELF[:100])
    request.wfile.flush()
    time.sleep(1)


def _garbage(request: BaseHTTPRequestHandler) -> None:
    request.wfile.write(b"\x1b[31mno http at all\r\n\r\n")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda request: send(request, b"<html>", 404), "answers 404"),
        (lambda request: send(request, b"", 500), "answers 500"),
        (lambda request: send(request, ELF[:-9], Content_Length=len(ELF)), "cut after"),
        (_chunked_and_cut, "IncompleteRead"),
        (lambda request: send(request, b"<!DOCTYPE html><html>not here"), "no ELF file"),
        (lambda request: send(request, b""), "no ELF file"),
        (lambda request: send(request, ELF.replace(b"\xb7", b"\x3e")), "built for x86_64"),
        (lambda request: send(request, b"", Content_Length=1 << 40), "larger than 256 MiB"),
        (_drip, "after 0.3 s only"),
        (_stall, "nothing came for 0.2 s"),
        (_stall_in_the_midst, "nothing came for 0.2 s"),
        (_garbage, "no http at all"),
    ],
)
def test_a_server_that_fails_leaves_what_was_there(
    server: Server, answer: Answer, words: str
) -> None:
    kept = fetch_binary(ABI, base_url=server.url)
    before = {path: path.read_bytes() for path in kept.path.parent.iterdir()}
    server.answer = answer
    began = time.monotonic()
    with pytest.raises(DeviceError, match=words) as caught:
        fetch_binary(ABI, base_url=server.url, timeout_s=0.3, stall_s=0.2)
    assert time.monotonic() - began < 5
    assert "--runner-binary" in str(caught.value) and str(caught.value).isprintable()
    assert {path: path.read_bytes() for path in kept.path.parent.iterdir()} == before


def test_a_length_is_no_promise(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()  # no length: the end of the connection is the end
        request.wfile.write(ELF)

    server.answer = answer
    assert fetch_binary(ABI, base_url=server.url).content == ELF
    monkeypatch.setattr(download, "MAX_BYTES", 100_000)
    with pytest.raises(DeviceError, match="larger"):
        fetch_binary(ABI, base_url=server.url)


def test_nothing_listens(server: Server) -> None:
    url = server.url.rpartition(":")[0] + ":1"
    with pytest.raises(DeviceError, match="refused.*--runner-binary"):  # noqa: RUF043
        fetch_binary(ABI, base_url=url)


def test_a_full_disk_is_said(server: Server) -> None:
    # A limit on the size of files fails a write as a full disk does.
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(DeviceError, match="LATLAS_CACHE"):
            fetch_binary(ABI, base_url=server.url)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(cached_path(ABI, "tflite").parent.iterdir()) == []


def test_a_cache_that_is_a_file_is_said(server: Server, cache: Path) -> None:
    cache.write_text("")
    with pytest.raises(DeviceError, match="cannot be kept"):
        fetch_binary(ABI, base_url=server.url)


@pytest.mark.parametrize("base_url", ["ftp://a", "file:///etc", "a", "//a", "javascript:1"])
def test_other_addresses_are_refused(base_url: str) -> None:
    with pytest.raises(UsageError, match="https"):
        fetch_binary(ABI, base_url=base_url)


def test_what_is_not_published_is_said() -> None:
    for abi, tool in (("x86_64", "tflite"), ("armeabi-v7a", "litert")):
        with pytest.raises(DeviceError, match="is published for"):
            fetch_binary(abi, tool)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="unknown ABI"):
        fetch_binary("mips")


def test_the_official_addresses_are_https() -> None:
    for (tool, abi), (folder, name) in download._OFFICIAL.items():
        assert folder.startswith("https://storage.googleapis.com/") and name
        assert cached_path(abi, tool)
