"""Instances a second: Candela's durable listener beside dcmtk's storescp, which syncs nothing, in one run.

    python bench/receive.py [--instances 100] [--rounds 5] [--associations 1 4]

Senders are dcmtk's storescu: as Debian ships it, with Nagle's algorithm on, which costs a receiver that does not mind
it two stalls of 40 ms an instance; or with ``--nodelay`` as senders that know better. The receivers take turns, so that
a busy machine harms both alike; medians and their ratio are printed. Candela runs in a process of its own.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from pydicom.dataset import Dataset  # noqa: E402
from pydicom.uid import generate_uid  # noqa: E402

from pipeline import phantom  # noqa: E402  (runs from anywhere)
from tests.peers.dcmtk import running_storescp, start_storescu  # noqa: E402
from tests.peers.receiver import Process  # noqa: E402


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


def rate(sets: list[list[Path]], port: int, called: str) -> float:
    """Instances a second over all associations at once, association set-up included."""
    began = time.perf_counter()
    senders = [start_storescu(files, port, "-R", called=called) for files in sets]
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
    options = parser.parse_args()
    os.environ["TCP_NODELAY"] = "1" if options.nodelay else "0"  # read by dcmtk
    with tempfile.TemporaryDirectory(dir=options.dir) as name:
        folder = Path(name)
        candela = Process(folder / "candela")
        candela.folder.mkdir()
        candela.start()
        try:
            with running_storescp(folder / "storescp", None, ae_title="STORESCP") as port:
                receivers: dict[str, Callable[[list[list[Path]]], float]] = {
                    "candela, durable": lambda sets: rate(sets, candela.port, "CANDELA"),
                    "dcmtk storescp": lambda sets: rate(sets, port, "STORESCP"),
                }
                compare(receivers, folder, options)
        finally:
            candela.kill()


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
