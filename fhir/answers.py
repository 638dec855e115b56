"""What a FHIR server's answer means: stored, later, or never."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote, quote_plus

import httpx

from pipeline.errors import CandelaError, PeerBusy, PeerUnavailable, Rejected

LATER = {408, 409, 412, 423, 425, 429, 503}
"""Timeout, conflict, precondition, locked, too early, too many requests, unavailable: the same may succeed later."""
WORDS_MOST = 600


@dataclass(frozen=True)
class Receipt:
    """What the server did with a transaction: ``Type/id`` of the resources it created, and of those it had already."""

    created: tuple[str, ...]
    existing: tuple[str, ...]

    def __str__(self) -> str:
        text = f"{len(self.created)} resources created"
        return f"{text}, {len(self.existing)} there already" if self.existing else text


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
    """The typed error for ``status``: what the server said of it, without what names the patient."""
    said = f"The FHIR server answered {status}: {_words(outcome or _json(response), secrets)}"
    if status in LATER:
        return PeerBusy(said, where=place, todo="It is tried again.", retry_after=_retry_after(response.headers))
    if status >= 500:
        return PeerUnavailable(said, where=place, todo="It is tried again.", retry_after=_retry_after(response.headers))
    return Rejected(said, where=place, todo=_advice(status))


def _advice(status: int) -> str:
    if status in (401, 403):
        return "Check the bearer token and what it permits."
    if status == 404 or 300 <= status < 400:
        return "Check that the URL is the FHIR server's base."
    if status == 413:
        return "Let the server take larger requests."
    return "Mend what the server names, then retry the delivery."


def _words(outcome: Any, secrets: Iterable[str]) -> str:
    """The issues of an OperationOutcome in one line."""
    said = []
    issues = outcome.get("issue") if isinstance(outcome, dict) else None
    for issue in issues if isinstance(issues, list) else []:
        if not isinstance(issue, dict) or issue.get("severity") in ("information", "warning"):
            continue
        details = issue.get("details") or {}
        text = issue.get("diagnostics") or details.get("text") or issue.get("code") or "no reason given"
        at = issue.get("expression") or issue.get("location") or []
        said.append(f"{text} (at {', '.join(map(str, at))})" if at else str(text))
    text = " ".join("; ".join(said).split()) or "no reason given"
    return redacted(text, secrets)[:WORDS_MOST].rstrip(" .") + "."


def redacted(text: str, secrets: Iterable[str]) -> str:
    """``text`` without what names the patient, also in the ways that a server may write it (JSON, HTML, URL)."""
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


def _retry_after(headers: httpx.Headers) -> float | None:
    """Seconds that the server asks to wait (RFC 9110 10.2.3: seconds, or a date)."""
    value = headers.get("Retry-After", "").strip()
    if value.isdigit():
        return float(value)
    try:
        then = parsedate_to_datetime(value)
        now = parsedate_to_datetime(headers["Date"]) if "Date" in headers else datetime.now(UTC)
        return max(0.0, (then - now).total_seconds())
    except (ValueError, TypeError):  # not a date, or one of two without a time zone
        return None
