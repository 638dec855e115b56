"""Reports a second to a FHIR R4 server, posted twice over: as many reports as were posted once are left.

    python bench/fhir_post.py [--reports 1000] [--senders 2]

The server is the one of the tests (Node.js, in memory, three validators), so the rate is mostly the server's. Beside
Candela's client, in turns of a hundred, bare httpx posts reports of the same kind, each on a connection of its own as
well: their ratio is what resolving and reading the answer cost. Medians over the turns.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import httpx  # noqa: E402

from fhir.server.client import FhirClient  # noqa: E402  (runs from anywhere)
from tools.fhir_server import FhirServer, running_fhir_server  # noqa: E402
from tools.small_bundle import small_bundle  # noqa: E402

TURN = 100


def rate(post: Callable[[dict[str, Any]], object], keys: Iterable[str], senders: int) -> float:
    """Reports a second."""
    bundles = [small_bundle(key) for key in keys]
    began = time.perf_counter()
    with ThreadPoolExecutor(senders) as pool:
        list(pool.map(post, bundles))
    return len(bundles) / (time.perf_counter() - began)


def bare(server: FhirServer) -> Callable[[dict[str, Any]], object]:
    def post(bundle: dict[str, Any]) -> None:
        with httpx.Client(trust_env=False, timeout=60, verify=False) as http:
            http.post(server.url, json=bundle).raise_for_status()

    return post


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--reports", type=int, default=1000)
    parser.add_argument("--senders", type=int, default=2, help="requests in flight")
    options = parser.parse_args()
    with running_fhir_server() as server:
        client, plain = FhirClient(server.url, timeout=60), bare(server)
        rates: dict[str, list[float]] = {"new": [], "again": [], "bare httpx": []}
        for start in range(0, options.reports, TURN):
            numbers = range(start, min(start + TURN, options.reports))
            rates["new"].append(rate(client.send, (f"bench-{n}" for n in numbers), options.senders))
            rates["bare httpx"].append(rate(plain, (f"bare-{n}" for n in numbers), options.senders))
        for start in range(0, options.reports, TURN):
            numbers = range(start, min(start + TURN, options.reports))
            rates["again"].append(rate(client.send, (f"bench-{n}" for n in numbers), options.senders))
        stored = server.count("DiagnosticReport")
    left = stored - options.reports  # the bare client's
    median = {name: statistics.median(found) for name, found in rates.items()}
    print(f"{options.reports} reports posted twice over: {left} left")
    print(f"{'posted':<12}{'reports/s':>10}{'of bare httpx':>15}")
    for name, value in median.items():
        print(f"{name:<12}{value:>10.1f}{value / median['bare httpx']:>15.2f}")
    if left != options.reports:
        raise SystemExit("reports were doubled or lost")


if __name__ == "__main__":
    main()
