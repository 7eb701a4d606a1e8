"""`visage serve`: put the endpoints on Ray Serve, and take them down again without loss.

Everything that can be wrong is looked at before Ray is started: models, their digests, the port.
"""

from __future__ import annotations

import errno
import logging
import math
import os
import re
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from visage.errors import SpecError, VisageError
from visage.specs.serve import ServeSpec
from visage_jobs.cluster import ray_session
from visage_serve.pinned import PinnedModels, pin_models

__all__ = ["Endpoint", "EndpointFailedError", "check_port", "serving", "wait_for_stop"]

log = logging.getLogger(__name__)

APP_NAME = "visage-emotion"
PROXY_GRACE_S = 5.0
"""The proxy gives up this much later than the replica, whose answer says why."""
POLL_S = 1.0
TAKE_DOWN_S = 40.0
RAISED = re.compile(r"[A-Za-z_][\w.]*(?:Error|Exception): (.*)")
"""The last line of a traceback."""


class EndpointFailedError(VisageError):
    """The endpoint did not come up, or did not stay up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Running endpoints."""

    url: str
    models: PinnedModels

    def examples(self) -> list[str]:
        """Commands to paste."""
        found = []
        if self.models.emotion is not None:
            found.append(f"curl -F image=@picture.jpg {self.url}/v1/emotion")
        if self.models.talking_head is not None:
            found.append(
                "curl -F portrait=@face.jpg -F audio=@speech.wav -o out.mp4 "
                f"{self.url}/v1/talking-head"
            )
        return found


@contextmanager
def serving(spec: ServeSpec, *, address: str | None = None) -> Iterator[Endpoint]:
    """The endpoints, up and proven by real inferences; drained and taken down on the way out.

    Args:
        spec: What to serve and where.
        address: A Ray cluster; by default the connected one, $RAY_ADDRESS, or one of our own.

    Raises:
        NotFoundError, CorruptError, SpecError: no such model, other weights, or a taken port.
        EndpointFailedError: no replica became ready; an endpoint that stood before still does.
    """
    pinned = pin_models(spec)
    is_remote = bool(address or os.environ.get("RAY_ADDRESS"))
    was_connected = _is_connected()
    if was_connected:
        _end_idle_serve()
    if not is_remote:
        check_port(spec.host, spec.port)
    with ray_session(address=address, cpus=_cpus_for(spec, pinned)):
        if not is_remote:
            _check_gpus(spec, pinned)
        is_ours = not _is_standing()
        try:
            _deploy(spec, pinned)
            is_ours = True
            yield Endpoint(url=_url(spec), models=pinned)
        finally:
            if is_ours:  # a roll-out that failed leaves what stood before
                _within(TAKE_DOWN_S, _take_down)


def _is_connected() -> bool:
    ray = sys.modules.get("ray")  # importing it would fix how it authenticates, too early
    return ray is not None and bool(ray.is_initialized())


def _deploy(spec: ServeSpec, pinned: PinnedModels) -> None:
    from ray import serve
    from ray.serve.exceptions import RayServeException

    from visage_serve.app import build_app

    logging.getLogger("ray.serve").setLevel(logging.ERROR)  # its news for people is ours, twice
    within_s = spec.answer_within_s(with_heads=pinned.talking_head is not None)
    serve.start(
        http_options={
            "host": spec.host,
            "port": spec.port,
            "request_timeout_s": within_s + PROXY_GRACE_S,
        }
    )
    try:
        serve.run(build_app(spec, pinned), name=APP_NAME, route_prefix="/")
    except (RuntimeError, RayServeException) as err:
        raise EndpointFailedError(f"no replica became ready: {_reason(err)}") from err


def _reason(err: Exception) -> str:
    """What the replica said; Ray's own words are that it failed, and a traceback."""
    from ray import serve

    state = serve.status().applications.get(APP_NAME)
    told = [each.message for each in state.deployments.values()] if state else []
    lines = "\n".join(told).strip().splitlines()
    for at in reversed(range(len(lines))):
        found = RAISED.match(lines[at])
        if found:
            return "\n".join([found[1], *lines[at + 1 :]])
    return str(err)


def _check_gpus(spec: ServeSpec, pinned: PinnedModels) -> None:
    """SpecError on a machine without enough GPUs; Ray would wait for them without end."""
    import ray

    needed = 0
    if pinned.emotion is not None and spec.device == "cuda":
        needed += spec.replicas
    if pinned.talking_head is not None and spec.heads.device == "cuda":
        needed += spec.heads.replicas
    present = int(ray.cluster_resources().get("GPU", 0))
    if present < needed:
        raise SpecError(
            f"{needed} replica(s) on cuda need a GPU each and there are {present}; "
            "set device=cpu (heads.device=cpu) or fewer replicas"
        )


def _is_standing() -> bool:
    from ray import serve

    return APP_NAME in serve.status().applications


def _take_down() -> None:
    from ray import serve

    serve.delete(APP_NAME)  # Serve itself ends with a Ray of our own, or stays for other apps


def _end_idle_serve() -> None:
    """End a Serve without applications: it would keep the port that it was started with."""
    from ray import serve

    standing = serve.status()
    if standing.proxies and not standing.applications:
        serve.shutdown()


def _within(timeout_s: float, work: Callable[[], None]) -> None:
    """Run to the end, or leave it behind: a Ray that is gone itself would hold us for a minute."""
    worker = threading.Thread(target=work, name="take-down", daemon=True)
    worker.start()
    worker.join(timeout_s)
    if worker.is_alive():
        log.warning("Ray did not take the endpoint down within %.0f s; leaving it", timeout_s)


def wait_for_stop() -> str:
    """Block until SIGTERM, SIGINT or the end of the application; says which it was.

    Raises:
        EndpointFailedError: Ray gave the application up.
    """
    from ray import serve

    stop = threading.Event()
    received: list[str] = []

    def note(number: int, _: FrameType | None) -> None:
        received.append(signal.Signals(number).name)
        stop.set()

    before = {each: signal.signal(each, note) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        while not stop.wait(POLL_S):
            state = serve.status().applications.get(APP_NAME)
            if state is None:
                return "deleted"
            if state.status == "DEPLOY_FAILED":
                raise EndpointFailedError(f"the application ended: {state.message}")
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
    return received[0]


def check_port(host: str, port: int) -> None:
    """SpecError if nothing can listen there; Ray would try for long and then hang."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as err:
        reason = "something else listens there" if err.errno == errno.EADDRINUSE else str(err)
        raise SpecError(f"{host}:{port}: {reason}; choose another --port") from None


def _cpus_for(spec: ServeSpec, pinned: PinnedModels) -> int:
    """Logical CPUs of a local Ray: the replicas', and one for what Serve itself starts."""
    needed = spec.replicas * spec.ingress_cpus(with_emotion=pinned.emotion is not None)
    if pinned.talking_head is not None:
        needed += spec.heads.replicas * spec.heads.replica_cpus
    return max(4, math.ceil(needed) + 1)


def _url(spec: ServeSpec) -> str:
    host = "127.0.0.1" if spec.host in ("0.0.0.0", "::") else spec.host
    return f"http://[{host}]:{spec.port}" if ":" in host else f"http://{host}:{spec.port}"
