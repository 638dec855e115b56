"""Accounts, tokens, logins, and how often a login may fail."""

from __future__ import annotations

import json
import sqlite3
import stat
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dicom_node.settings.web import Role
from dicom_node.web.auth import throttle
from dicom_node.web.auth.accounts import Accounts, BadAccount
from dicom_node.web.auth.principal import Scope
from dicom_node.web.auth.sessions import Sessions
from dicom_node.web.auth.throttle import Throttle
from pipeline.errors import BadSettings

WORDS = "four plain words here"


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def test_a_password_opens_its_account_alone(tmp_path: Path) -> None:
    accounts = Accounts(tmp_path)
    accounts.add("anna", WORDS, Role.VIEWER)
    found = accounts.verified("anna", WORDS)
    assert found is not None
    assert found.role is Role.VIEWER
    assert accounts.verified("anna", f"{WORDS} ") is None
    assert accounts.verified("bert", WORDS) is None


def test_the_file_tells_no_password_and_no_token_and_nobody_else_reads_it(tmp_path: Path) -> None:
    accounts = Accounts(tmp_path)
    accounts.add("anna", WORDS, Role.ADMIN)
    token = accounts.make_token("ris", (Scope.READ,), 30)
    path = tmp_path / "accounts.json"
    assert WORDS not in path.read_text()
    assert token not in path.read_text()
    assert "$argon2id$" in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("name", "password"),
    [("anna", "short"), ("anna", "aaaaaaaaaaaaaaaa"), ("anna", "anna likes this"), ("a b", WORDS), ("anna", "x" * 400)],
)
def test_weak_passwords_and_odd_names_are_refused(tmp_path: Path, name: str, password: str) -> None:
    with pytest.raises(BadAccount):
        Accounts(tmp_path).add(name, password, Role.VIEWER)
    assert Accounts(tmp_path).accounts() == ()


def test_another_process_sees_a_change_at_once(tmp_path: Path) -> None:
    here, there = Accounts(tmp_path), Accounts(tmp_path)
    here.add("anna", WORDS, Role.VIEWER)
    seen = there.account("anna")
    assert seen is not None
    here.change("anna", role=Role.ADMIN)
    changed = there.account("anna")
    assert changed is not None
    assert (changed.role, changed.stamp == seen.stamp) == (Role.ADMIN, False)
    here.remove("anna")
    assert there.account("anna") is None
    with pytest.raises(BadAccount, match="no account"):
        here.remove("anna")


def test_a_token_opens_until_it_expires_or_is_revoked(tmp_path: Path) -> None:
    now = [datetime(2026, 11, 30, tzinfo=UTC)]
    accounts = Accounts(tmp_path, lambda: now[0])
    token = accounts.make_token("ris", (Scope.READ,), 1)
    other = accounts.make_token("script", (Scope.OPERATE,), None)
    found = accounts.token(token)
    assert found is not None
    assert found.scopes == (Scope.READ,)
    now[0] += timedelta(days=1)
    assert accounts.token(token) is None
    assert accounts.token(other) is not None
    accounts.revoke_token("script")
    assert accounts.token(other) is None
    assert accounts.token("candela_nothing") is None


def test_a_file_of_a_newer_version_or_a_damaged_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "accounts.json"
    path.write_text(json.dumps({"version": 2, "accounts": [], "tokens": []}))
    with pytest.raises(BadSettings, match="newer version"):
        Accounts(tmp_path).accounts()
    path.write_text("{")
    with pytest.raises(BadSettings, match="cannot be read"):
        Accounts(tmp_path).add("anna", WORDS, Role.VIEWER)
    assert path.read_text() == "{"


def test_a_login_ends_after_silence_and_at_its_longest(tmp_path: Path) -> None:
    clock = Clock()
    sessions = Sessions(tmp_path, idle=100, most=250, clock=clock)
    first = sessions.begin("anna", "stamp")
    clock.now += 90
    assert sessions.find(first) is not None
    clock.now += 90
    assert sessions.find(first) is not None, "a request keeps it open"
    clock.now += 90
    assert sessions.find(first) is None, "but not beyond the longest time"
    second = sessions.begin("anna", "stamp")
    clock.now += 101
    assert sessions.find(second) is None
    third = sessions.begin("anna", "stamp")
    sessions.end(third)
    assert sessions.find(third) is None


def test_the_logins_on_disk_open_nothing_and_may_be_lost(tmp_path: Path) -> None:
    sessions = Sessions(tmp_path, 100, 100)
    made = sessions.begin("anna", "stamp")
    path = tmp_path / "sessions.sqlite"
    assert made.encode() not in path.read_bytes()
    path.write_bytes(b"no database at all")
    again = Sessions(tmp_path, 100, 100)
    assert again.find(made) is None
    assert again.find(again.begin("anna", "stamp")) is not None
    with closing(sqlite3.connect(path)) as database:
        database.execute("pragma user_version = 99")
    assert Sessions(tmp_path, 100, 100).find(made) is None


def test_failures_close_the_door_for_a_while_for_this_address_alone() -> None:
    clock = Clock()
    door = Throttle(clock)
    for _ in range(8):
        assert door.wait("anna", "10.0.0.1") == 0
        door.failed("anna", "10.0.0.1")
    assert door.wait("anna", "10.0.0.1") > 800
    assert door.wait("anna", "10.0.0.2") == 0, "nobody locks a colleague out"
    assert door.wait("bert", "10.0.0.1") == 0
    clock.now += throttle.WINDOW
    assert door.wait("anna", "10.0.0.1") == 0


def test_one_address_that_tries_many_names_is_held_up_and_success_forgives() -> None:
    door = Throttle(Clock())
    for number in range(40):
        door.failed(f"name {number}", "10.0.0.1")
    assert door.wait("anna", "10.0.0.1") > 0
    for _ in range(7):
        door.failed("anna", "10.0.0.3")
    door.succeeded("anna", "10.0.0.3")
    door.failed("anna", "10.0.0.3")
    assert door.wait("anna", "10.0.0.3") == 0


def test_what_is_remembered_is_bounded() -> None:
    door = Throttle(Clock())
    for number in range(throttle.ENTRIES):
        door.failed(f"name {number}", f"address {number}")
    assert len(door._failures) == throttle.ENTRIES
