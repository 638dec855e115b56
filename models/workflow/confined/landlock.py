"""Linux's Landlock: a thread gives up, for good and for every thread that it starts, writing files and TCP.

The kernel holds it, so native code is held as well. No library in the registry wraps the three system calls and is
maintained; they are made here by ctypes. Documentation/userspace-api/landlock.rst of the kernel describes them.
"""

from __future__ import annotations

import ctypes
import os
import platform

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
"""System calls; the numbers are the same on every architecture."""
VERSION_ONLY, PATH_BENEATH, NO_NEW_PRIVS = 1, 1, 38
WRITE_FILE = 1 << 1
CHANGES = WRITE_FILE | sum(1 << bit for bit in range(4, 13))
"""Write, remove directories and files, make anything."""
REFER, TRUNCATE = 1 << 13, 1 << 14
TCP = 0b11
"""Bind and connect."""
DEVICES = "/dev"
"""Where files may be written: a GPU is opened for writing."""


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64))


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("folder", ctypes.c_int32))


def version() -> int:
    """The version of Landlock that the kernel offers; 0 where the kernel has no Landlock."""
    if platform.system() != "Linux":
        return 0
    return max(0, _call(CREATE_RULESET, None, 0, VERSION_ONLY))


def restrict_this_thread() -> bool:
    """Give up changing files and, from Linux 6.7, TCP, in this thread and those that it starts; whether it was done."""
    offered = version()
    if not offered:
        return False
    files = CHANGES | (REFER if offered >= 2 else 0) | (TRUNCATE if offered >= 3 else 0)
    attributes = _Ruleset(files, TCP if offered >= 4 else 0)
    size = ctypes.sizeof(attributes) if offered >= 4 else 8
    rules = _call(CREATE_RULESET, ctypes.byref(attributes), size, 0)
    if rules < 0:
        return False
    folder = os.open(DEVICES, os.O_PATH | os.O_CLOEXEC)
    try:
        beneath = _Beneath(WRITE_FILE, folder)
        return (
            _call(ADD_RULE, rules, PATH_BENEATH, ctypes.byref(beneath), 0) == 0
            and _libc().prctl(NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            and _call(RESTRICT_SELF, rules, 0) == 0
        )
    finally:
        os.close(folder)
        os.close(rules)


def _call(number: int, *arguments: object) -> int:
    return int(_libc().syscall(number, *arguments))


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
