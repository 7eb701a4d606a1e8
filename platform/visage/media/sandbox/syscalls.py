"""Kernel calls that decoding needs, by name, with their numbers on each machine.

Everything that is not listed is refused in the child: no file is opened, no process or thread
started, no socket made, no limit raised. What decodes reads a descriptor, takes memory and writes
to the socket it has.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ABIS", "Abi"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Abi:
    """How one kind of machine calls its kernel."""

    audit_arch: int
    """AUDIT_ARCH of linux/audit.h; calls through another door end the process."""
    seccomp: int
    """Number of the call that installs a filter."""
    allowed: tuple[int, ...]


_X86_64 = {
    "read": 0, "write": 1, "close": 3, "fstat": 5, "lseek": 8, "mmap": 9, "mprotect": 10,
    "munmap": 11, "brk": 12, "rt_sigaction": 13, "rt_sigprocmask": 14, "rt_sigreturn": 15,
    "pread64": 17, "readv": 19, "writev": 20, "sched_yield": 24, "mremap": 25, "madvise": 28,
    "nanosleep": 35, "getpid": 39, "sendto": 44, "recvmsg": 47, "exit": 60, "gettimeofday": 96,
    "getrusage": 98, "times": 100, "sigaltstack": 131, "gettid": 186, "futex": 202,
    "sched_getaffinity": 204, "restart_syscall": 219, "clock_gettime": 228, "clock_getres": 229,
    "clock_nanosleep": 230, "exit_group": 231, "newfstatat": 262, "set_robust_list": 273,
    "getrandom": 318, "membarrier": 324, "rseq": 334,
}  # fmt: skip
_AARCH64 = {
    "read": 63, "write": 64, "close": 57, "fstat": 80, "lseek": 62, "mmap": 222, "mprotect": 226,
    "munmap": 215, "brk": 214, "rt_sigaction": 134, "rt_sigprocmask": 135, "rt_sigreturn": 139,
    "pread64": 67, "readv": 65, "writev": 66, "sched_yield": 124, "mremap": 216, "madvise": 233,
    "nanosleep": 101, "getpid": 172, "sendto": 206, "recvmsg": 212, "exit": 93,
    "gettimeofday": 169, "getrusage": 165, "times": 153, "sigaltstack": 132, "gettid": 178,
    "futex": 98, "sched_getaffinity": 123, "restart_syscall": 128, "clock_gettime": 113,
    "clock_getres": 114, "clock_nanosleep": 115, "exit_group": 94, "newfstatat": 79,
    "set_robust_list": 99, "getrandom": 278, "membarrier": 283, "rseq": 293,
}  # fmt: skip

ABIS: dict[str, Abi] = {
    "x86_64": Abi(audit_arch=0xC000003E, seccomp=317, allowed=tuple(_X86_64.values())),
    "aarch64": Abi(audit_arch=0xC00000B7, seccomp=277, allowed=tuple(_AARCH64.values())),
}
"""By `os.uname().machine`; elsewhere there is no filter."""
