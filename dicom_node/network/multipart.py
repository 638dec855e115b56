"""Streaming reader of multipart/related bodies (RFC 2387, RFC 2046 5.1), for DICOMweb in both directions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from pipeline.errors import NotDicom, Truncated

HEADERS_MOST = 16
"""Most header lines of one part; DICOMweb uses three."""


class Parts(Protocol):
    """Callbacks for the parts, in order. An exception from them ends the reading."""

    def begin(self, headers: Mapping[str, str]) -> None:
        """A part's headers, names in lower case."""

    def data(self, content: bytes) -> None:
        """The next bytes of the part; never empty."""

    def end(self) -> None:
        """The part is complete."""


class PartReader:
    """Splits a body at ``boundary`` and calls ``parts``. Holds no more than the chunk that it is fed.

    Raises
    ------
    NotDicom
        where the boundary is empty or too long.
    """

    def __init__(self, boundary: str, parts: Parts) -> None:
        self._parts = parts
        self._headers: dict[str, str] = {}
        self._name, self._value = b"", b""
        self._over = False
        callbacks = {
            "on_part_begin": self._begin,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": lambda: parts.begin(self._headers),
            "on_part_data": lambda data, start, end: parts.data(data[start:end]),
            "on_part_end": parts.end,
            "on_end": self._end,
        }
        if not boundary:
            raise NotDicom("The multipart body has no boundary.", todo="Name it in Content-Type.")
        try:
            self._parser = MultipartParser(boundary, callbacks, max_header_count=HEADERS_MOST)  # type: ignore[arg-type]
        except FormParserError as error:
            raise NotDicom("The multipart body's boundary is too long.", todo="RFC 2046: 70 characters.") from error

    def feed(self, chunk: bytes) -> None:
        """Process the next bytes of the body.

        Raises
        ------
        NotDicom
            where the bytes are not a multipart body with this boundary.
        """
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise NotDicom("The body is not multipart with the boundary named.", todo="Check the sender.") from error

    def finish(self) -> None:
        """Finish at the end of the body.

        Raises
        ------
        Truncated
            where its closing delimiter is missing: its last part may be cut short.
        """
        if not self._over:
            raise Truncated("The multipart body ends before its closing delimiter.", todo="Send it again.")

    def _begin(self) -> None:
        self._headers = {}

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        self._headers[self._name.decode("latin-1").lower()] = self._value.decode("latin-1").strip()
        self._name, self._value = b"", b""

    def _end(self) -> None:
        self._over = True


def media_type(header: str) -> tuple[str, dict[str, str]]:
    """A Content-Type as media type in lower case and its parameters."""
    kind, parameters = parse_options_header(header)
    return kind.decode("latin-1"), {
        name.decode("latin-1").lower(): value.decode("latin-1") for name, value in parameters.items()
    }
