"""Bounds on the memory, size and time of messages that one caller sends.

pynetdicom collects a message in memory, however long, and reads further ones while it answers the first. Here a data
set goes to disk when it is long or memory is short, one that is too long is read past and refused, a message that
trickles in is cut off, and no further one is read while two wait. Relies on names private to pynetdicom 3.0.
"""

from __future__ import annotations

import mmap
import tempfile
import threading
import time
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import C_STORE_RQ, DIMSEMessage
from pynetdicom.dimse_primitives import C_CANCEL
from pynetdicom.pdu_primitives import P_DATA

from dicom_node.receive.upper_layer import TolerantDul
from dicom_node.settings.access import Limits

IN_MEMORY = 8 << 20
"""Bytes of one data set that are collected in memory; a longer one goes to disk."""
COMMAND_MOST = 64 << 10
"""Most bytes of a command set; real ones have a few hundred."""
OTHER_MOST = 32 << 20
"""Most bytes of a data set other than C-STORE's; a commitment request for 100,000 instances has 12 million."""
WAITING_MOST = 2
"""Messages that may wait for their response; without negotiation there is one (PS3.7 D.3.3.3)."""
CANCELS_MOST = 10


@dataclass
class Memory:
    """A budget of bytes for all data sets in reception together."""

    most: int
    _taken: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def take(self, number: int) -> bool:
        """Reserve ``number`` bytes; False, without effect, where the budget is too small."""
        with self._lock:
            if self._taken + number > self.most:
                return False
            self._taken += number
            return True

    def give(self, number: int) -> None:
        """Return reserved bytes."""
        with self._lock:
            self._taken -= number


class ReceivedData(BytesIO):
    """A data set in reception: in memory while it is short and the budget allows, else in an unnamed file.

    ``refused`` is a sentence with the reason why it cannot be received whole (too long, or the disk is full); later
    bytes are dropped. `release` frees memory and disk.
    """

    def __init__(self, limits: Limits, memory: Memory, folder: Path) -> None:
        super().__init__()
        self.size = 0
        self.refused: str | None = None
        self._limits, self._memory, self._folder = limits, memory, folder
        self._taken = 0
        self._file: IO[bytes] | None = None
        self._map: mmap.mmap | None = None

    def write(self, data: Any, /) -> int:
        """Add ``data``; never raises, see ``refused``."""
        count = len(data)
        self.size += count
        if self.refused is not None:
            return count
        if self.size > self._limits.instance_bytes:
            self._refuse(f"The data set is longer than {self._limits.instance_bytes} bytes.")
        elif self._file is None and self.size <= IN_MEMORY and self._memory.take(count):
            self._taken += count
            super().write(data)
        else:
            self._to_disk(data)
        return count

    def _to_disk(self, data: bytes) -> None:
        try:
            if self._file is None:
                file = tempfile.TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115  (closed by release)
                self._file = file
                with super().getbuffer() as gathered:  # released, or the memory could not be freed
                    _write_all(file, gathered)
                self._forget_memory()
            _write_all(self._file, data)
        except OSError as error:
            self._refuse(f"The disk is full or fails (error {error.errno}).")

    def getbuffer(self) -> memoryview:
        """The whole data set; valid until `release`."""
        if self._file is None:
            return super().getbuffer()
        if self._map is None:
            self._map = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        return memoryview(self._map)

    def stream(self) -> BinaryIO:
        """The data set as a stream, at its first byte; valid until `release`."""
        if self._file is None:
            self.seek(0)
            return self
        with self.getbuffer():
            assert self._map is not None
            self._map.seek(0)
            return cast(BinaryIO, self._map)

    def release(self) -> None:
        """Free memory and disk."""
        if self._map is not None:
            self._map.close()
        if self._file is not None:
            self._file.close()
        self._map = self._file = None
        self._forget_memory()

    def __del__(self) -> None:
        if self._taken:  # the association ended before the data set was used
            self._memory.give(self._taken)

    def _refuse(self, why: str) -> None:
        self.refused = why
        self.release()

    def _forget_memory(self) -> None:
        super().seek(0)
        super().truncate()
        taken, self._taken = self._taken, 0
        self._memory.give(taken)


class BoundedDimse(DIMSEServiceProvider):
    """pynetdicom's DIMSE provider of an acceptor with bounds; requests are answered one after the other."""

    def __init__(self, assoc: Association, limits: Limits, memory: Memory, folder: Path, patience: float) -> None:
        super().__init__(assoc)
        self._limits, self._memory, self._folder, self._patience = limits, memory, folder, patience
        self._begun = 0.0
        self._bytes = 0

    @property
    def full(self) -> bool:
        """Whether no further message should be read now."""
        return bool(self.msg_queue.qsize() >= WAITING_MOST)

    def receive_primitive(self, primitive: P_DATA) -> None:
        """Process part of a message (PS3.7 annex E). A caller that exceeds the bounds is cut off (A-P-ABORT)."""
        if self.message is None:
            self._begin()
        message = cast(DIMSEMessage, self.message)
        try:
            whole = message.decode_msg(primitive, self.assoc)
            if self._beyond(message, primitive):
                self._end("a message that is longer or slower than the limits")
            elif whole:
                self.message = None
                self._take(message)
        except Exception as error:  # noqa: BLE001  (a hostile message must not end this thread)
            self._end(f"a message that cannot be read ({type(error).__name__})")

    def _end(self, fault: str) -> None:
        """Abort the association for ``fault``."""
        cast(TolerantDul, self.dul).fault = fault
        self.dul.event_queue.put("Evt19")

    def _begin(self) -> None:
        self.message = DIMSEMessage()
        self.message.data_set = ReceivedData(self._limits, self._memory, self._folder)
        self._begun, self._bytes = time.monotonic(), 0

    def _beyond(self, message: DIMSEMessage, primitive: P_DATA) -> bool:
        self._bytes += sum(len(data) for _, data in primitive.presentation_data_value_list)
        late = time.monotonic() - self._begun > self._patience + self._bytes / self._limits.minimum_rate
        command = message.encoded_command_set.tell() > COMMAND_MOST
        data = cast(ReceivedData, message.data_set)
        return late or command or (data.size > OTHER_MOST and not isinstance(message, C_STORE_RQ))

    def _take(self, message: DIMSEMessage) -> None:
        evt.trigger(self.assoc, evt.EVT_DIMSE_RECV, {"message": message})
        request = message.message_to_primitive()
        if isinstance(request, C_CANCEL):
            if len(self.cancel_req) < CANCELS_MOST:
                self.cancel_req[cast(int, request.MessageIDBeingRespondedTo)] = request
            return
        self.msg_queue.put((cast(int, message.context_id), request))


def _write_all(file: IO[bytes], data: bytes | memoryview) -> None:
    done = 0
    with memoryview(data) as view:
        while done < len(view):
            done += file.write(view[done:])
