"""Secrets of the settings: in a file, or in a setting itself."""

from __future__ import annotations

from pathlib import Path

from pydantic import SecretStr

from pipeline.errors import BadSettings


def secret(source: Path | SecretStr) -> str:
    """A secret, without the line end that editors leave.

    Raises
    ------
    BadSettings
        where the file cannot be read, is empty or not ASCII.
    """
    if isinstance(source, SecretStr):
        return source.get_secret_value().strip()
    try:
        text = source.read_text("ascii").strip()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not ASCII"
        raise BadSettings(
            f"The secret cannot be read ({reason}).", where=str(source), todo="Check path, permissions and content."
        ) from None
    if not text:
        raise BadSettings("The file of a secret is empty.", where=str(source), todo="Put the secret into it.")
    return text
