"""Takes a multipart form with one file from a request to disk, piece by piece: no upload is ever held in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from dicom_node.web.api.problems import Problem

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

PIECE: Final = 1 << 20
FIELD_MOST: Final = 200
"""Bytes of a field that is no file."""
FIELDS_MOST: Final = 8


async def receive_form(request: Request, target: Path, bytes_most: int) -> dict[str, str]:
    """Write the field ``file`` of a multipart/form-data request to the new file ``target``; returns the other fields.

    Raises
    ------
    Problem
        413 beyond ``bytes_most``, as soon as that many have come; 415 for another content type; 400 for a form that is
        broken or lacks the file.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary:
        raise Problem(415, "The request is no form with a file.", code="NOT_A_FORM", todo="Send multipart/form-data.")
    with target.open("xb") as file:
        form = _Form(file, bytes_most)
        try:
            parser = MultipartParser(boundary, form.callbacks())
            async for piece in _pieces(request.stream()):
                await run_in_threadpool(parser.write, piece)
            parser.finalize()
        except (FormParserError, ClientDisconnect, UnicodeDecodeError):
            raise _broken("The form is broken or ended early.") from None
    if not form.ended or form.files != 1:
        raise _broken("The form ended early, or has not one field “file”.")
    return form.fields


async def _pieces(stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The bytes of a request in pieces that are worth a thread."""
    held = bytearray()
    async for data in stream:
        held += data
        if len(held) >= PIECE:
            yield bytes(held)
            held.clear()
    if held:
        yield bytes(held)


class _Form:
    """What the parser calls: it writes the field ``file`` and keeps the others."""

    def __init__(self, file: IO[bytes], bytes_most: int) -> None:
        self._file, self._left = file, bytes_most
        self._header, self._value, self._name = b"", b"", ""
        self.files, self.ended = 0, False
        self.fields: dict[str, str] = {}
        self._text = bytearray()

    def callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._on_field,
            "on_header_value": self._on_value,
            "on_header_end": self._on_header,
            "on_part_data": self._data,
            "on_part_end": self._end,
            "on_end": self._all,
        }

    def _begin(self) -> None:
        self._header, self._value, self._name = b"", b"", ""
        self._text.clear()

    def _on_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._name = parse_options_header(self._value)[1].get(b"name", b"").decode()
            self.files += self._name == "file"
        self._header = self._value = b""

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._name == "file" and self.files == 1:
            self._left -= end - start
            if self._left < 0:
                raise Problem(413, "The upload is too large.", code="TOO_LARGE", todo="Upload one series alone.")
            self._file.write(data[start:end])
        else:
            self._text += data[start:end]
            if len(self._text) > FIELD_MOST:
                raise _broken("A field of the form is too long.")

    def _end(self) -> None:
        if self._name != "file":
            self.fields[self._name] = self._text.decode()
            if len(self.fields) > FIELDS_MOST:
                raise _broken("The form has too many fields.")

    def _all(self) -> None:
        self.ended = True


def _broken(what: str) -> Problem:
    return Problem(400, what, code="BAD_FORM", todo="Send one field “file”, and “model” where the rules do not choose.")
