"""Every role on one machine: child processes that are restarted when they die and never outlive their supervisor.

A child is a command whose output goes to the supervisor's own stdout and stderr. On Linux the kernel kills the children
when the supervisor is killed (PR_SET_PDEATHSIG), so that a restart finds ports and locks free; their work is durable,
so killing them loses nothing. On other systems an orphan runs until somebody stops it.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import structlog

from dicom_node.start_up import dying_with

log = structlog.get_logger("candela.supervisor")

USAGE: Final = 2
"""Exit status of a child whose command line or settings are wrong: a restart would not help."""


@dataclass(frozen=True)
class Role:
    """One child: its name in logs, its command line, and whether it gets SIGHUP.

    ``essential``: a wrong setting of it stops the node. Another one is started again and again, and the rest goes on.
    """

    name: str
    command: tuple[str, ...]
    reloads: bool = False
    essential: bool = True


@dataclass(frozen=True)
class Policy:
    """Times in seconds for restarts and stops.

    The pause before a restart doubles from ``restart_first`` to ``restart_most``; a child that ran for ``healthy``
    starts over. Children that have not stopped after ``stop_within`` are killed.
    """

    restart_first: float = 0.5
    restart_most: float = 30.0
    healthy: float = 30.0
    stop_within: float = 30.0


@dataclass
class _Child:
    role: Role
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    start_at: float = 0.0
    pause: float = field(default=0.0)


def supervise(roles: Sequence[Role], policy: Policy | None = None) -> int:
    """Run ``roles`` until SIGTERM or SIGINT; returns the exit status of the process.

    The first signal asks the children to stop (SIGTERM) and waits; a second one kills them at once. SIGHUP is passed on
    to the roles that reload their settings. Call it in the main thread of a process that has no other threads. 0: all
    stopped; 1: some had to be killed; 2: an essential child reported a wrong command line or wrong settings, and all
    were stopped.
    """
    policy = policy or Policy()
    children = [_Child(role) for role in roles]
    with _signals(lambda: _reload(children)) as wait:
        wrong = False
        asked = 0
        while not asked and not wrong:
            for child in children:
                wrong = _tend(child, policy) or wrong
            asked = 0 if wrong else wait(_until_next_start(children))
        return _stop(children, policy, wait) or (USAGE if wrong else 0)


def _reload(children: list[_Child]) -> None:
    """Pass SIGHUP on to the children that reload their settings."""
    for child in children:
        if child.role.reloads and child.process is not None:
            child.process.send_signal(signal.SIGHUP)


def _tend(child: _Child, policy: Policy) -> bool:
    """Start ``child`` where it is due, and record its death; True where its exit status says that a
    restart is useless.
    """
    now = time.monotonic()
    if child.process is None:
        if now >= child.start_at:
            _start(child)
        return False
    status = child.process.poll()
    if status is None:
        return False
    ran = now - child.started_at
    child.process = None
    child.pause = policy.restart_first if ran >= policy.healthy else min(policy.restart_most, child.pause * 2)
    child.pause = max(child.pause, policy.restart_first)
    child.start_at = now + child.pause
    if status == USAGE and child.role.essential:
        log.error("role_refused", role=child.role.name, status=status)
        return True
    log.warning("role_died", role=child.role.name, status=status, ran_s=round(ran, 1), restart_in_s=child.pause)
    return False


def _start(child: _Child) -> None:
    child.started_at = time.monotonic()
    child.process = subprocess.Popen(  # noqa: S603  (our own command line)
        child.role.command,
        stdin=subprocess.DEVNULL,
        preexec_fn=dying_with(os.getpid()),  # noqa: PLW1509  (this process has one thread)
        process_group=0,  # Ctrl-C in a terminal reaches the supervisor alone, which stops the children in order
    )
    log.info("role_started", role=child.role.name, pid=child.process.pid)


def _until_next_start(children: list[_Child]) -> float | None:
    """Seconds until the next restart is due; None where all children run."""
    due = [child.start_at for child in children if child.process is None]
    return max(0.0, min(due) - time.monotonic()) if due else None


def _stop(children: list[_Child], policy: Policy, wait: Callable[[float | None], int]) -> int:
    """Stop all children; 1 where some had to be killed."""
    running = [(child.role.name, child.process) for child in children if child.process is not None]
    log.info("stopping", roles=len(running))
    for _, process in running:
        process.terminate()
    deadline = time.monotonic() + policy.stop_within
    while any(process.poll() is None for _, process in running):
        left = deadline - time.monotonic()
        if left <= 0 or wait(left):
            break
    killed = 0
    for name, process in running:
        if process.poll() is None:
            log.error("role_killed", role=name)
            process.kill()
            process.wait()
            killed = 1
    log.info("stopped")
    return killed


@contextlib.contextmanager
def _signals(hung_up: Callable[[], None]) -> Iterator[Callable[[float | None], int]]:
    """A function that waits a limited time for a child's end or a stop signal, and returns the number of stop signals.

    ``hung_up`` is called for a SIGHUP, except at a terminal, where the signal means that the terminal has closed. The
    signals' numbers come through a socket (`signal.set_wakeup_fd`), so that none is lost between a check and the wait.
    """
    reader, writer = socket.socketpair()
    reader.setblocking(False)
    writer.setblocking(False)
    numbers = [signal.SIGTERM, signal.SIGINT, signal.SIGCHLD]
    if not sys.stdin or not sys.stdin.isatty():
        numbers.append(signal.SIGHUP)
    former = {number: signal.signal(number, lambda *_: None) for number in numbers}
    former_fd = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)

    def wait(timeout: float | None) -> int:
        ready, _, _ = select.select([reader], [], [], timeout)
        came = reader.recv(4096) if ready else b""
        if signal.SIGHUP in came:
            hung_up()
        return sum(number in (signal.SIGTERM, signal.SIGINT) for number in came)

    try:
        yield wait
    finally:
        signal.set_wakeup_fd(former_fd)
        for number, handler in former.items():
            signal.signal(number, handler)
        reader.close()
        writer.close()
