"""STOW-RS requests as clients make them, and as they should not; and the responses of a server."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from io import BytesIO
from typing import Any

import httpx
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset

from tests.peers.http import Asked, Reply

BOUNDARY = "candela-test-boundary"
RELATED = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'


def as_file(ds: Dataset) -> bytes:
    """``ds`` as a DICOM file."""
    buffer = BytesIO()
    dcmwrite(buffer, ds, enforce_file_format=True)
    return buffer.getvalue()


def body(files: Iterable[bytes], *, part_type: str = "application/dicom", closed: bool = True) -> bytes:
    """A multipart/related body; not ``closed``: without its closing delimiter."""
    parts = b"".join(
        b"--" + BOUNDARY.encode() + b"\r\nContent-Type: " + part_type.encode() + b"\r\n\r\n" + file + b"\r\n"
        for file in files
    )
    return parts + (b"--" + BOUNDARY.encode() + b"--\r\n" if closed else b"")


def in_pieces(content: bytes, size: int) -> Iterator[bytes]:
    """``content`` piecewise: httpx sends it chunked."""
    for start in range(0, len(content), size):
        yield content[start : start + size]


def stow(
    port: int,
    content: bytes | Iterator[bytes],
    *,
    study: str = "",
    headers: dict[str, str] | None = None,
    timeout: float = 60,
) -> httpx.Response:
    """POST ``content`` to /dicom-web/studies; its Content-Type is `RELATED` unless ``headers`` say otherwise."""
    url = f"http://127.0.0.1:{port}/dicom-web/studies" + (f"/{study}" if study else "")
    return httpx.post(
        url, content=content, headers={"Content-Type": RELATED, **(headers or {})}, timeout=timeout, trust_env=False
    )


def store(port: int, datasets: Iterable[Dataset], **arguments: Any) -> httpx.Response:
    """STOW ``datasets``."""
    return stow(port, body(as_file(ds) for ds in datasets), **arguments)


def uids(answer: httpx.Response, sequence: str = "00081199") -> list[str]:
    """SOP Instance UIDs of a sequence of the response: 00081199 referenced, 00081198 failed."""
    return [item["00081155"]["Value"][0] for item in answer.json().get(sequence, {}).get("Value", [])]


def reasons(answer: httpx.Response) -> list[int]:
    """Failure reasons of FailedSOPSequence and OtherFailuresSequence."""
    found = answer.json()
    items = [item for tag in ("00081198", "0008119A") for item in found.get(tag, {}).get("Value", [])]
    return [item["00081197"]["Value"][0] for item in items]


def files_of(asked: Asked) -> list[bytes]:
    """The DICOM files of a request, whose form is checked."""
    kind, _, boundary = asked.headers["Content-Type"].rpartition("; boundary=")
    assert kind == 'multipart/related; type="application/dicom"'
    first, *parts, last = asked.body.split(b"--" + boundary.encode())
    assert (first, last) == (b"", b"--\r\n")
    split = [part.partition(b"\r\n\r\n") for part in parts]
    assert all(head == b"\r\nContent-Type: application/dicom" for head, _, _ in split)
    assert all(file.endswith(b"\r\n") for _, _, file in split)
    return [file[:-2] for _, _, file in split]


def datasets_of(asked: Asked) -> list[Dataset]:
    """The data sets of a request."""
    return [dcmread(BytesIO(file)) for file in files_of(asked)]


def response(
    status: int = 200,
    *,
    stored: Iterable[str] = (),
    failed: dict[str, int] | None = None,
    warning: int | None = None,
    **more: Any,
) -> Reply:
    """A Store response: instances ``stored`` (with a ``warning`` reason), and ``failed`` with their reasons."""

    def item(uid: str, tag: str, reason: int | None) -> dict[str, Any]:
        found: dict[str, Any] = {"00081155": {"vr": "UI", "Value": [uid]}}
        return found if reason is None else {**found, tag: {"vr": "US", "Value": [reason]}}

    body: dict[str, Any] = {}
    if referenced := [item(uid, "00081196", warning) for uid in stored]:
        body["00081199"] = {"vr": "SQ", "Value": referenced}
    if failures := [item(uid, "00081197", reason) for uid, reason in (failed or {}).items()]:
        body["00081198"] = {"vr": "SQ", "Value": failures}
    headers = {"Content-Type": "application/dicom+json", **more.pop("headers", {})}
    return Reply(status, body, headers, **more)


def takes_all(asked: Asked) -> Reply:
    """The response of a server that stores everything."""
    return response(stored=[str(ds.SOPInstanceUID) for ds in datasets_of(asked)])
