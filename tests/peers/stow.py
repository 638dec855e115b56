"""STOW-RS requests as clients make them, and as they should not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from io import BytesIO
from typing import Any

import httpx
from pydicom import dcmwrite
from pydicom.dataset import Dataset

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
