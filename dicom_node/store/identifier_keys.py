"""Keyed digests of patient identifiers and accession numbers, so that the index finds a series without naming anyone.

The key is a file beside the index. Without it the index tells nothing about a patient, as a database should
(SECURITY.md); with it and a guess, whether the guess is right. Only whole identifiers are found.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path
from typing import Final

FILE: Final = "index.key"
BYTES: Final = 32


class IdentifierKeys:
    """The digests of one installation. ``made``: there was no key file, so that no digest of before fits."""

    def __init__(self, key: bytes, *, made: bool = False) -> None:
        self._key = key
        self.made = made

    @classmethod
    def open(cls, folder: Path) -> IdentifierKeys:
        """The key in ``folder``, made where there is none. Only the process that writes the index calls this."""
        found = cls.read(folder)
        if found is not None:
            return found
        key = secrets.token_bytes(BYTES)
        descriptor = os.open(folder / FILE, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.write(descriptor, key)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        return cls(key, made=True)

    @classmethod
    def read(cls, folder: Path) -> IdentifierKeys | None:
        """The key in ``folder``; None where there is none yet."""
        try:
            key = (folder / FILE).read_bytes()
        except FileNotFoundError:
            return None
        return cls(key) if len(key) == BYTES else None

    def of(self, identifier: str | None) -> str | None:
        """The digest of an identifier, 32 hexadecimal digits; None of an empty one. Case and surrounding spaces do not
        count.
        """
        plain = (identifier or "").strip(" \0").casefold()
        return hmac.new(self._key, plain.encode(), hashlib.sha256).hexdigest()[:32] if plain else None
