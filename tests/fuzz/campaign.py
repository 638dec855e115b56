"""The real receiver under spoiled conversations: it stays up, serves the next sender, and its memory stays bounded.

``python -m tests.fuzz.campaign --seconds 3600``; `scripts/fuzz` runs it with everything installed. What brings the
receiver down is written to ``--out`` and can be said again with ``--again FILE``.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline import phantom
from tests.fuzz.conversation import record, say, spoiled
from tests.peers.receiver import Process, send

MEMORY_MB = 400
"""By how much the receiver may grow over what it had after its first sender."""
CHECK_EVERY = 50
PATIENCE = 5.0


@dataclass(frozen=True)
class Found:
    """How a run went: ``trouble`` is empty where all was well."""

    conversations: int
    checks: int
    seconds: float
    memory_before_mb: float
    memory_most_mb: float
    stray_files: int
    trouble: str


def run(folder: Path, out: Path, *, seconds: float, seed: int) -> Found:
    """Talk to a receiver in ``folder`` for ``seconds``."""
    chance = random.Random(seed)
    series = phantom.head_phantom(slices=3, matrix=32, header=phantom.Header(key="fuzz"))
    pdus = record(series)
    process = Process(folder)
    process.start()
    begun = time.monotonic()
    talks = checks = 0
    trouble = ""
    recent: list[list[bytes]] = []
    try:
        healthy(process, 0)
        before = most = memory_mb(process)
        while time.monotonic() - begun < seconds and not trouble:
            recent = [*recent[-CHECK_EVERY:], spoiled(pdus, chance)]
            talks += 1
            try:
                say(process.port, recent[-1])
            except OSError as error:
                trouble = f"no connection: {error}"
            if talks % CHECK_EVERY == 0 or trouble:
                checks += 1
                trouble = trouble or healthy(process, talks)
                most = max(most, memory_mb(process))
                if most - before > MEMORY_MB:
                    trouble = f"grew from {before:.0f} to {most:.0f} MB"
        stray = [path for path in folder.rglob("*") if path.is_file() and not _expected(path, folder)]
        if stray and not trouble:
            trouble = f"files where none should be: {', '.join(map(str, stray[:5]))}"
    finally:
        process.kill()
    if trouble:
        out.mkdir(parents=True, exist_ok=True)
        content = {"seed": seed, "conversations": [[pdu.hex() for pdu in talk] for talk in recent]}
        (out / f"trouble-{seed}.json").write_text(json.dumps(content))
    return Found(talks, checks, round(time.monotonic() - begun, 1), before, most, len(stray), trouble)


def healthy(process: Process, number: int) -> str:
    """Whether the receiver takes a good series within `PATIENCE` seconds; what is wrong, or nothing.

    A caller that hung up gives its place back at once, so a good one is turned away for a moment at most.
    """
    deadline = time.monotonic() + PATIENCE
    while (trouble := _trouble(process, number)) and time.monotonic() < deadline and process.runs():
        time.sleep(1)
    return trouble


def _trouble(process: Process, number: int) -> str:
    series = phantom.head_phantom(slices=2, matrix=32, header=phantom.Header(key=f"good {number}"))
    if not process.runs():
        return "the receiver died"
    try:
        statuses = set(send(process.port, series))
    except (AssertionError, OSError) as error:
        return f"a good sender was not served: {type(error).__name__}"
    if statuses != {0x0000}:
        return f"a good series was answered with {sorted(statuses)}"
    kept = process.store / series[0].SeriesInstanceUID
    return "" if len(list(kept.glob("*.dcm"))) == 2 else "a good series is not in the store"


def memory_mb(process: Process) -> float:
    """Resident memory of the receiver."""
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def again(folder: Path, file: Path) -> str:
    """Say again what brought a receiver down; what is wrong then, or nothing."""
    process = Process(folder)
    process.start()
    try:
        for talk in json.loads(file.read_text())["conversations"]:
            say(process.port, [bytes.fromhex(pdu) for pdu in talk])
        return healthy(process, 0)
    finally:
        process.kill()


def _expected(path: Path, folder: Path) -> bool:
    """The data folder and the harness's own note; a file elsewhere would have climbed out."""
    parts = path.relative_to(folder).parts
    if parts == ("taken.jsonl",) or parts[:2] == ("data", "audit"):
        return True
    return parts[0] == "data" and (
        path.suffix in (".dcm", ".json") or "index.sqlite" in path.name or path.name == ".lock"
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--seed", type=int, default=None, help="default: of the clock; it is printed")
    parser.add_argument("--out", type=Path, default=Path("fuzz-report"))
    parser.add_argument("--again", type=Path, help="a trouble file of an earlier run")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="candela-fuzz-", ignore_cleanup_errors=True) as folder:
        if arguments.again:
            trouble = again(Path(folder), arguments.again)
            print(trouble or "nothing went wrong this time")
            return int(bool(trouble))
        seed = arguments.seed if arguments.seed is not None else int(time.time())
        print(f"seed {seed}", file=sys.stderr, flush=True)
        found = run(Path(folder), arguments.out, seconds=arguments.seconds, seed=seed)
    print(json.dumps(asdict(found), indent=1))
    return int(bool(found.trouble))


if __name__ == "__main__":
    sys.exit(main())
