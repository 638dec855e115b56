"""A bare sender of the DICOM upper layer (PS3.8), so that every octet of a request can be odd."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

APPLICATION_CONTEXT: Final = b"1.2.840.10008.3.1.1.1"
IMPLICIT: Final = b"1.2.840.10008.1.2"
EXPLICIT: Final = b"1.2.840.10008.1.2.1"
VERIFICATION: Final = b"1.2.840.10008.1.1"
ECHO: Final = 1
"""Presentation context of Verification in `CONTEXTS`."""
STORE: Final = 3
"""Presentation context of MR Image Storage, Explicit VR Little Endian, in `CONTEXTS`."""
MR: Final = b"1.2.840.10008.5.1.4.1.1.4"

PDU_NAMES: Final = {2: "AC", 3: "RJ", 4: "P-DATA", 5: "RELEASE-RQ", 6: "RELEASE-RP", 7: "ABORT"}


def item(kind: int, content: bytes, length: int | None = None) -> bytes:
    """An item or sub-item (PS3.8 9.3.1); ``length`` is what it says of itself, where that is to be a lie."""
    return struct.pack(">BBH", kind, 0, len(content) if length is None else length) + content


def context(number: int, abstract: bytes, syntaxes: Iterable[bytes], *, extra: bytes = b"") -> bytes:
    """A presentation context item (PS3.8 table 9-13)."""
    inside = item(0x30, abstract) + b"".join(item(0x40, syntax) for syntax in syntaxes)
    return item(0x20, bytes((number, 0, 0, 0)) + inside + extra)


CONTEXTS: Final = (context(ECHO, VERIFICATION, [IMPLICIT]), context(STORE, MR, [EXPLICIT]))
USER: Final = item(0x51, struct.pack(">I", 16384)) + item(0x52, b"1.2.3.4.5.6") + item(0x55, b"BARE")


@dataclass(frozen=True)
class Request:
    """An A-ASSOCIATE-RQ (PS3.8 9.3.2); every part may be odd. ``user`` None leaves User Information out."""

    called: bytes = b"CANDELA"
    calling: bytes = b"MODALITY"
    pad: bytes = b" "
    version: int = 1
    reserved: int = 0
    application: bytes | None = APPLICATION_CONTEXT
    contexts: Sequence[bytes] = CONTEXTS
    user: bytes | None = USER
    first: bytes = b""
    last: bytes = b""
    cut: int | None = None
    """Bytes of the content that are sent; the PDU's length says so."""

    def encoded(self) -> bytes:
        """The PDU."""
        titles = self.called.ljust(16, self.pad)[:16] + self.calling.ljust(16, self.pad)[:16]
        content = struct.pack(">HH", self.version, self.reserved) + titles + bytes([self.reserved & 0xFF]) * 32
        content += self.first
        if self.application is not None:
            content += item(0x10, self.application)
        content += b"".join(self.contexts)
        if self.user is not None:
            content += item(0x50, self.user)
        content = (content + self.last)[: self.cut]
        return pdu(1, content)


@dataclass
class Answer:
    """A PDU that came back, or ``closed`` or ``silent`` as its kind.

    ``contexts``: results of an A-ASSOCIATE-AC by number.
    """

    kind: str
    content: bytes = b""
    contexts: dict[int, int] = field(default_factory=dict)

    @property
    def rejection(self) -> tuple[int, int, int] | None:
        """Result, source and reason of an A-ASSOCIATE-RJ (PS3.8 9.3.4)."""
        if self.kind != "RJ":
            return None
        return self.content[1], self.content[2], self.content[3]


def pdu(kind: int, content: bytes) -> bytes:
    """A PDU of any kind."""
    return struct.pack(">BBI", kind, 0, len(content)) + content


def element(number: int, value: bytes | int) -> bytes:
    """An element of a command set (group 0000, Implicit VR Little Endian); whole numbers are US."""
    data = struct.pack("<H", value) if isinstance(value, int) else value + b"\0" * (len(value) % 2)
    return struct.pack("<HHI", 0, number, len(data)) + data


def command(elements: dict[int, bytes | int]) -> bytes:
    """A command set (PS3.7 6.3.1)."""
    content = b"".join(element(number, value) for number, value in sorted(elements.items()))
    return struct.pack("<HHII", 0, 0, 4, len(content)) + content


def p_data(number: int, content: bytes, *, is_command: bool, most: int = 16000) -> bytes:
    """``content`` as P-DATA-TF PDUs on the presentation context ``number``."""
    pieces = [content[start : start + most] for start in range(0, len(content), most)] or [b""]
    made = b""
    for index, piece in enumerate(pieces):
        control = int(is_command) | (2 if index == len(pieces) - 1 else 0)
        made += pdu(4, struct.pack(">IBB", len(piece) + 2, number, control) + piece)
    return made


class Caller:
    """One connection to a Storage SCP."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection

    def say(self, words: bytes) -> None:
        self.connection.sendall(words)

    def hear(self) -> Answer:
        """The next PDU."""
        try:
            head = self._exactly(6)
            kind, _, length = struct.unpack(">BBI", head)
            content = self._exactly(length)
        except TimeoutError:
            return Answer("silent")
        except OSError:
            return Answer("closed")
        answer = Answer(PDU_NAMES.get(kind, hex(kind)), content)
        if answer.kind == "AC":
            answer.contexts = dict(_results(content))
        return answer

    def ask(self, request: Request) -> Answer:
        """The answer to an association request."""
        self.say(request.encoded())
        return self.hear()

    def echo(self, number: int = ECHO, *, message: int = 1) -> dict[int, bytes] | str:
        """C-ECHO; see `respond`."""
        elements: dict[int, bytes | int] = {0x0002: VERIFICATION, 0x0100: 0x0030, 0x0110: message, 0x0800: 0x0101}
        return self.respond(p_data(number, command(elements), is_command=True))

    def store(
        self,
        sop_class: bytes,
        sop_instance: bytes,
        encoded: bytes,
        number: int = STORE,
        *,
        message: int = 1,
        other: dict[int, bytes | int] | None = None,
    ) -> dict[int, bytes] | str:
        """C-STORE of the data set ``encoded``; ``other`` elements of the command. See `respond`."""
        elements: dict[int, bytes | int] = {
            0x0002: sop_class,
            0x0100: 0x0001,
            0x0110: message,
            0x0700: 0,
            0x0800: 1,
            0x1000: sop_instance,
            **(other or {}),
        }
        words = p_data(number, command(elements), is_command=True) + p_data(number, encoded, is_command=False)
        return self.respond(words)

    def respond(self, words: bytes) -> dict[int, bytes] | str:
        """Say ``words``; the elements of the response's command set, or the kind of what came instead."""
        try:
            self.say(words)
        except OSError:
            return "closed"
        answer = self.hear()
        if answer.kind != "P-DATA":
            return answer.kind
        content = answer.content
        gathered = b""
        while True:
            at = 0
            while at < len(content):
                length, _, control = struct.unpack_from(">IBB", content, at)
                gathered += content[at + 6 : at + 4 + length]
                at += 4 + length
            if control & 2:
                return dict(_elements(gathered))
            content = self.hear().content

    def release(self) -> str:
        """A-RELEASE; the kind of the answer."""
        try:
            self.say(pdu(5, bytes(4)))
        except OSError:
            return "closed"
        return self.hear().kind

    def _exactly(self, number: int) -> bytes:
        content = b""
        while len(content) < number:
            more = self.connection.recv(number - len(content))
            if not more:
                raise ConnectionResetError
            content += more
        return content


@contextmanager
def calling(port: int, patience: float = 30) -> Iterator[Caller]:
    """A connection to ``port``; ``patience``: seconds to wait for an answer."""
    with socket.create_connection(("127.0.0.1", port), patience) as connection:
        connection.settimeout(patience)
        yield Caller(connection)


def status(response: dict[int, bytes] | str) -> int | str:
    """Status (0000,0900) of a response, or the kind of PDU that came instead."""
    return response if isinstance(response, str) else int(struct.unpack("<H", response[0x0900])[0])


def _results(content: bytes) -> Iterator[tuple[int, int]]:
    at = 68
    while at + 4 <= len(content):
        kind, _, length = struct.unpack_from(">BBH", content, at)
        if kind == 0x21:
            yield content[at + 4], content[at + 6]
        at += 4 + length


def _elements(content: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 8 <= len(content):
        _, number, length = struct.unpack_from("<HHI", content, at)
        yield number, content[at + 8 : at + 8 + length]
        at += 8 + length
