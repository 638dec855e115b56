"""The meaning of a FHIR server's response: stored, try again, or rejected."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote, quote_plus

import httpx

from pipeline.errors import CandelaError, PeerBusy, PeerUnavailable, Rejected

LATER = {408, 409, 423, 425, 429, 503}
"""Timeout, conflict, locked, too early, too many requests, unavailable: the same may succeed later."""
NEVER = {501, 505, 506, 508, 510}
"""Server errors that say what the server cannot do at all: no wait changes that (RFC 9110 15.6, RFC 5842, RFC 2774)."""
PRECONDITION_FAILED = 412
"""For a transaction: see `fhir.server.ambiguous`. For any other request, none of which has a condition: final."""
WORDS_MOST = 600
ISSUES_MOST = 20


@dataclass(frozen=True)
class Receipt:
    """What the server did with a transaction: ``Type/id`` of the resources it created, had already, and updated.

    ``notes`` are for the operator.
    """

    created: tuple[str, ...]
    existing: tuple[str, ...]
    updated: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        text = f"{len(self.created)} resources created"
        text += f", {len(self.updated)} updated" if self.updated else ""
        text += f", {len(self.existing)} there already" if self.existing else ""
        return "; ".join((text, *self.notes))


def receipt(response: httpx.Response, place: str, secrets: Iterable[str]) -> Receipt:
    """The receipt in a transaction-response.

    Raises
    ------
    Retryable, Rejected
        where the answer is no transaction-response, or an entry of it failed: the first entry decides.
    """
    try:
        body = response.json()
    except ValueError:
        body = None
    if not isinstance(body, dict) or body.get("type") not in ("transaction-response", "batch-response"):
        raise Rejected(
            f"The server answered {response.status_code}, but not with a transaction-response.",
            where=place,
            todo="Check that the URL is the FHIR server's base, not a log-in page or another service.",
        )
    created: list[str] = []
    existing: list[str] = []
    for number, entry in enumerate(body.get("entry") or []):
        answer = entry.get("response") or {}
        status = _status(answer.get("status"))
        if not 200 <= status < 300:
            raise failure(status, response, f"{place}, entry {number}", secrets, answer.get("outcome"))
        (created if status == 201 else existing).append(_local(answer, entry))
    return Receipt(tuple(created), tuple(existing))


def status_of(response: httpx.Response) -> int:
    """The status of a transaction: that of the first entry that failed, also where the response itself is 200."""
    try:
        body = response.json()
        entries = body.get("entry") or [] if response.is_success else []
        statuses = [_status((entry.get("response") or {}).get("status")) for entry in entries]
    except (ValueError, AttributeError):
        statuses = []
    return next((status for status in statuses if not 200 <= status < 300), response.status_code)


def version_of(response: httpx.Response) -> str:
    """``meta.versionId`` of the resource that was read; empty where the response has none."""
    try:
        return str(response.json()["meta"]["versionId"])
    except (ValueError, TypeError, KeyError):
        return ""


def sorted_out(got: Receipt, bundle: dict[str, Any]) -> Receipt:
    """``got``, with what ``bundle`` updates separated from what was there already."""
    puts = {entry["request"]["url"] for entry in bundle.get("entry") or () if entry["request"]["method"] == "PUT"}
    there = tuple(name for name in got.existing if name not in puts)
    return replace(got, existing=there, updated=tuple(name for name in got.existing if name in puts))


def _status(text: object) -> int:
    """An entry's status is a string that begins with the code: ``201 Created``."""
    match = re.match(r"\d{3}", str(text))
    return int(match[0]) if match else 0


def _local(answer: dict[str, Any], entry: dict[str, Any]) -> str:
    """``Type/id`` of ``https://server/base/Type/id/_history/2``."""
    match = re.search(r"([A-Z][A-Za-z]+/[A-Za-z0-9.-]{1,64})(/_history/[^/]+)?$", str(answer.get("location") or ""))
    resource = entry.get("resource") or {}
    return match[1] if match else f"{resource.get('resourceType', '?')}/{resource.get('id', '?')}"


def failure(
    status: int, response: httpx.Response, place: str, secrets: Iterable[str], outcome: Any = None
) -> CandelaError:
    """The typed error for ``status``: what the server said, without values that identify the patient."""
    said = outcome or _json(response)
    what = f"The FHIR server answered {status}: {_words(said, secrets)}"
    details = issues(said, secrets)
    if is_passing(status):
        kind = PeerBusy if status in LATER else PeerUnavailable
        wait = retry_after(response.headers)
        return kind(what, where=place, todo="It is tried again.", details=details, retry_after=wait)
    return Rejected(what, where=place, todo=_advice(status), details=details)


def is_passing(status: int) -> bool:
    """Whether the same request may succeed later."""
    return status in LATER or (status >= 500 and status not in NEVER)


def _advice(status: int) -> str:
    if status in (401, 403):
        return "Check the bearer token and what it permits."
    if status == 404 or 300 <= status < 400:
        return "Check that the URL is the FHIR server's base."
    if status == PRECONDITION_FAILED:
        return "Find what the server has more than once under one identifier, merge it, then retry the delivery."
    if status == 413:
        return "Let the server take larger requests."
    return "Correct what the server names, then retry the delivery."


def issues(outcome: Any, secrets: Iterable[str]) -> tuple[str, ...]:
    """Every issue of an OperationOutcome in a line, ``error/invalid: text (at DiagnosticReport.status)``.

    At most `ISSUES_MOST`, each without values that identify the patient: they are kept with the job.
    """
    found = outcome.get("issue") if isinstance(outcome, dict) else None
    lines = []
    for issue in (found if isinstance(found, list) else [])[:ISSUES_MOST]:
        if isinstance(issue, dict):
            kind = f"{issue.get('severity', '?')}/{issue.get('code', '?')}"
            lines.append(_clean(f"{kind}: {_text(issue)}", secrets))
    return tuple(lines)


def _text(issue: dict[str, Any]) -> str:
    """The text of one issue, and the element that it is about."""
    details = issue.get("details")
    named = details.get("text") if isinstance(details, dict) else None
    texts = dict.fromkeys(str(text) for text in (named, issue.get("diagnostics")) if text)
    said = "; ".join(texts) or str(issue.get("code") or "no reason given")
    at = issue.get("expression") or issue.get("location") or []
    return f"{said} (at {', '.join(map(str, at if isinstance(at, list) else [at]))})" if at else said


def _words(outcome: Any, secrets: Iterable[str]) -> str:
    """The issues of an OperationOutcome in one line."""
    found = outcome.get("issue") if isinstance(outcome, dict) else None
    grave = [
        _text(issue)
        for issue in (found if isinstance(found, list) else [])
        if isinstance(issue, dict) and issue.get("severity") not in ("information", "warning")
    ]
    return _clean("; ".join(grave) or "no reason given", secrets).rstrip(" .") + "."


def _clean(text: str, secrets: Iterable[str]) -> str:
    """One line of bounded length, without values that identify the patient."""
    return redacted(" ".join(text.split()), secrets)[:WORDS_MOST]


def redacted(text: str, secrets: Iterable[str]) -> str:
    """``text`` without ``secrets``, also as a server may write them (JSON, HTML, URL)."""
    for secret in sorted(secrets, key=len, reverse=True):
        for form in _forms(secret):
            text = re.sub(re.escape(form), "[removed]", text, flags=re.IGNORECASE)
    return text


def _forms(secret: str) -> set[str]:
    return {secret, html.escape(secret), json.dumps(secret)[1:-1], quote(secret), quote_plus(secret)}


def _json(response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError:  # a proxy's HTML page, or nothing
        return None


def retry_after(headers: httpx.Headers) -> float | None:
    """Seconds that the server asks to wait (RFC 9110 10.2.3: seconds, or a date)."""
    value = headers.get("Retry-After", "").strip()
    if re.fullmatch(r"[0-9]{1,9}", value):
        return float(value)
    then = _instant(value)
    if then is None:
        return None
    now = _instant(headers.get("Date", "")) or datetime.now(
        UTC
    )  # the server's clock may be wrong; its difference is not
    return max(0.0, (then - now).total_seconds())


def _instant(text: str) -> datetime | None:
    """An HTTP-date, or None where ``text`` is not one."""
    try:
        found = parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
