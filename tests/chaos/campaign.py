"""A node under load, hurt again and again; then the count of what it lost.

``python -m tests.chaos.campaign --help``; `scripts/chaos` runs it with everything installed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.chaos.faults import GROUPS, KILLS, POSTGRES, CannotHappenHere, Fault, small_disks, wallclock
from tests.chaos.installation import Installation
from tests.chaos.ledger import Ledger, Verdict
from tests.chaos.senders import Senders, make_series
from tests.peers.fhir_server import FhirServer
from tests.peers.postgres import PostgresAbsent, PostgresServer

Say = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """``faults`` of ``group`` over ``series`` series sent by ``senders`` threads; seconds ``between`` two faults.

    Of so many faults (``at_work``, a share) each waits until all processes of the node are ready, so that they are hurt
    at work; the others come as they come, also while processes start. ``drain``: seconds in which something must go on,
    afterwards, until all is finished.
    """

    backend: str
    group: str
    faults: int
    series: int
    seed: int = 1
    senders: int = 3
    slices: int = 4
    matrix: int = 64
    between: tuple[float, float] = (0.5, 4.0)
    at_work: float = 0.5
    drain: float = 900.0


@dataclass(frozen=True)
class Report:
    """What one campaign did and found."""

    plan: Plan
    faults: dict[str, int]
    send_attempts: int
    seconds: float
    verdict: Verdict


@dataclass
class _Progress:
    """Series are sent no faster than faults are made, so that there is load until the last fault."""

    plan: Plan
    made: int = 0
    begun: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def pause(self) -> float:
        with self.lock:
            self.begun += 1
            ahead = self.begun / self.plan.series - (self.made + 1) / self.plan.faults
        return 0.2 if ahead <= 0 else min(8.0, ahead * self.plan.faults * sum(self.plan.between) / 2)


def run(
    plan: Plan, folder: Path, *, postgres: PostgresServer | None, fhir: FhirServer | None, say: Say = lambda _: None
) -> Report:
    """Carry ``plan`` out in ``folder``.

    Raises
    ------
    CannotHappenHere
        where this machine does not let such faults be made.
    AssertionError
        where the node does not come back or does not finish.
    """
    chance = random.Random(plan.seed)
    clock = wallclock(folder) if plan.group == "clock" else None
    begun = time.monotonic()
    with contextlib.ExitStack() as stack:
        house = Installation(folder, postgres=postgres, fhir=fhir, wallclock=clock, seed=plan.seed)
        if plan.group == "disk":
            stack.enter_context(small_disks(house.data))
        house.prepare()
        stack.enter_context(house)
        ledger = Ledger()
        series = [make_series(number, slices=plan.slices, matrix=plan.matrix) for number in range(plan.series)]
        senders = Senders(series, house.to_node, ledger, folder / "outgoing", seed=plan.seed)
        progress = _Progress(plan)
        senders.start(plan.senders, progress.pause)
        made = _hurt(house, plan, chance, progress, say)
        house.clock_jumps(0)
        say(f"{sum(made.values())} faults made, {len(ledger)} instances acknowledged; waiting for the rest")
        house.until(lambda: senders.finished, plan.drain, "the senders finish", lambda: len(ledger))
        uids = {str(instances[0].SeriesInstanceUID) for instances in series}
        house.drained_of(uids, plan.drain)
        retried = house.retry_dead()
        house.drained_of(uids, plan.drain)
        verdict = ledger.verdict(
            store=house.settings.store_dir,
            jobs=house.jobs(),
            pacs=house.pacs.stored,
            folder=house.archive,
            reports=house.reports(),
            dead_letters_retried=retried,
        )
    return Report(plan, dict(made), senders.attempts, round(time.monotonic() - begun, 1), verdict)


def _hurt(house: Installation, plan: Plan, chance: random.Random, progress: _Progress, say: Say) -> Counter[str]:
    faults: dict[str, Fault] = dict(GROUPS[plan.group])
    if plan.group == "kills" and house.postgres is not None:
        faults |= POSTGRES
    if house.fhir is None:
        faults = {name: fault for name, fault in faults.items() if "FHIR" not in name}
    made: Counter[str] = Counter()
    order: list[str] = []
    for number in range(1, plan.faults + 1):
        if not order:  # each as often as any other, in an order of chance
            order = chance.sample(sorted(faults), len(faults))
        name = order.pop()
        if chance.random() < plan.at_work:
            house.until(house.at_work, plan.drain, "every process is ready")
        time.sleep(chance.uniform(*plan.between))
        faults[name](house, chance)
        made[name] += 1
        progress.made = number
        say(f"{number}/{plan.faults} {name}")
    return made


def markdown(reports: list[Report]) -> str:
    """The reports as two tables."""
    head = "| database | faults | series | instances acknowledged | lost | results missing | results doubled |"
    lines = [head, "|---|---|---|---|---|---|---|"]
    for report in reports:
        found = report.verdict
        total = sum(report.faults.values())
        lines.append(
            f"| {report.plan.backend} | {total} × {report.plan.group} | {found.series} | {found.acknowledged}"
            f" | {found.lost} | {found.missing} | {found.doubled} |"
        )
    lines += ["", "| fault | count | instances lost | results missing | results doubled |", "|---|---|---|---|---|"]
    for report in reports:
        found = report.verdict
        lines += [
            f"| {report.plan.backend}: {name} | {count} | {found.lost} | {found.missing} | {found.doubled} |"
            for name, count in sorted(report.faults.items())
        ]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/chaos", description=__doc__)
    parser.add_argument("--backend", choices=["sqlite", "postgresql", "both"], default="both")
    parser.add_argument("--groups", default=",".join(GROUPS), help=f"default: {','.join(GROUPS)}")
    parser.add_argument("--kills", type=int, default=200, help="kills for each database (default 200)")
    parser.add_argument("--series", type=int, default=300, help="series under the kills (default 300)")
    parser.add_argument("--others", type=int, default=24, help="faults of each other group (default 24)")
    parser.add_argument("--other-series", type=int, default=40, help="series under each other group (default 40)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("chaos-report"), help="folder for report.json and report.md")
    parser.add_argument("--no-fhir", action="store_true", help="without the FHIR server")
    arguments = parser.parse_args()
    wanted = ["sqlite", "postgresql"] if arguments.backend == "both" else [arguments.backend]
    reports: list[Report] = []
    skipped: list[str] = []
    arguments.out.mkdir(parents=True, exist_ok=True)
    for backend in wanted:
        for group in arguments.groups.split(","):
            kills = GROUPS[group] is KILLS
            plan = Plan(
                backend,
                group,
                faults=arguments.kills if kills else arguments.others,
                series=arguments.series if kills else arguments.other_series,
                seed=arguments.seed,
            )
            try:
                reports.append(run_here(plan, fhir=not arguments.no_fhir, say=_say))
            except (CannotHappenHere, PostgresAbsent) as reason:
                skipped.append(f"{backend}, {group}: not run: {reason}")
            write(reports, skipped, arguments.out)
    _say((arguments.out / "report.md").read_text())
    found = [report.verdict for report in reports]
    return int(any(verdict.lost or verdict.missing or verdict.doubled for verdict in found))


def run_here(plan: Plan, *, fhir: bool, say: Say) -> Report:
    """Carry ``plan`` out in a folder of its own, with the servers it needs."""
    from tests.peers.fhir_server import start_fhir_server

    with contextlib.ExitStack() as stack:
        postgres = None
        if plan.backend == "postgresql":
            postgres = PostgresServer()
            stack.callback(postgres.close)
        server = stack.enter_context(start_fhir_server()) if fhir else None
        folder = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="candela-chaos-", ignore_cleanup_errors=True))
        )
        say(f"{plan.backend}, {plan.group}: {plan.faults} faults over {plan.series} series, seed {plan.seed}")
        try:
            return run(plan, folder, postgres=postgres, fhir=server, say=say)
        except AssertionError:
            kept = Path(tempfile.gettempdir()) / f"candela-chaos-{plan.backend}-{plan.group}.log"
            kept.write_bytes((folder / "node.log").read_bytes())
            say(f"the node's log is kept at {kept}")
            raise


def write(reports: list[Report], skipped: list[str], out: Path) -> None:
    """report.json and report.md in ``out``."""
    content = {"reports": [asdict(report) for report in reports], "not_run": skipped}
    (out / "report.json").write_text(json.dumps(content, indent=1) + "\n")
    notes = "".join(f"\n- {line}\n" for line in skipped)
    details = "".join(
        f"\n- {report.plan.backend}, {report.plan.group}: {line}\n"
        for report in reports
        for line in report.verdict.details
    )
    (out / "report.md").write_text(markdown(reports) + notes + details)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
