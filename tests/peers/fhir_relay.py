"""A peer between a client and the real FHIR server: it hands requests on, but for those that a test answers itself."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx

from tests.peers.fhir_server import FhirServer
from tests.peers.http import Asked, HttpPeer, Reply

HANDED_ON = ("Content-Type", "Authorization", "Prefer", "If-Match")
HANDED_BACK = ("Location",)


def handed_on(server: FhirServer, asked: Asked) -> Reply:
    """What ``server`` answers to ``asked``."""
    url = httpx.URL(server.url).join(asked.path)
    headers = {name: value for name, value in asked.headers.items() if name in HANDED_ON}
    answer = httpx.request(asked.method, url, content=asked.body, headers=headers, timeout=60, trust_env=False)
    back = {name: answer.headers[name] for name in HANDED_BACK if name in answer.headers}
    return Reply(answer.status_code, answer.json() if answer.content else None, back)


@contextmanager
def relay(server: FhirServer, answer: Callable[[Asked], Reply | None] = lambda _: None) -> Iterator[str]:
    """The base URL of a relay to ``server``; what ``answer`` gives goes back in the server's place."""
    with HttpPeer(lambda asked: answer(asked) or handed_on(server, asked)) as peer:
        yield peer.url + httpx.URL(server.url).path


def is_transaction(asked: Asked) -> bool:
    """Whether a report is posted."""
    return asked.method == "POST" and not asked.path.endswith("_search")


def meeting(number: int) -> Callable[[Asked], None]:
    """Holds the first ``number`` transactions back until all of them have come: their senders have searched by then,
    and each has found what was there before the others.
    """
    barrier, lock, left = threading.Barrier(number), threading.Lock(), number

    def hold(asked: Asked) -> None:
        nonlocal left
        if not is_transaction(asked):
            return
        with lock:
            left -= 1
            waits = left >= 0
        if waits:
            barrier.wait(60)

    return hold


def in_pages(server: FhirServer, kind: str, *, of: int = 1, lead: int = 0) -> Callable[[Asked], Reply | None]:
    """Answers searches for ``kind`` in pages of ``of`` resources, after ``lead`` pages that hold none, each with a link
    to the next, and with an OperationOutcome on the first, as servers send that warn of a parameter.
    """
    kept: dict[str, list[dict]] = {}

    def answer(asked: Asked) -> Reply | None:
        base, _, place = asked.path.partition(f"/{kind}/_search")
        if not (place or asked.path.endswith("_search")) or f"/{kind}/_search" not in asked.path:
            return None
        key, _, number = place.removeprefix("?page=").partition(".")
        if not key:
            whole = handed_on(server, asked).body
            key, number = str(len(kept)), "0"
            kept[key] = whole.get("entry") or []
        entries, page = kept[key], int(number)
        shown = entries[(page - lead) * of : (page - lead + 1) * of] if page >= lead else []
        if page == 0:
            warning = {"severity": "warning", "code": "not-supported", "diagnostics": "a parameter was ignored"}
            outcome = {"resourceType": "OperationOutcome", "issue": [warning]}
            shown = [{"resource": outcome, "search": {"mode": "outcome"}}, *shown]
        bundle = {"resourceType": "Bundle", "type": "searchset", "total": len(entries), "entry": shown}
        if (page - lead + 1) * of < len(entries):
            url = f"http://{asked.headers['Host']}{base}/{kind}/_search?page={key}.{page + 1}"
            bundle["link"] = [{"relation": "next", "url": url}]
        return Reply(200, json.loads(json.dumps(bundle)))

    return answer
