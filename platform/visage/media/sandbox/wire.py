"""Frames between the two processes: a JSON head, then raw bytes, then perhaps a descriptor.

Nothing that arrives is ever executed or unpickled, and every length is checked against a bound
before memory is given to it: the other end may be a decoder that was taken over.
"""

from __future__ import annotations

import array
import json
import socket
import struct
import time
from collections.abc import Mapping
from typing import Any

__all__ = ["BrokenWireError", "Channel"]

MAX_HEAD_BYTES = 1 << 16
SOCKET_BYTES = 1 << 20
_LENGTHS = struct.Struct("<IQ")
_DESCRIPTOR_BYTES = socket.CMSG_SPACE(array.array("i").itemsize)


class BrokenWireError(Exception):
    """The other end is gone, or speaks nonsense."""


class Channel:
    """One end of the socket; `deadline` (monotonic seconds) bounds every wait, None waits on."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.deadline: float | None = None
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            connection.setsockopt(socket.SOL_SOCKET, option, SOCKET_BYTES)

    def send(
        self, head: Mapping[str, Any], payload: memoryview, *, descriptor: int | None = None
    ) -> None:
        """One frame.

        Raises:
            BrokenWireError: nobody reads.
            TimeoutError: the deadline passed.
        """
        text = json.dumps(head).encode()
        start = _LENGTHS.pack(len(text), payload.nbytes) + text
        try:
            self._arm()
            if descriptor is None:
                self._connection.sendall(start)
            else:
                sent = socket.send_fds(self._connection, [start], [descriptor])
                self._connection.sendall(start[sent:])
            if payload.nbytes:
                self._arm()
                self._connection.sendall(payload)
        except TimeoutError:
            raise
        except OSError as err:
            raise BrokenWireError(str(err)) from err

    def receive_head(self) -> tuple[dict[str, Any], int, int | None]:
        """A frame's head, the length of the payload that follows, and its descriptor, if any.

        Raises:
            BrokenWireError: the other end closed, or the head is no JSON object.
            TimeoutError: the deadline passed.
        """
        lengths = bytearray(_LENGTHS.size)
        got, descriptor = self._receive_first(lengths)
        try:
            self._fill(memoryview(lengths)[got:])
            head_bytes, payload_bytes = _LENGTHS.unpack(lengths)
            if head_bytes > MAX_HEAD_BYTES:
                raise BrokenWireError(f"a head of {head_bytes} bytes")
            text = bytearray(head_bytes)
            self._fill(memoryview(text))
            head = json.loads(text)
        except (ValueError, RecursionError) as err:
            raise BrokenWireError("a head that is no JSON") from err
        if not isinstance(head, dict):
            raise BrokenWireError("a head that is no object")
        return head, payload_bytes, descriptor

    def receive_into(self, payload: memoryview) -> None:
        """The payload, which must have the announced length."""
        self._fill(payload)

    def close(self) -> None:
        """Close this end."""
        self._connection.close()

    def _receive_first(self, into: bytearray) -> tuple[int, int | None]:
        try:
            self._arm()
            got, ancillary, _, _ = self._connection.recvmsg_into([into], _DESCRIPTOR_BYTES)
        except TimeoutError:
            raise
        except OSError as err:
            raise BrokenWireError(str(err)) from err
        if not got:
            raise BrokenWireError("closed")
        descriptors = array.array("i")
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
        return got, descriptors[0] if descriptors else None

    def _fill(self, into: memoryview) -> None:
        into = into.cast("B")
        while into.nbytes:
            try:
                self._arm()
                got, _, _, _ = self._connection.recvmsg_into([into])
            except TimeoutError:
                raise
            except OSError as err:
                raise BrokenWireError(str(err)) from err
            if not got:
                raise BrokenWireError("closed in the middle of a frame")
            into = into[got:]

    def _arm(self) -> None:
        if self.deadline is not None:
            # Past the deadline what has already arrived is still taken.
            self._connection.settimeout(max(0.001, self.deadline - time.monotonic()))
