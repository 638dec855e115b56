"""Accounts and API tokens: one small file, ``accounts.json``, replaced whole with each change.

Passwords are kept as Argon2id hashes, tokens as SHA-256: they are random, so that no slow hash is needed.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from filelock import FileLock

from dicom_node.settings.web import Role
from dicom_node.store.durable import write_durably
from dicom_node.web.auth.principal import Scope
from pipeline.errors import BadSettings, CandelaError

FILE: Final = "accounts.json"
VERSION: Final = 1
"""Raise it when an earlier version would misread the file."""
SHORTEST: Final = 12
"""Characters of a password (NIST SP 800-63B-4 3.1.1.2 asks for 8, or 15 without a second factor)."""
LONGEST: Final = 256
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
PREFIX: Final = "candela_"
"""What every token begins with, so that secret scanners find one that leaked."""

T = TypeVar("T")
_hasher = PasswordHasher()
_NOBODY: Final = _hasher.hash(secrets.token_urlsafe())
"""Compared with the password of an account that does not exist, so that the answer takes as long."""


class BadAccount(CandelaError):
    """An account or token cannot be made or found as the command says."""

    code = "BAD_ACCOUNT"
    remedy = "Correct the name, password, role or scope that the message names."


@dataclass(frozen=True)
class Account:
    """A person's account."""

    name: str
    role: Role
    password: str = field(repr=False)
    created: str

    @property
    def stamp(self) -> str:
        """Changes with password and role: a login under another stamp has ended."""
        return hashlib.sha256(f"{self.password}\x1f{self.role}".encode()).hexdigest()


@dataclass(frozen=True)
class Token:
    """A program's access. ``digest`` is the SHA-256 of the token, which is shown once. Times are ISO 8601, UTC."""

    name: str
    digest: str = field(repr=False)
    scopes: tuple[Scope, ...]
    created: str
    expires: str | None = None

    def expired(self, now: datetime) -> bool:
        """Whether it no longer opens anything."""
        return self.expires is not None and datetime.fromisoformat(self.expires) <= now


@dataclass(frozen=True)
class _Content:
    accounts: dict[str, Account]
    tokens: dict[str, Token]


class Accounts:
    """The accounts and tokens in ``folder``. Commands change them while the dashboard runs, which sees it at once."""

    def __init__(self, folder: Path, clock: Callable[[], datetime] = lambda: datetime.now(tz=UTC)) -> None:
        self._path = folder / FILE
        self._clock = clock
        self._read: tuple[tuple[int, int] | None, _Content] = (None, _Content({}, {}))

    def accounts(self) -> tuple[Account, ...]:
        """Every account, by name."""
        return tuple(item for _, item in sorted(self._content().accounts.items()))

    def tokens(self) -> tuple[Token, ...]:
        """Every token, by name, expired ones included."""
        return tuple(item for _, item in sorted(self._content().tokens.items()))

    def account(self, name: str) -> Account | None:
        return self._content().accounts.get(name)

    def add(self, name: str, password: str, role: Role) -> None:
        """Make an account.

        Raises
        ------
        BadAccount
            where there is one of this name, or name or password do not suffice.
        """
        _check(name, password)
        with self._changed() as content:
            if name in content.accounts:
                raise BadAccount("There is an account of this name.", where=name, todo="Choose another name.")
            content.accounts[name] = Account(name, role, _hasher.hash(password), self._now())

    def change(self, name: str, *, password: str | None = None, role: Role | None = None) -> None:
        """Set password or role; every login of the account ends. Raises BadAccount as `add`."""
        if password is not None:
            _check(name, password)
        with self._changed() as content:
            account = _known(content.accounts, name, "account")
            content.accounts[name] = replace(
                account,
                password=_hasher.hash(password) if password is not None else account.password,
                role=role or account.role,
            )

    def remove(self, name: str) -> None:
        """Remove an account; its logins end. Raises BadAccount where there is none."""
        with self._changed() as content:
            del content.accounts[_known(content.accounts, name, "account").name]

    def verified(self, name: str, password: str) -> Account | None:
        """The account, if this is its password. It takes as long for an account that does not exist."""
        account = self.account(name)
        try:
            _hasher.verify(account.password if account else _NOBODY, password[: LONGEST + 1])
        except (VerificationError, InvalidHashError):
            return None
        return account

    def make_token(self, name: str, scopes: tuple[Scope, ...], days: int | None) -> str:
        """Make a token and return it; it is not kept and cannot be shown again.

        Raises
        ------
        BadAccount
            where there is one of this name, or no scope is named.
        """
        if not NAME.fullmatch(name):
            raise _bad_name(name)
        if not scopes:
            raise BadAccount("A token needs a scope.", where=name, todo=f"Known: {', '.join(Scope)}.")
        made = PREFIX + secrets.token_urlsafe(32)
        expires = None if days is None else (self._clock() + timedelta(days=days)).isoformat(timespec="seconds")
        with self._changed() as content:
            if name in content.tokens:
                raise BadAccount("There is a token of this name.", where=name, todo="Revoke it or choose another name.")
            content.tokens[name] = Token(name, _digest(made), scopes, self._now(), expires)
        return made

    def revoke_token(self, name: str) -> None:
        """Remove a token. Raises BadAccount where there is none."""
        with self._changed() as content:
            del content.tokens[_known(content.tokens, name, "token").name]

    def token(self, presented: str) -> Token | None:
        """The token that a request presents, unless it is unknown or expired."""
        digest = _digest(presented)
        found = next(
            (item for item in self._content().tokens.values() if secrets.compare_digest(item.digest, digest)), None
        )
        return None if found is None or found.expired(self._clock()) else found

    @contextmanager
    def _changed(self) -> Iterator[_Content]:
        """The content, written back at the end, unless there was an error."""
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with FileLock(self._path.with_suffix(".lock"), mode=0o600, fallback_to_soft=False):
            content = self._content()
            changed = _Content(dict(content.accounts), dict(content.tokens))
            yield changed
            listed = {
                "version": VERSION,
                "accounts": [asdict(item) for item in changed.accounts.values()],
                "tokens": [asdict(item) for item in changed.tokens.values()],
            }
            write_durably(self._path, json.dumps(listed, indent=1).encode())
            self._path.chmod(0o600)

    def _content(self) -> _Content:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return _Content({}, {})
        mark = (found.st_mtime_ns, found.st_ino)
        if self._read[0] != mark:
            self._read = (mark, _parsed(self._path))
        return self._read[1]

    def _now(self) -> str:
        return self._clock().isoformat(timespec="seconds")


def _parsed(path: Path) -> _Content:
    try:
        content = json.loads(path.read_bytes())
        version = int(content["version"])
        if version <= VERSION:
            accounts = [Account(**{**item, "role": Role(item["role"])}) for item in content["accounts"]]
            tokens = [
                Token(**{**item, "scopes": tuple(Scope(scope) for scope in item["scopes"])})
                for item in content["tokens"]
            ]
            return _Content({item.name: item for item in accounts}, {item.name: item for item in tokens})
    except (ValueError, KeyError, TypeError):
        raise BadSettings(
            "The accounts of the dashboard cannot be read.", where=str(path), todo="Restore the file from a backup."
        ) from None
    raise BadSettings(
        "The accounts of the dashboard are of a newer version of Candela.",
        where=str(path),
        todo="Run that version or a newer one.",
    )


def _check(name: str, password: str) -> None:
    if not NAME.fullmatch(name):
        raise _bad_name(name)
    if not SHORTEST <= len(password) <= LONGEST:
        raise BadAccount(f"A password has {SHORTEST} to {LONGEST} characters.", where=name, todo="Choose another.")
    if name.casefold() in password.casefold() or len(set(password)) < 5:
        raise BadAccount("The password is easily guessed.", where=name, todo="Choose another, such as four words.")


def _bad_name(name: str) -> BadAccount:
    return BadAccount(
        "A name is 1 to 64 letters, digits, dots, hyphens, underscores and @.", where=repr(name[:80]), todo="Change it."
    )


def _known(items: dict[str, T], name: str, what: str) -> T:
    if name not in items:
        raise BadAccount(f"There is no {what} of this name.", where=name, todo=f"`candela web {what}s list` shows all.")
    return items[name]


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
