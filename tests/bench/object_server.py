"""A local object server with a delay before every answer, as far away as a store in the region.

    python -m tests.bench.object_server FOLDER DELAY_MS     (prints its port)

It speaks the reading half of S3 (GET and HEAD of bucket/key; no listing) over kept connections, and
takes a tenth of a millisecond of one core for a request, so that on a machine
of two cores the clients are measured and not the server. Signatures are not looked at.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote

__all__ = ["object_server"]

START_LIMIT_S = 30.0
BUCKET = "bench"


@contextmanager
def object_server(folder: Path, *, delay_s: float) -> Iterator[str]:
    """The endpoint of a server over `folder`, whose keys are `bench/<path>`, in a process."""
    command = [sys.executable, "-m", "tests.bench.object_server", str(folder), str(delay_s * 1e3)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        yield f"http://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait(timeout=START_LIMIT_S)


async def _serve(folder: Path, delay_s: float) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while request := await reader.readuntil(b"\r\n\r\n"):
                method, target, _ = request.split(b" ", 2)
                await asyncio.sleep(delay_s)
                writer.write(_reply(folder, method.decode(), unquote(target.decode())))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client has gone
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


def _reply(folder: Path, method: str, target: str) -> bytes:
    path = (folder / target.partition("?")[0].removeprefix(f"/{BUCKET}/")).resolve()
    if method not in ("GET", "HEAD") or not path.is_relative_to(folder) or not path.is_file():
        return b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
    body = path.read_bytes()
    head = f'HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nETag: "{len(body)}"\r\n\r\n'
    return head.encode() + (body if method == "GET" else b"")


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1]).resolve(), float(sys.argv[2]) / 1e3))
