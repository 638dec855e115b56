"""The meaning of a receiver's acknowledgement: accepted, retry or rejected (HL7 2.5.1, 2.9 and 2.15.8)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from hl7apy.core import Message
from hl7apy.exceptions import HL7apyException
from hl7apy.parser import parse_message

from fhir.server.answers import redacted
from pipeline.errors import PeerBusy, PeerUnavailable, Rejected

ACCEPTED: Final = ("AA", "CA")
LATER: Final = {"206", "207"}
"""Table 0357: application record locked, application internal error."""
NEVER: Final = {"100", "101", "102", "103", "104", "200", "201", "202", "203", "204", "205"}
"""Table 0357: errors in the message or in what it names, which a resend would not correct."""
WORDS_MOST: Final = 300


def check(answer: bytes, control_id: str, where: str, secrets: Iterable[str]) -> str:
    """Return the code of an ``answer`` that accepts the message ``control_id``. No error may contain any of
    ``secrets``.

    AA and CA accept. The code in ERR-3 (or MSA-6) decides whether to retry: 206 and 207 are retried, the other codes of
    table 0357 are final. Without such a code AE is final, since it concerns the message's content, and AR is retried,
    since a receiver that is shutting down or overloaded sends it.

    Raises
    ------
    Rejected
        where the receiver will never accept the message.
    Retryable
        where it may accept it later, or the answer is missing or for another message.
    """
    text = answer.decode("utf-8", errors="replace")
    message = _parsed(text)
    if message is None:
        raise PeerUnavailable(
            "The HL7 receiver's answer is not an acknowledgement.",
            where=where,
            todo="Is it an MLLP port? It is tried again.",
        )
    code = _er7(message, "msa.msa_1").upper()
    repeated = _er7(message, "msa.msa_2")
    if repeated != control_id:
        raise PeerUnavailable(
            "The HL7 receiver acknowledged another message.",
            where=where,
            todo="It is tried again; its answers must repeat MSH-10 in MSA-2.",
        )
    if code in ACCEPTED:
        return code
    condition = _condition(message)
    details = tuple(redacted(line, secrets)[:WORDS_MOST] for line in _said(message))
    what = f"The HL7 receiver answered {code or 'no code'}: {'; '.join(details) or 'no reason given'}."
    final = condition in NEVER or (condition not in LATER and code not in ("AR", "CR"))
    if final:
        todo = "Correct what the receiver names, then `candela jobs retry`."
        raise Rejected(what, where=where, todo=todo, details=details)
    raise PeerBusy(what, where=where, todo="It is tried again.", details=details)


def _parsed(text: str) -> Message | None:
    if not text.startswith("MSH") or not re.search(r"[\r\n]MSA", text):
        return None
    lines = [line for line in re.split(r"[\r\n]+", text) if line[:3] in ("MSH", "MSA", "ERR")]
    try:
        return parse_message("\r".join(lines), find_groups=False)
    except (HL7apyException, ValueError, IndexError):
        return None


def _er7(message: Message, path: str) -> str:
    """A field in bar notation, empty where it is absent."""
    element = message
    try:
        for name in path.split("."):
            element = getattr(element, name)
        return str(element.to_er7()).strip()
    except (HL7apyException, AttributeError, IndexError):
        return ""


def _condition(message: Message) -> str:
    """The code of table 0357: in ERR-3, before 2.5 in MSA-6 or the last component of ERR-1."""
    for found in (_er7(message, "err.err_3"), _er7(message, "msa.msa_6")):
        code = found.split("^")[0]
        if code in LATER | NEVER:
            return code
    parts = re.split(r"[\^&]", _er7(message, "err.err_1"))
    return next((part for part in parts[3:] if part in LATER | NEVER), "")


def _said(message: Message) -> list[str]:
    """The texts for people: MSA-3, and code, diagnostics and user message of ERR."""
    fields = ("msa.msa_3", "err.err_3", "err.err_7", "err.err_8")
    found = (re.sub(r"[\^~&]+", " ", _er7(message, path)).strip() for path in fields)
    return [text for text in dict.fromkeys(found) if text]
