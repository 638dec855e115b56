"""dcmtk's command line tools as peers: senders, Storage SCPs and a small PACS, on free loopback ports."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.peers.ports import free_port

HOST = "127.0.0.1"


def require_dcmtk() -> None:
    """Skip the test where dcmtk is not installed."""
    if shutil.which("storescu") is None:
        pytest.skip("dcmtk is not installed (apt-get install dcmtk)")


def storescu(
    files: Iterable[Path],
    port: int,
    *args: str,
    calling: str = "MODALITY",
    called: str = "CANDELA",
    timeout: float = 120,
) -> subprocess.CompletedProcess[str]:
    """Send ``files`` (folders with ``+sd``) by C-STORE; stdout and stderr are in ``stdout``, ``-v`` is on."""
    command = ["storescu", "-v", "-aet", calling, "-aec", called, *args, HOST, str(port), *map(str, files)]
    return _run(command, timeout)


def start_storescu(
    files: Iterable[Path], port: int, *args: str, calling: str = "MODALITY", called: str = "CANDELA"
) -> subprocess.Popen[str]:
    """The same, running: for tests that cut it off."""
    command = ["storescu", "-v", "-aet", calling, "-aec", called, *args, HOST, str(port), *map(str, files)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def echoscu(
    port: int, *args: str, calling: str = "MODALITY", called: str = "CANDELA"
) -> subprocess.CompletedProcess[str]:
    """C-ECHO."""
    return _run(["echoscu", "-v", "-aet", calling, "-aec", called, *args, HOST, str(port)], 30)


def findscu(
    port: int, *args: str, calling: str = "MODALITY", called: str = "CANDELA"
) -> subprocess.CompletedProcess[str]:
    """C-FIND."""
    return _run(["findscu", "-v", "-aet", calling, "-aec", called, *args, HOST, str(port)], 30)


@contextmanager
def running_storescp(
    folder: Path, port: int | None = None, *args: str, ae_title: str = "STORESCP", log: Path | None = None
) -> Iterator[int]:
    """A Storage SCP that writes into ``folder``, and what it says (``-d`` for more) into ``log``; its port."""
    folder.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    with _running(["storescp", "--fork", "-aet", ae_title, "-od", str(folder), *args, str(port)], port, log):
        yield port


@dataclass(frozen=True)
class DcmqrScp:
    """A small PACS: C-STORE, C-FIND, C-GET, C-MOVE."""

    port: int
    ae_title: str


@contextmanager
def running_dcmqrscp(
    folder: Path,
    port: int | None = None,
    ae_title: str = "DCMQRSCP",
    *,
    args: Iterable[str] = (),
    movers: Mapping[str, int] | None = None,
    log: Path | None = None,
) -> Iterator[DcmqrScp]:
    """dcmqrscp with its data base in ``folder``; takes everything from anyone. ``movers``: ports by AE title.

    ``log`` gets what it says (``-d`` for more).
    """
    data = folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    config = folder / "dcmqrscp.cfg"
    hosts = "".join(f"{name.lower()} = ({name}, 127.0.0.1, {at})\n" for name, at in (movers or {}).items())
    config.write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 131072\nMaxAssociations = 16\n"
        f"HostTable BEGIN\n{hosts}HostTable END\nVendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\n{ae_title} {data} RW (200, 1024mb) ANY\nAETable END\n"
    )
    with _running(["dcmqrscp", *args, "-c", str(config)], port, log):
        yield DcmqrScp(port, ae_title)


@contextmanager
def _running(command: list[str], port: int, log: Path | None = None) -> Iterator[None]:
    with (log or Path(os.devnull)).open("wb") as said:
        process = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT)
    try:
        _wait_for_port(port, process)
        yield
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for_port(port: int, process: subprocess.Popen[bytes], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection((HOST, port), timeout=1).close()
        except OSError:
            assert process.poll() is None, f"{process.args!r} ended"
            assert time.monotonic() < deadline, f"{process.args!r} does not listen on {port}"
            time.sleep(0.05)
        else:
            return


def _run(command: list[str], timeout: float) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout, check=False
    )
