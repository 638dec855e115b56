"""What a real sender says to a Storage SCP, PDU by PDU, and ways to spoil it."""

from __future__ import annotations

import random
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Final

from pydicom.dataset import Dataset
from pynetdicom import AE, evt

from dicom_node.network.requestor import Requestor

HEADER: Final = struct.Struct(">BBI")
"""PDU type, reserved byte, length of what follows (PS3.8 9.3.1)."""
HOSTILE_LENGTHS: Final = (0, 1, 5, 0x7FFFFFFF, 0xFFFFFFFF, 0x10000, 0xFFFE)
HOSTILE_TEXT: Final = (
    b"../../../../etc/passwd",
    b"\0" * 64,
    b"9" * 65,
    b"1.2.3/../../x",
    b"<script>alert(1)</script>",
    b"\xff" * 200,
    b"1." * 5000,
)


def record(datasets: tuple[Dataset, ...]) -> list[bytes]:
    """The PDUs of one association that stores ``datasets`` and is released, as pynetdicom sends them."""
    sent: list[bytes] = []
    server = AE("CANDELA")
    server.add_supported_context(datasets[0].SOPClassUID, datasets[0].file_meta.TransferSyntaxUID)
    scp = server.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, lambda _: 0x0000)])
    try:
        client = Requestor("MODALITY")
        client.add_requested_context(datasets[0].SOPClassUID, datasets[0].file_meta.TransferSyntaxUID)
        assoc = client.associate(
            "127.0.0.1", scp.server_address[1], ae_title="CANDELA",
            evt_handlers=[(evt.EVT_DATA_SENT, lambda event: sent.append(event.data))],
        )  # fmt: skip
        for ds in datasets:
            assoc.send_c_store(ds)
        assoc.release()
    finally:
        scp.shutdown()
    return [pdu for data in sent for pdu in split(data)]


def split(data: bytes) -> Iterator[bytes]:
    """The PDUs in ``data``."""
    while data:
        _, _, length = HEADER.unpack_from(data)
        yield data[: HEADER.size + length]
        data = data[HEADER.size + length :]


def flip(pdus: list[bytes], chance: random.Random) -> None:
    """Some bits of one PDU."""
    number = chance.randrange(len(pdus))
    data = bytearray(pdus[number])
    for _ in range(chance.choice((1, 1, 2, 8, 64))):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    pdus[number] = bytes(data)


def lie_about_length(pdus: list[bytes], chance: random.Random) -> None:
    """The length of one PDU."""
    number = chance.randrange(len(pdus))
    if len(pdus[number]) < HEADER.size:  # another spoiler was here
        return
    kind, reserved, _ = HEADER.unpack_from(pdus[number])
    pdus[number] = HEADER.pack(kind, reserved, chance.choice(HOSTILE_LENGTHS)) + pdus[number][HEADER.size :]


def lie_within(pdus: list[bytes], chance: random.Random) -> None:
    """Two or four bytes anywhere, as a length field might be: items, presentation data values, element lengths."""
    number = chance.randrange(len(pdus))
    data = bytearray(pdus[number])
    value = struct.pack(chance.choice((">I", "<I")), chance.choice(HOSTILE_LENGTHS))[: chance.choice((2, 4))]
    at = chance.randrange(HEADER.size, max(HEADER.size + 1, len(data) - 4))
    data[at : at + len(value)] = value
    pdus[number] = bytes(data)


def cut(pdus: list[bytes], chance: random.Random) -> None:
    """The end of the conversation, in the middle of a PDU."""
    number = chance.randrange(len(pdus))
    pdus[number] = pdus[number][: chance.randrange(len(pdus[number]))]
    del pdus[number + 1 :]


def disorder(pdus: list[bytes], chance: random.Random) -> None:
    """PDUs doubled, left out or in another order."""
    what = chance.randrange(3)
    number = chance.randrange(len(pdus))
    if what == 0:
        pdus.insert(chance.randrange(len(pdus)), pdus[number])
    elif what == 1 and len(pdus) > 1:
        del pdus[number]
    else:
        chance.shuffle(pdus)


def insert_text(pdus: list[bytes], chance: random.Random) -> None:
    """Hostile text over the bytes of one PDU: AE titles, UIDs, values."""
    number = chance.randrange(len(pdus))
    data = bytearray(pdus[number])
    text = chance.choice(HOSTILE_TEXT)
    at = chance.randrange(HEADER.size, max(HEADER.size + 1, len(data)))
    data[at : at + len(text)] = text
    pdus[number] = HEADER.pack(data[0], 0, len(data) - HEADER.size) + bytes(data[HEADER.size :])


def noise(pdus: list[bytes], chance: random.Random) -> None:
    """Random bytes in place of everything after some point."""
    number = chance.randrange(len(pdus))
    del pdus[number:]
    pdus.append(chance.randbytes(chance.choice((1, 6, 100, 5000, 200_000))))


SPOILERS: Final[tuple[Callable[[list[bytes], random.Random], None], ...]] = (
    flip, lie_about_length, lie_within, cut, disorder, insert_text, noise,
)  # fmt: skip


def spoiled(pdus: list[bytes], chance: random.Random) -> list[bytes]:
    """``pdus`` after one to three of these."""
    made = list(pdus)
    for spoil in chance.sample(SPOILERS, chance.choice((1, 1, 2, 3))):
        if made and any(made):
            made = [pdu for pdu in made if pdu]
            spoil(made, chance)
    return made


def say(port: int, pdus: list[bytes], *, patience: float = 0.3) -> int:
    """Send ``pdus`` on one connection, the first answer awaited before the second; how many bytes came back."""
    answered = 0
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        reader = threading.Event()
        connection.settimeout(patience)
        for number, pdu in enumerate(pdus):
            try:
                connection.sendall(pdu)
                if number == 0 or number == len(pdus) - 1:
                    answered += len(connection.recv(65536))
            except OSError:  # it may hang up, or wait for the rest of what was announced
                if reader.is_set():
                    break
                reader.set()
    return answered
