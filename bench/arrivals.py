"""Milliseconds to take one arriving instance into the series index, by how many the series has already.

    python bench/arrivals.py [--instances 5000] [--rounds 3]

The monitor takes each instance in alone, as from a sender that is slower than `GATHER`; nothing is stored. The first
and the last tenth of the series are compared: their ratio says whether the cost grows with the series. Medians over
the rounds.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from pydicom.dataset import Dataset  # noqa: E402

from dicom_node.completion.monitor import SeriesMonitor  # noqa: E402
from dicom_node.observability.counters import Counters  # noqa: E402  (runs from anywhere)
from dicom_node.settings.receive import Completion  # noqa: E402
from dicom_node.store.header import InstanceHeader  # noqa: E402
from dicom_node.store.instance_store import InstanceStore, Stored  # noqa: E402
from dicom_node.store.series_index import Arrival, SeriesIndex  # noqa: E402


def arrival(number: int) -> Arrival:
    header = InstanceHeader("1.2.840.10008.5.1.4.1.1.4", f"1.2.3.4.{number}", "1.2.3", "1.2.3.5", Dataset())
    return Arrival(Stored(header, f"1.2.3.5/1.2.3.4.{number}.dcm", "0" * 64, 1, "MODALITY", float(number)), own=False)


def turn(instances: int) -> tuple[float, float, float]:
    """Seconds for the first tenth, the last tenth, and all."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store, index = InstanceStore(folder / "store"), SeriesIndex(folder / "index.sqlite")
        monitor = SeriesMonitor(
            index,
            store,
            Completion(),
            lambda _: None,
            {},
            Counters(),
            clock=time.time,
            monotonic=time.monotonic,
        )
        marks = []
        for number in range(instances):
            if number in (0, instances // 10, instances - instances // 10):
                marks.append(time.perf_counter())
            monitor.arrived(arrival(number))
            monitor.step()
        marks.append(time.perf_counter())
        index.close()
        store.close()
    return marks[1] - marks[0], marks[3] - marks[2], marks[3] - marks[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--instances", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    rounds = [turn(options.instances) for _ in range(options.rounds)]
    first, last, whole = (statistics.median(values) for values in zip(*rounds, strict=True))
    each = 1000 / (options.instances // 10)
    print(f"first tenth {first * each:.2f} ms an instance, last tenth {last * each:.2f}, ratio {last / first:.1f}")
    print(f"all {options.instances}: {whole:.1f} s")


if __name__ == "__main__":
    main()
