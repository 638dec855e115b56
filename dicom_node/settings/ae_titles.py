r"""AE titles as the bytes of a PDU and as the text of settings, log lines, rules and jobs.

PS3.5 6.2 allows printable ASCII without the backslash. Peers send other bytes too: NUL or the remains of a buffer
behind the title, letters of their own code page. The text form is defined for any 16 bytes, so that a title can be
compared, logged and written into the settings (ADR 51):

- the title ends at the first NUL; white space around it is not part of it;
- printable ASCII characters except the backslash stand for themselves;
- any other byte is ``\xHH``, with two lower-case hexadecimal digits.
"""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import AfterValidator

LONGEST: Final = 16
_ESCAPE: Final = re.compile(rb"\\x([0-9a-fA-F]{2})")


def title_text(received: bytes) -> str:
    """The text form of the title that a PDU or the file meta holds; empty for a blank title."""
    title = received.partition(b"\0")[0].strip()
    return "".join(chr(byte) if 0x20 <= byte <= 0x7E and byte != 0x5C else f"\\x{byte:02x}" for byte in title)


def title_bytes(text: str) -> bytes:
    """The bytes of a title in its text form, without padding.

    Raises
    ------
    ValueError
        where ``text`` has a character that is not ASCII.
    """
    return _ESCAPE.sub(lambda found: bytes.fromhex(found[1].decode()), text.encode("ascii"))


def _calling_title(text: str) -> str:
    advice = r"write a byte that is not printable ASCII as \xHH, as the log line association_denied shows it"
    if not text.isascii() or not text.isprintable() or b"\\" in _ESCAPE.sub(b"", text.encode("ascii")):
        raise ValueError(f"an AE title has printable ASCII characters without the backslash: {advice}")
    title = title_bytes(text)
    if not title.strip() or len(title) > LONGEST:
        raise ValueError(f"an AE title has 1 to {LONGEST} bytes, not only blanks")
    return title_text(title)


CallingTitle = Annotated[str, AfterValidator(_calling_title)]
"""A setting that names a caller: the text form of its AE title."""
