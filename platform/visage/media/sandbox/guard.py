"""What a process gives up before it decodes untrusted bytes; there is no way back.

Three layers, each taken where the machine allows it: limits of the kernel, a network namespace
without any interface, and a filter that refuses every kernel call decoding does not need. The
filter alone already means no network, no files and no processes; the namespace is the second lock.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import struct
import sys
from typing import Literal

from visage.media.sandbox.syscalls import ABIS, Abi

__all__ = ["Guard", "die_with_parent", "lock_down"]

Guard = Literal["limits", "no-network namespace", "system call filter"]
"""One layer that is active."""

OPEN_FILES = 16
"""Descriptors of the child: three for the standard streams, the socket, and the file at hand."""

_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000
_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_SECCOMP_SET_MODE_FILTER = 1
_SECCOMP_FILTER_FLAG_TSYNC = 1  # every thread, should a library have started one
_LOAD, _JUMP_IF_EQUAL, _JUMP_IF_AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_NUMBER_AT, _ARCH_AT = 0, 4  # in struct seccomp_data
_ALLOW, _KILL_PROCESS, _REFUSE = 0x7FFF0000, 0x80000000, 0x00050000 | 1  # EPERM
_X32_CALLS = 0x40000000  # a second table of the same calls on x86_64


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def lock_down(parent_pid: int) -> tuple[Guard, ...]:
    """Take every layer this machine offers; returns those that hold."""
    active: list[Guard] = []
    _limit()
    active.append("limits")
    if sys.platform != "linux":
        return tuple(active)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) == 0:
        active.append("no-network namespace")
    die_with_parent(parent_pid)  # after unshare, which forgets the wish
    abi = ABIS.get(os.uname().machine)
    if abi is not None and _install_filter(libc, abi):
        active.append("system call filter")
    return tuple(active)


def die_with_parent(parent_pid: int) -> None:
    """Have the kernel kill this process when the thread that started it ends."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:  # it ended before the wish was heard
        os._exit(1)


def _limit() -> None:
    """No file grows, no core is dumped, few descriptors, and for ordinary users no process.

    Memory and CPU time are set from outside, anew for every request.
    """
    for name, most in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, OPEN_FILES),
        (resource.RLIMIT_NPROC, 0),
    ):
        resource.setrlimit(name, (most, most))


def _install_filter(libc: ctypes.CDLL, abi: Abi) -> bool:
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return False
    code = _filter(abi)
    program = _Program(length=len(code) // 8, filter=code)
    done: int = libc.syscall(
        abi.seccomp, _SECCOMP_SET_MODE_FILTER, _SECCOMP_FILTER_FLAG_TSYNC, ctypes.byref(program)
    )
    return done == 0


def _filter(abi: Abi) -> bytes:
    """The program: another machine's calls kill, listed calls pass, all others fail with EPERM."""
    steps = [
        (_LOAD, 0, 0, _ARCH_AT),
        (_JUMP_IF_EQUAL, 1, 0, abi.audit_arch),
        (_RETURN, 0, 0, _KILL_PROCESS),
        (_LOAD, 0, 0, _NUMBER_AT),
        (_JUMP_IF_AT_LEAST, 0, 1, _X32_CALLS),
        (_RETURN, 0, 0, _REFUSE),
    ]
    for number in abi.allowed:
        steps += [(_JUMP_IF_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ALLOW)]
    steps.append((_RETURN, 0, 0, _REFUSE))
    return b"".join(struct.pack("=HBBI", *step) for step in steps)
