"""Orthanc sends each stable series to Candela, again and again until Candela has taken it.

A script for Orthanc's Python plugin (``"PythonScript"``), standalone: inside Orthanc the module name ``orthanc`` is
Orthanc's own, and nothing of Candela's packages is there.

The usual scripts send on ``StableSeries`` and lose failed series, and Orthanc forgets which series were not yet stable
when it stops. This script reads Orthanc's own log of changes, which is written with the images, and keeps its position
in the log, with the waiting series, in Orthanc's database. So neither a stop of Orthanc at any moment nor days without
Candela lose a series. Sending twice is harmless (Candela recognises a series that it has), losing one is not, so the
script sends again in case of doubt. ``GET /candela/waiting`` shows the waiting series and the reasons.

A series is sent once per set of instances: a late slice sends it again, a restart does not. Candela's own results are
never sent back to it (`is_result`). Series that were in the archive before this script are not sent.
"""

# ruff: noqa: INP001 - Orthanc loads this file by its path; it belongs to no package
from __future__ import annotations

import hashlib
import importlib
import json
import re
import threading
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

host: Any = importlib.import_module("orthanc")  # by name: type checkers would take it for the package around this file

STATE = 4710
"""Number of the global property that holds the place in the log and the waiting series; of the metadata, what of a
series Candela has taken. Users' numbers are 1024 and above."""
PAGE = 500
NOT_THERE = (7, 17)
"""Orthanc's error codes InexistentItem and UnknownResource: the resource was deleted meanwhile."""
CONTRIBUTING_EQUIPMENT = "ContributingEquipmentSequence"
CREATOR_UID = "2.25.228291546579708553250654411495000395249"
"""Instance Creator UID of everything that Candela makes."""
PROCESSING = ("109102", "DCM")
MARKS_ENOUGH = 2


@dataclass(frozen=True)
class Settings:
    """The ``CandelaRoute`` section of Orthanc's configuration; times in seconds.

    ``Target`` names Candela in ``DicomModalities``; ``Modalities`` are the values of (0008,0060) that are sent;
    ``IgnoreCallingAets`` are AE titles whose series are never sent, besides Candela's own. After a failure a series
    waits ``FirstRetry``, then twice as long each time, at most ``LongestRetry``; a Candela that does not answer is
    asked by C-ECHO at the same intervals, and nothing is sent until it does.
    """

    Target: str = "candela"
    Modalities: tuple[str, ...] = ("MR",)
    IgnoreCallingAets: tuple[str, ...] = ()
    SendsAtOnce: int = 2
    FirstRetry: float = 5
    LongestRetry: float = 60

    @classmethod
    def of(cls, section: Mapping[str, Any]) -> Settings:
        """Settings from the configuration's section. ValueError for a name that does not exist or a wrong type."""
        known = {item.name: getattr(cls, item.name) for item in fields(cls)}
        values: dict[str, Any] = {}
        for name, value in section.items():
            if name not in known:
                raise ValueError(f"CandelaRoute.{name}: there is no such setting (known: {', '.join(known)})")
            wanted: tuple[type, ...] = (list,) if isinstance(known[name], tuple) else (type(known[name]),)
            if wanted in ((int,), (float,)):
                wanted = (int, float)
            if not isinstance(value, wanted) or isinstance(value, bool):
                raise ValueError(f"CandelaRoute.{name}: {value!r} is no {wanted[0].__name__}")  # noqa: TRY004 one error for both
            values[name] = tuple(str(item) for item in value) if isinstance(value, list) else value
        return cls(**values)

    def delay(self, tries: int) -> float:
        """Seconds to wait after the ``tries``-th failure (from 1)."""
        return float(min(self.FirstRetry * 2 ** min(tries - 1, 30), self.LongestRetry))


@dataclass
class Waiting:
    """A series that Candela has not taken yet. ``due``: monotonic clock; ``job``: Orthanc's, while it runs."""

    tries: int = 0
    due: float = 0.0
    job: str = ""
    digest: str = ""
    error: str = ""


def is_result(tags: Mapping[str, Any]) -> bool:
    """Whether the instance with these tags (Orthanc's simplified form) was made by Candela.

    The data decide, not the sender: a result may return through another archive, under any AE title. The
    rule is that of Candela's own loop guard (``pipeline/findings/own_results.py``): Candela's Instance Creator UID, or
    two of the marks manufacturer, software version and description on one piece of equipment.
    """
    if tags.get("InstanceCreatorUID") == CREATOR_UID:
        return True
    description = str(tags.get("SeriesDescription") or "").strip()
    if marks(tags, description.startswith("AI ") and "for review, not for diagnosis" in description) >= MARKS_ENOUGH:
        return True
    for item in tags.get(CONTRIBUTING_EQUIPMENT) or []:
        purposes = item.get("PurposeOfReferenceCodeSequence") or []
        if any((code.get("CodeValue"), code.get("CodingSchemeDesignator")) == PROCESSING for code in purposes):
            said = str(item.get("ContributionDescription") or "")
            if marks(item, said.startswith("Computed by an algorithm.")) >= MARKS_ENOUGH:
                return True
    return False


def marks(equipment: Mapping[str, Any], described: bool) -> int:
    """Number of Candela's three marks on a piece of equipment."""
    maker = str(equipment.get("Manufacturer") or "").strip().casefold() == "candela"
    version = str(equipment.get("SoftwareVersions") or "").split("\\")[-1].strip()
    return maker + (re.fullmatch("[0-9a-f]{16}", version) is not None) + described


def digest_of(instances: list[str]) -> str:
    """Short fingerprint of a set of Orthanc instance identifiers."""
    return hashlib.sha256("\n".join(sorted(instances)).encode()).hexdigest()[:16]


def get(uri: str) -> Any:
    """Orthanc's answer to a GET, or None where the resource does not exist (any more)."""
    try:
        return json.loads(host.RestApiGet(uri))
    except host.OrthancException as error:
        if error.args and error.args[0] in NOT_THERE:
            return None
        raise


class Router:
    """The waiting series and the thread that works through them.

    ``in_doubt``: the last send failed, so Candela must answer a C-ECHO before the next. While Candela is down, this
    costs one C-ECHO now and then instead of one per series.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.wake = threading.Event()
        self.stopping = False
        self.place = 0
        self.waiting: dict[str, Waiting] = {}
        self.saved = ""
        self.in_doubt = False
        self.echoes = 0
        self.next_echo = 0.0
        self.thread = threading.Thread(target=self.run, name="candela-route", daemon=True)

    def start(self) -> None:
        """Resume from the stored state, then work. Called once Orthanc answers."""
        state = json.loads(host.GetGlobalProperty(STATE, "") or "null")
        if state is None:  # the first start: series that are in the archive already are not sent
            self.place = get("/changes?last")["Last"]
        else:
            self.place = state["place"]
            self.waiting = {series: Waiting(tries=tries) for series, tries in state["waiting"].items()}
        if self.waiting:
            host.LogWarning(f"candela_route: {len(self.waiting)} series were waiting when Orthanc stopped")
        self.thread.start()

    def stop(self) -> None:
        self.stopping = True
        self.wake.set()
        self.thread.join(timeout=10)

    def run(self) -> None:
        """Run once a second, or as soon as something happened."""
        while not self.stopping:
            self.wake.clear()
            try:
                self.turn()
            except Exception:  # noqa: BLE001 a thread that died would lose series in silence; the next turn tries again
                host.LogError(f"candela_route: {traceback.format_exc()}")
            self.wake.wait(1.0)

    def turn(self) -> None:
        """Read new changes, check finished jobs, send due series."""
        self.read_changes()
        self.see_jobs()
        self.send_due()
        self.save()

    def save(self) -> None:
        """Store position and waiting series in one property, so that both are stored or neither."""
        waiting = {series: item.tries for series, item in self.waiting.items()}
        state = json.dumps({"place": self.place, "waiting": waiting})
        if state != self.saved:
            host.SetGlobalProperty(STATE, state)
            self.saved = state

    def read_changes(self) -> None:
        """Note each series that got an instance or became stable since ``place``."""
        done = False
        while not done and not self.stopping:
            page = get(f"/changes?since={self.place}&limit={PAGE}")
            parents: dict[str, str] = {}
            for change in page["Changes"]:
                if change["ChangeType"] == "StableSeries":
                    self.note(change["ID"])
                elif change["ChangeType"] == "NewInstance" and change["ID"] not in parents:
                    instance = get(f"/instances/{change['ID']}")
                    series = get(f"/series/{instance['ParentSeries']}") if instance else None
                    if series:
                        parents.update(dict.fromkeys(series["Instances"], series["ID"]))
                        self.note(series["ID"])
            self.place = max(self.place, page["Last"])
            done = page["Done"]
            self.save()

    def note(self, series: str) -> None:
        if series not in self.waiting:
            self.waiting[series] = Waiting()

    def see_jobs(self) -> None:
        """Check the jobs that were sending."""
        for series, item in list(self.waiting.items()):
            if not item.job:
                continue
            job = get(f"/jobs/{item.job}")
            state = job["State"] if job else "Forgotten"
            if state in ("Pending", "Running", "Retry", "Paused"):
                continue
            item.job = ""
            if state == "Success":
                self.mark(series, item)
            else:
                self.failed(series, item, job.get("ErrorDescription", state) if job else state)

    def mark(self, series: str, item: Waiting) -> None:
        """Record on the series which instances Candela has; it stops waiting when `send` finds nothing new."""
        item.tries, item.error = 0, ""
        try:
            host.RestApiPut(f"/series/{series}/metadata/{STATE}", item.digest)
        except host.OrthancException as error:
            if error.args[0] not in NOT_THERE:  # deleted during the transfer
                raise
        host.LogWarning(f"candela_route: series {series} sent")  # warning: the level that Orthanc shows by default

    def failed(self, series: str, item: Waiting, why: str) -> None:
        self.in_doubt = True
        item.tries += 1
        item.error = why
        delay = self.settings.delay(item.tries)
        item.due = time.monotonic() + delay
        host.LogWarning(f"candela_route: series {series} not sent ({why}), try {item.tries}; again in {delay:.0f} s")

    def send_due(self) -> None:
        """Start jobs for the due series, longest due first."""
        now = time.monotonic()
        if all(item.job or item.due > now for item in self.waiting.values()) or not self.answers(now):
            return
        sending = sum(1 for item in self.waiting.values() if item.job)
        for series, item in sorted(self.waiting.items(), key=lambda pair: pair[1].due):
            if self.stopping or sending >= self.settings.SendsAtOnce or item.due > now:
                break
            if not item.job and self.send(series, item):
                sending += 1

    def answers(self, now: float) -> bool:
        """Whether Candela seems to run; asks by C-ECHO only after a failure."""
        if not self.in_doubt:
            return True
        if now < self.next_echo:
            return False
        try:
            host.RestApiPost(f"/modalities/{self.settings.Target}/echo", json.dumps({"Timeout": 5}))
        except host.OrthancException as error:
            self.echoes += 1
            delay = self.settings.delay(self.echoes)
            self.next_echo = now + delay
            host.LogWarning(
                f"candela_route: {self.settings.Target} does not answer ({error.args[-1]}), {len(self.waiting)} series "
                f"wait; asked again in {delay:.0f} s"
            )
            return False
        self.in_doubt, self.echoes = False, 0
        return True

    def send(self, series: str, item: Waiting) -> bool:
        """Start a job for ``series`` if it is stable and Candela should have it; True where one was started."""
        about = get(f"/series/{series}")
        if about is None or not self.wanted(about):
            del self.waiting[series]
            return False
        if not about["IsStable"]:
            return False
        item.digest = digest_of(about["Instances"])
        marks = get(f"/series/{series}/metadata?expand") or {}
        if item.digest in marks.values():
            del self.waiting[series]
            return False
        order = {"Resources": [series], "Synchronous": False}
        try:
            item.job = json.loads(host.RestApiPost(f"/modalities/{self.settings.Target}/store", json.dumps(order)))[
                "ID"
            ]
        except host.OrthancException as error:  # no such modality, or it may not be stored to
            self.failed(series, item, f"{self.settings.Target}: {error.args[-1]}")
            return False
        return True

    def wanted(self, about: Mapping[str, Any]) -> bool:
        """Whether the series is of a modality for Candela and not from Candela."""
        if about["MainDicomTags"].get("Modality") not in self.settings.Modalities or not about["Instances"]:
            return False
        first = about["Instances"][0]
        caller = (get(f"/instances/{first}/metadata?expand") or {}).get("RemoteAET", "")
        return caller not in self.ignored() and not is_result(get(f"/instances/{first}/simplified-tags") or {})

    def ignored(self) -> frozenset[str]:
        """AE titles whose series are not sent: Candela's, as DicomModalities has it now, and the configured ones."""
        target = (get("/modalities?expand") or {}).get(self.settings.Target, {})
        return frozenset({target.get("AET", ""), *self.settings.IgnoreCallingAets} - {""})

    def show(self, output: Any, _uri: str, **request: Any) -> None:
        """GET /candela/waiting."""
        if request["method"] != "GET":
            output.SendMethodNotAllowed("GET")
            return
        now = time.monotonic()
        rows = [
            {
                "Series": series,
                "Failures": item.tries,
                "LastError": item.error,
                "Sending": bool(item.job),
                "NextTryIn": max(0, round(item.due - now)),
            }
            for series, item in list(self.waiting.items())  # copied, since the other thread may change it
        ]
        output.AnswerBuffer(json.dumps({"Target": self.settings.Target, "Waiting": rows}), "application/json")


def on_change(kind: int, _level: int, _resource: str) -> None:
    """Orthanc's callback for changes. Call it from yours, where another script imports this file: Orthanc takes one."""
    kinds = host.ChangeType
    if kind == kinds.ORTHANC_STARTED:
        router.start()
    elif kind == kinds.ORTHANC_STOPPED:
        router.stop()
    elif kind in (kinds.STABLE_SERIES, kinds.JOB_SUCCESS, kinds.JOB_FAILURE):
        router.wake.set()


if hasattr(host, "GetConfiguration"):  # not where a test imports this file
    configuration = json.loads(host.GetConfiguration())
    router = Router(Settings.of(configuration.get("CandelaRoute", {})))
    host.RegisterRestCallback("/candela/waiting", router.show)
    if Path(configuration.get("PythonScript", "")).name == Path(__file__).name:
        host.RegisterOnChangeCallback(on_change)
