"""Latency of an emotion endpoint, alone (c=1) and under load (c=16).

`python -m tests.bench` starts an endpoint of its own and takes it down; one that runs already is
measured, as one JSON, by

    visage serve --model emotion@champion --port 8000 &
    python tests/bench/serve_latency.py http://127.0.0.1:8000 picture.jpg

`stated` sends the face's box, so the network and the way to it are measured; `found` has the face
detected. The client shares the machine with the endpoint; loopback only.
"""

from __future__ import annotations

import argparse
import json
import socket
import statistics
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from visage_serve.client import EmotionClient

if TYPE_CHECKING:
    from tests.bench.figures import Figure

__all__ = ["measure", "measure_latency", "percentile"]

BUDGET_S = 60.0
CLIENTS = (1, 16)
Boxes = list[list[tuple[int, int, int, int]]]


def measure(folder: Path, *, quick: bool) -> list[Figure]:
    """Serve the untrained small network, whose weights cost what trained ones cost, and ask it."""
    from tests.bench.corpora import draw
    from tests.bench.figures import figure

    from visage.media.image import encode_jpeg
    from visage.specs.serve import ServeSpec
    from visage_jobs.serve import serving

    image, box, _ = draw(1)[0]
    picture = encode_jpeg(image, 92)
    start = time.perf_counter()
    port = _free_port()
    spec = ServeSpec(model=_untrained_model(folder), port=port, faces="dlib68")
    with serving(spec) as endpoint:
        with EmotionClient(endpoint.url) as client:
            client.ask([picture], [[box]])
        start_s = time.perf_counter() - start
        figures = _in_turns(endpoint.url, picture, [[box]], quick=quick)
    how = "from nothing to the first answer: Ray, Serve, one replica, proof by an inference"
    return [figure("endpoint start", [start_s], "s", how=how), *figures]


def _in_turns(url: str, picture: bytes, stated: Boxes, *, quick: bool) -> list[Figure]:
    """Rounds of c=1 and c=16 in turns, boxes stated and faces found."""
    from tests.bench.figures import figure

    sides = [
        (clients, word, boxes, requests if not quick else 2 * clients)
        for word, boxes, per_client in (("stated", stated, (200, 30)), ("found", None, (20, 2)))
        for clients, each in zip(CLIENTS, per_client, strict=True)
        for requests in (clients * each,)
    ]
    rounds: dict[tuple[int, str], list[dict[str, float]]] = {}
    for _ in range(1 if quick else 3):
        for clients, word, boxes, requests in sides:
            seen = measure_latency(url, picture, boxes, clients=clients, requests=requests)
            rounds.setdefault((clients, word), []).append(seen)
    figures = []
    for (clients, word), seen_rounds in rounds.items():
        requests = int(seen_rounds[0]["requests"])
        how = (
            f"POST one picture of 533x400, face {word}, {clients} keep-alive clients in a closed "
            f"loop on the same machine, {requests} requests a round, dlib68, emotion-small"
        )
        for key, unit in (("p50_ms", "ms"), ("p99_ms", "ms"), ("rate_hz", "1/s")):
            values = [one[key] for one in seen_rounds]
            name = f"face {word}, c={clients}: {key.partition('_')[0]}"
            figures.append(figure(name, values, unit, how=how))
    return figures


def _untrained_model(folder: Path) -> str:
    from visage.inference.artifact import new_emotion_model, save_emotion_model
    from visage.specs.emotion import EMOTIONS
    from visage.specs.train import EmotionTrainSpec
    from visage.store.open import open_store
    from visage_jobs.presets import find_preset

    spec = EmotionTrainSpec.load(find_preset("emotion-small")).model
    model = new_emotion_model(spec, classes=EMOTIONS)
    store = open_store(str(folder))
    save_emotion_model(store, "model", model, spec, classes=EMOTIONS, metadata={"trained": False})
    return str(folder / "model")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def percentile(values: list[float], share: float) -> float:
    """The value below which `share` of all lie."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def measure_latency(
    url: str,
    picture: bytes,
    boxes: Boxes | None,
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
    result: dict[str, object] = {
        "picture": [found.width, found.height],
        "detector": service.detector,
        "stated": [
            measure_latency(given.url, picture, boxes, clients=clients, requests=given.requests)
            for clients in CLIENTS
        ],
        "found": [
            measure_latency(
                given.url, picture, None, clients=clients, requests=given.found_requests
            )
            for clients in CLIENTS
        ],
    }
    with EmotionClient(given.url) as client:
        result["batches"] = client.service().batches
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
