"""The official benchmark binaries, fetched into the cache.

Their makers publish neither versions of the classic one nor checksums of either, so that the
sha256 of what was fetched is kept beside it. Addresses:
https://ai.google.dev/edge/litert/models/measurement (classic) and
https://github.com/google-ai-edge/LiteRT (LiteRT's).
"""

from __future__ import annotations

import hashlib
import json
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime
from http.client import HTTPException, HTTPMessage, HTTPResponse
from typing import IO
from urllib.parse import urlsplit

from tqdm import tqdm

from latlas.profiler.benchmark_model.binary import (
    MAX_BYTES,
    RunnerBinary,
    Tool,
    cached_path,
    elf_problem,
)
from latlas.profiler.errors import DeviceError, UsageError
from latlas.profiler.files import write_atomically

_CHUNK = 1 << 16
_TFLITE = (
    "https://storage.googleapis.com/tensorflow-nightly-public/prod/tensorflow/release/lite/"
    "tools/nightly/latest"
)
_LITERT = "https://storage.googleapis.com/litert/binaries/latest"
# The folder, and the file in it.
_OFFICIAL: dict[tuple[Tool, str], tuple[str, str]] = {
    ("tflite", "arm64-v8a"): (_TFLITE, "android_aarch64_benchmark_model"),
    ("tflite", "armeabi-v7a"): (_TFLITE, "android_arm_benchmark_model"),
    ("litert", "arm64-v8a"): (_LITERT, "android_arm64/benchmark_model"),
}


def fetch_binary(
    abi: str,
    tool: Tool = "tflite",
    *,
    base_url: str = "",
    progress: bool = True,
    timeout_s: float = 600.0,
    stall_s: float = 30.0,
) -> RunnerBinary:
    """Download a benchmark binary into the cache and return it.

    `latlas.profiler.benchmark_model.binary.find_binary` finds it there from then on.

    One that was there is replaced only when all went well. A file ``benchmark_model.json`` beside
    it keeps where it came from, its sha256, its size and the date.

    Args:
        abi: Android's name of the phone's processor, e.g. ``arm64-v8a``.
        tool: the classic benchmark_model, or LiteRT's.
        base_url: a mirror of the official folder; ``http`` is allowed here only.
        progress: whether a bar is shown, on a terminal's stderr.
        timeout_s: seconds for all of the content.
        stall_s: seconds without a byte.

    Raises:
        UsageError: no such ABI or tool, or the base address is none of http or https.
        DeviceError: nothing is published for the ABI, it cannot be fetched or written, or what
            came is no program for the ABI.
    """
    target = cached_path(abi, tool)
    if (tool, abi) not in _OFFICIAL:
        known = ", ".join(each for name, each in _OFFICIAL if name == tool)
        raise DeviceError(
            f"no benchmark_model of {tool} is published for {abi}, only for {known}: build it, "
            "and give it with --runner-binary PATH"
        )
    folder, name = _OFFICIAL[tool, abi]
    url = f"{(base_url or folder).rstrip('/')}/{name}"
    if not url.startswith(("https://", "http://")):
        raise UsageError(f"the base address must begin with https://, got {base_url!r:.200}")
    content = _download(url, timeout_s=timeout_s, stall_s=stall_s, progress=progress)
    if problem := elf_problem(content, abi):
        raise DeviceError(f"{url} is no benchmark_model for {abi}: {problem}; {_by_hand(url)}")
    digest = hashlib.sha256(content).hexdigest()
    about = {
        "url": url,
        "sha256": digest,
        "size": len(content),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    note = target.with_name(target.name + ".json")
    try:
        note.unlink(missing_ok=True)  # it speaks of another content than the one to come
        with write_atomically(target, DeviceError) as file:
            file.write(content)
        target.chmod(0o755)
        with write_atomically(note, DeviceError) as file:
            file.write((json.dumps(about, indent=2) + "\n").encode())
    except (DeviceError, OSError) as problem_met:
        raise DeviceError(
            f"the benchmark_model was fetched, but cannot be kept: {problem_met}; make room "
            "there, or set LATLAS_CACHE to another folder"
        ) from problem_met
    return RunnerBinary(target, content, digest, tool)


def _download(url: str, *, timeout_s: float, stall_s: float, progress: bool) -> bytes:
    end = time.monotonic() + timeout_s
    # A browser's headers change nothing; compression would hide the length.
    request = urllib.request.Request(
        url, headers={"User-Agent": "latlas", "Accept-Encoding": "identity"}
    )
    try:
        with _opener().open(request, timeout=stall_s) as response:
            return _content(response, url, end, timeout_s, progress)
    except urllib.error.HTTPError as problem:
        problem.close()
        raise DeviceError(
            f"{url} cannot be fetched: the server answers {problem.code} "
            f"{str(problem.reason)[:100]!a}; {_by_hand(url)}"
        ) from problem
    except TimeoutError as problem:
        raise DeviceError(
            f"{url} cannot be fetched: nothing came for {stall_s:g} s; try again, or "
            f"{_by_hand(url)}"
        ) from problem
    except (OSError, HTTPException, ValueError) as problem:  # URLError is an OSError
        reason = getattr(problem, "reason", problem)
        if isinstance(reason, TimeoutError):
            reason = f"nothing came for {stall_s:g} s"
        raise DeviceError(
            f"{url} cannot be fetched: {str(reason)[:200]!a}; try again, or {_by_hand(url)}"
        ) from problem


def _content(
    response: HTTPResponse, url: str, end: float, timeout_s: float, progress: bool
) -> bytes:
    stated = response.length
    if stated is not None and stated > MAX_BYTES:
        raise _too_large(url)
    content = bytearray()
    with tqdm(
        desc="benchmark_model",
        total=stated,
        unit="B",
        unit_scale=True,
        leave=False,
        disable=None if progress else True,  # None: on a terminal only
    ) as bar:
        # Not read(): it would wait for a whole chunk, however slowly it comes.
        while chunk := response.read1(_CHUNK):
            content += chunk
            bar.update(len(chunk))
            if len(content) > MAX_BYTES:
                raise _too_large(url)
            if time.monotonic() > end:
                raise DeviceError(
                    f"{url} cannot be fetched: after {timeout_s:g} s only {len(content)} bytes "
                    f"had come; try again, or {_by_hand(url)}"
                )
    if stated is not None and len(content) != stated:
        raise DeviceError(
            f"{url} cannot be fetched: the connection was cut after {len(content)} of {stated} "
            f"bytes; try again, or {_by_hand(url)}"
        )
    return bytes(content)


class _SameScheme(urllib.request.HTTPRedirectHandler):
    """Follows the server to another address of the same scheme only."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        if urlsplit(newurl).scheme != req.type:
            raise DeviceError(
                f"{req.full_url} cannot be fetched: the server sends us on from {req.type} to "
                f"{newurl[:200]!a}, another scheme, which is refused; {_by_hand(req.full_url)}"
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    """Return what opens web addresses and nothing else, no files above all."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
        _SameScheme(),
    ):
        opener.add_handler(handler)
    return opener


def _too_large(url: str) -> DeviceError:
    return DeviceError(
        f"{url} cannot be fetched: it is larger than {MAX_BYTES >> 20} MiB, which no "
        f"benchmark_model is; {_by_hand(url)}"
    )


def _by_hand(url: str) -> str:
    return f"download {url} by hand and give it with --runner-binary PATH"
