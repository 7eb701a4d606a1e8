"""Latency of a running emotion endpoint, alone (c=1) and under load (c=16), as one JSON.

    visage serve --model emotion@champion --port 8000 &
    python tests/bench/serve_latency.py http://127.0.0.1:8000 picture.jpg

`stated` sends the face's box, so the network and the way to it are measured; `found` has the face
detected. The client shares the machine with the endpoint; loopback only.
"""

from __future__ import annotations

import argparse
import json
import statistics
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

from visage_serve.client import EmotionClient

BUDGET_S = 60.0


def percentile(values: list[float], share: float) -> float:
    """The value below which `share` of all lie."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def measure(
    url: str,
    picture: bytes,
    boxes: list[list[tuple[int, int, int, int]]] | None,
    *,
    clients: int,
    requests: int,
) -> dict[str, float]:
    """Closed loop: each client asks again when it has its answer."""
    took_s: list[float] = []
    lock = threading.Lock()
    deadline = time.monotonic() + BUDGET_S

    def work() -> None:
        with EmotionClient(url, timeout_s=BUDGET_S) as client:
            client.ask([picture], boxes)  # opens the connection
            start_line.wait(timeout=BUDGET_S)
            for _ in range(requests // clients):
                if time.monotonic() > deadline:
                    return
                start = time.perf_counter()
                client.ask([picture], boxes)
                with lock:
                    took_s.append(time.perf_counter() - start)

    start_line = threading.Barrier(clients + 1)
    threads = [threading.Thread(target=work) for _ in range(clients)]
    for thread in threads:
        thread.start()
    start_line.wait(timeout=BUDGET_S)
    start = time.perf_counter()
    for thread in threads:
        thread.join()
    wall_s = time.perf_counter() - start
    return {
        "clients": clients,
        "requests": len(took_s),
        "p50_ms": round(statistics.median(took_s) * 1e3, 1),
        "p99_ms": round(percentile(took_s, 0.99) * 1e3, 1),
        "rate_hz": round(len(took_s) / wall_s, 1),
    }


def main() -> None:
    """Print the measurement of one endpoint."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("picture", type=Path)
    parser.add_argument("--requests", type=int, default=320)
    parser.add_argument("--found-requests", type=int, default=64)
    given = parser.parse_args()
    if urlsplit(given.url).hostname not in ("127.0.0.1", "localhost", "::1"):
        parser.error("loopback only: this is a load")
    picture = given.picture.read_bytes()
    with EmotionClient(given.url) as client:
        (found,) = client.emotion([picture])
        if not found.faces:
            parser.error(f"{given.picture}: no face was found in it")
        service = client.service()
    boxes = [[found.faces[0].box]]
    result = {
        "picture": [found.width, found.height],
        "detector": service.detector,
        "stated": [
            measure(given.url, picture, boxes, clients=clients, requests=given.requests)
            for clients in (1, 16)
        ],
        "found": [
            measure(given.url, picture, None, clients=clients, requests=given.found_requests)
            for clients in (1, 16)
        ],
    }
    with EmotionClient(given.url) as client:
        result["batches"] = client.service().batches
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
