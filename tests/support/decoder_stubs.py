"""A decoding child with real guards whose image decoder misbehaves as its input says.

Run by the sandbox in place of its own child. The first word of the "picture" chooses what happens;
a PNG is decoded. Else the answer is one pixel, red = errno of what was tried (0 if it worked).
"""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from visage.media.sandbox.child import OPERATIONS, Answer, Request, run_child

_hoard: list[bytes] = []


def _outcome(attempt: Callable[[], object]) -> int:
    try:
        attempt()
    except OSError as err:
        return err.errno or 255
    except RuntimeError:  # threading says no more than that
        return 1
    return 0


def _pixel(red: int) -> Answer:
    return np.array([[[red, 0, 0]]], np.uint8)


def _connect(address: str) -> None:
    host, port = address.split(":")
    with socket.socket() as link:
        link.connect((host, int(port)))


def _fork() -> None:
    if os.fork() == 0:
        os._exit(0)


def _hang() -> None:
    while True:
        time.sleep(0.05)


def _spin() -> None:
    while True:
        pass


def _misbehave(request: Request) -> Answer:
    if request.payload.startswith(b"\x89PNG"):
        return OPERATIONS["image"](request)
    word, _, rest = request.payload.decode().partition(" ")
    match word:
        case "segfault":
            ctypes.string_at(0)
        case "exit":
            os._exit(3)
        case "hang":
            _hang()
        case "spin":
            _spin()
        case "hoard":
            return _pixel(len(bytearray(int(rest))) % 2)
        case "leak":
            _hoard.append(b"\1" * int(rest))
        case "raise":
            raise KeyError(rest)
        case "pid":
            time.sleep(float(rest or 0))
            pid = os.getpid()
            return np.array([[[pid >> 16 & 255, pid >> 8 & 255, pid & 255]]], np.uint8)
        case "environment":
            return _pixel(sum(rest in name for name in os.environ))
    attempts: dict[str, Callable[[], object]] = {
        "open": lambda: open(rest, "rb").close(),
        "write": lambda: Path(rest).write_bytes(b"x"),
        "list": lambda: os.listdir(rest),
        "connect": lambda: _connect(rest),
        "unix": lambda: socket.socket(socket.AF_UNIX).close(),
        "fork": _fork,
        "exec": lambda: os.execv("/bin/true", ["true"]),
        "spawn": lambda: subprocess.run(["/bin/true"], check=True),
        "thread": lambda: threading.Thread(target=int).start(),
        "kill": lambda: os.kill(os.getppid(), 0),
    }
    return _pixel(_outcome(attempts[word]) if word in attempts else 0)


def _lie(request: Request) -> Answer:
    return {"width": 1}  # facts, where a picture is due


if __name__ == "__main__":
    mode = sys.argv.pop(1)
    if mode == "broken":
        raise RuntimeError("no decoder here")
    run_child({**OPERATIONS, "image": _lie if mode == "liar" else _misbehave})
