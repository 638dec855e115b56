"""Instances a second: Candela's durable listener beside dcmtk's storescp, which syncs nothing, in one run.

    python bench/receive.py [--instances 100] [--rounds 5] [--associations 1 4]

Senders are dcmtk's storescu: as Debian ships it, with Nagle's algorithm on, which costs a receiver without a remedy two
stalls of 40 ms an instance; or with ``--nodelay`` without it. The receivers take turns, so that a busy machine harms
both alike; medians and their ratio are printed. Candela runs in its own process.
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from pydicom.dataset import Dataset  # noqa: E402
from pydicom.uid import generate_uid  # noqa: E402

from dicom_node.node.receiver import Receiver  # noqa: E402
from dicom_node.observability import log as observability  # noqa: E402
from dicom_node.settings.receive import Receive  # noqa: E402
from dicom_node.settings.tree import Settings  # noqa: E402
from pipeline import phantom  # noqa: E402  (runs from anywhere)

HOST = "127.0.0.1"
STARTS_WITHIN = 30.0
"""Seconds."""


def make(series: tuple[Dataset, ...], folder: Path, associations: int, turn: str) -> list[list[Path]]:
    """The files of each association: ``series`` under UIDs that were never sent before."""
    made = []
    for number in range(associations):
        series_uid = generate_uid()
        for ds in series:
            ds.SeriesInstanceUID, ds.SOPInstanceUID = series_uid, generate_uid()
            ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        made.append(phantom.save(series, folder / f"{turn}-{number}"))
    return made


def serve(folder: Path, port: int) -> None:
    """Be Candela's receiver, without jobs behind it, until a signal ends this process."""
    observability.configure()
    settings = Settings(data_dir=folder, receive=Receive(port=port, accept_any_peer=True))
    Receiver(settings, lambda _series: None, {}, lambda _dataset: False).start()
    threading.Event().wait()


@contextmanager
def running(command: list[str], port: int) -> Iterator[int]:
    """The program ``command``, which listens on ``port``; killed at the end."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + STARTS_WITHIN
        while not listens(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{command[0]} does not listen on port {port}")
            time.sleep(0.05)
        yield port
    finally:
        process.kill()
        process.wait()


def listens(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def rate(sets: list[list[Path]], port: int, called: str) -> float:
    """Instances a second over all associations at once, association set-up included."""
    began = time.perf_counter()
    command = ["storescu", "-v", "-aet", "MODALITY", "-aec", called, "-R", HOST, str(port)]
    senders = [
        subprocess.Popen([*command, *map(str, files)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for files in sets
    ]
    for sender in senders:
        output, _ = sender.communicate()
        if sender.returncode != 0 or output.count("Received Store Response (Success)") != len(sets[0]):
            raise SystemExit(f"a sender failed:\n{output[-2000:]}")
    return sum(map(len, sets)) / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--instances", type=int, default=100, help="for each association")
    parser.add_argument("--matrix", type=int, default=512, help="rows and columns, 16 bit")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--associations", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--dir", type=Path, help="on the disk to be measured (default: the temporary folder)")
    parser.add_argument("--nodelay", action="store_true", help="senders without Nagle's algorithm")
    parser.add_argument("--serve", nargs=2, metavar=("DIR", "PORT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(Path(options.serve[0]), int(options.serve[1]))
    os.environ["TCP_NODELAY"] = "1" if options.nodelay else "0"  # read by dcmtk
    with tempfile.TemporaryDirectory(dir=options.dir) as name:
        folder = Path(name)
        (folder / "storescp").mkdir()
        ours, theirs = free_port(), free_port()
        candela = [sys.executable, __file__, "--serve", str(folder / "candela"), str(ours)]
        storescp = ["storescp", "--fork", "-aet", "STORESCP", "-od", str(folder / "storescp"), str(theirs)]
        with running(candela, ours), running(storescp, theirs):
            receivers: dict[str, Callable[[list[list[Path]]], float]] = {
                "candela, durable": lambda sets: rate(sets, ours, "CANDELA"),
                "dcmtk storescp": lambda sets: rate(sets, theirs, "STORESCP"),
            }
            compare(receivers, folder, options)


def compare(
    receivers: dict[str, Callable[[list[list[Path]]], float]], folder: Path, options: argparse.Namespace
) -> None:
    """Take turns, print medians and their ratio."""
    print(f"{options.instances} instances of {options.matrix}² an association, {options.rounds} rounds, instances/s")
    series = phantom.head_phantom(slices=options.instances, matrix=options.matrix)
    for associations in options.associations:
        figures: dict[str, list[float]] = {receiver: [] for receiver in receivers}
        for turn in range(options.rounds):
            sets = make(series, folder, associations, f"{associations}-{turn}")
            order = list(receivers) if turn % 2 else list(receivers)[::-1]
            for receiver in order:
                figures[receiver].append(receivers[receiver](sets))
            for path in (path for files in sets for path in files):
                path.unlink()
        medians = {receiver: statistics.median(values) for receiver, values in figures.items()}
        for receiver, median in medians.items():
            low, high = min(figures[receiver]), max(figures[receiver])
            print(f"{associations:3d} associations  {receiver:18s} {median:7.0f}  ({low:.0f} to {high:.0f})")
        ours, theirs = medians.values()
        print(f"{associations:3d} associations  ratio {ours / theirs:.2f}  (load {os.getloadavg()[0]:.1f})")


if __name__ == "__main__":
    main()
