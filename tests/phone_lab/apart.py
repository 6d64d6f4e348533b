"""Runs a shell script in namespaces of its own, where no process or network of others is seen.

A phone is attached there; its serial number stands for SERIAL in the script. All that was started
ends with it.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from phone_lab.lab import DIE_WITH_US, adb_server, lab_phone

_NAMESPACES = ("--mount-proc", *(f"--{kind}" for kind in ("mount", "pid", "net", "uts")))
APART = (*DIE_WITH_US, "unshare", *_NAMESPACES, "--fork", "--kill-child")
HOST = "apart"


def run_apart(script: str, folder: Path, abi: str) -> subprocess.CompletedProcess[str]:
    """Run a script of bash in a folder, as the namespaces' only one.

    Args:
        script: any command of it that fails ends it.
        folder: where it runs; the phone keeps its files there, too.
        abi: what the phone says that it runs.
    """
    program = [sys.executable, "-m", __spec__.name, abi]
    path = filter(None, [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")])
    return subprocess.run(
        [*APART, *program],
        input=script,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
        capture_output=True,
        text=True,
    )


def main(abi: str) -> int:
    subprocess.run(["toybox", "ifconfig", "lo", "127.0.0.1", "up"], check=True)
    # Whoever asks for this host's address is told the only one that there is.
    socket.sethostname(HOST)
    hosts = Path("hosts").resolve()
    hosts.write_text(f"127.0.0.1 localhost {HOST}\n")
    subprocess.run(["mount", "--bind", hosts, "/etc/hosts"], check=True)
    homes = Path("adb"), Path("phone")
    for home in homes:
        home.mkdir()
    server_home, phone_home = (home.resolve() for home in homes)
    with (
        adb_server(server_home) as server,
        lab_phone(server, phone_home, cores="host") as phone,
        # Of sockets, whose paths may not be long, and of processes that may not have ended yet.
        TemporaryDirectory(ignore_cleanup_errors=True) as short,
    ):
        phone.set_property("ro.product.cpu.abi", abi)
        script = sys.stdin.read().replace("SERIAL", phone.serial)
        environment = {**os.environ, **server.environment, "TMPDIR": short}
        return subprocess.run(["bash", "-euxc", script], env=environment).returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
