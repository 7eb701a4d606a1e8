"""The talking head under Ray: a deployment of its own behind the ingress, and the way to reach it.

A rendering takes seconds to minutes and all of a core; it shares neither process nor replica count
with the emotion model, whose answers take milliseconds. What a hop costs (4 ms) is nothing here.

Refusals cross between processes as values, for an exception of Ray is no exception of ours.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray import serve
from ray.exceptions import RayActorError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from visage.errors import VisageError
from visage.specs.serve import HeadServeSpec, ServeSpec
from visage_serve.heads import HeadService, HeadsNotReadyError, Video
from visage_serve.orders import Order
from visage_serve.pinned import PinnedModel, load_pinned_head
from visage_serve.refusal import Refusal
from visage_serve.scratch import Scratch
from visage_serve.studio import Studio
from visage_serve.styles import StyleShelf
from visage_serve.wire import ErrorDetail, HeadReply, StylesReply

__all__ = ["Declined", "HeadReplica", "RemoteHeads", "bind_heads", "head_reply"]

SPARE_REQUESTS = 8
"""Beyond the admitted ones, so that health and styles get through under overload."""
DRAIN_S = 30.0
"""A video that takes longer when its replica shall go is lost; the client asks again."""
IMAGE_TIMEOUT_S = 10.0
SOUND_TIMEOUT_S = 30.0
"""No honest file within the limits takes this long to decode."""
HEALTH_GRACE_S = 1.0
"""Ray gives up this much later than the replica, whose answer says why."""
ANSWER_S = 10.0
"""For what a replica answers without rendering."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Declined:
    """A refusal on its way between processes."""

    status: int
    detail: ErrorDetail
    headers: dict[str, str]

    @classmethod
    def of(cls, err: Refusal) -> Declined:
        """The refusal as a value."""
        return cls(status=err.status, detail=err.detail, headers=err.headers)

    def refusal(self) -> Refusal:
        """The value as a refusal."""
        return Refusal(
            self.status, self.detail.code, self.detail.message, field=self.detail.field,
            headers=self.headers,
        )  # fmt: skip


class HeadReplica:
    """One process that renders one video at a time; not ready before it has rendered one."""

    async def __init__(  # type: ignore[misc]  # Ray awaits it
        self, spec: dict[str, Any], pinned: PinnedModel
    ) -> None:
        self._scratch = Scratch()
        self._service = _open_service(ServeSpec.parse(spec), pinned, self._scratch)
        await self._service.prove()

    def __del__(self) -> None:
        """Ray calls this when the replica has drained."""
        scratch = getattr(self, "_scratch", None)
        if scratch is not None:
            scratch.close()

    async def animate(self, order: Order) -> Video | Declined:
        """One video, or why there is none; ends within a chunk when the caller leaves."""
        try:
            return await self._service.animate(order)
        except Refusal as err:
            return Declined.of(err)

    async def styles(self) -> StylesReply | Declined:
        """The styles that there are now, or why nobody knows."""
        try:
            return await self._service.styles()
        except Refusal as err:
            return Declined.of(err)

    async def prove(self) -> str | None:
        """None if a frame was rendered of late, or is now; else why not."""
        try:
            await self._service.prove()
        except VisageError as err:
            return str(err)
        return None

    async def check_health(self) -> None:
        """A frame within the deadline; Ray replaces the replica after three failures."""
        await self._service.prove()


class RemoteHeads:
    """The heads of an application, seen from its ingress."""

    def __init__(self, spec: HeadServeSpec, pinned: PinnedModel, handle: DeploymentHandle) -> None:
        self.spec = spec
        self.model = head_reply(spec, pinned)
        self._handle = handle

    async def animate(self, order: Order) -> Video:
        """The video; Refusal if there is none. Whoever stops to wait ends the rendering."""
        asked = self._handle.animate.remote(order)
        try:
            async with asyncio.timeout(self.spec.request_timeout_s + HEALTH_GRACE_S):
                answer: Video | Declined = await asked
        except TimeoutError:
            raise _unavailable("no replica answered in time") from None
        except (RayServeException, RayActorError) as err:
            raise _unavailable(f"the replica went away: {type(err).__name__}") from err
        finally:
            asked.cancel()  # without effect on what has ended
        if isinstance(answer, Declined):
            raise answer.refusal()
        return answer

    async def styles(self) -> StylesReply:
        """The styles that an order may name."""
        try:
            async with asyncio.timeout(ANSWER_S):
                found: StylesReply | Declined = await self._handle.styles.remote()
        except (TimeoutError, RayServeException, RayActorError) as err:
            raise _unavailable(f"no replica answers: {type(err).__name__}") from None
        if isinstance(found, Declined):
            raise found.refusal()
        return found

    async def prove(self) -> None:
        """HeadsNotReadyError unless a replica says that it renders."""
        try:
            async with asyncio.timeout(self.spec.health_timeout_s + HEALTH_GRACE_S):
                problem: str | None = await self._handle.prove.remote()
        except (TimeoutError, RayServeException, RayActorError) as err:
            problem = f"no replica of the talking head answers: {type(err).__name__}"
        if problem is not None:
            raise HeadsNotReadyError(problem)


def bind_heads(spec: ServeSpec, pinned: PinnedModel) -> serve.Application:
    """The deployment of the talking head, for the ingress to hold a handle of."""
    heads = spec.heads
    deployment = serve.deployment(
        HeadReplica,
        name="talking-head",
        num_replicas=heads.replicas,
        # every ingress replica may hold so many; what is rendered when, the backlog decides
        max_ongoing_requests=heads.in_flight * spec.replicas + SPARE_REQUESTS,
        health_check_period_s=heads.health_period_s,
        health_check_timeout_s=heads.health_timeout_s + HEALTH_GRACE_S,
        graceful_shutdown_timeout_s=DRAIN_S,
        max_constructor_retry_count=2,
        ray_actor_options={
            "num_cpus": heads.replica_cpus,
            "num_gpus": 1 if heads.device == "cuda" else 0,
            "runtime_env": {"env_vars": {"OMP_NUM_THREADS": str(heads.torch_threads)}},
        },
    )
    app: serve.Application = deployment.bind(spec.model_dump(mode="json"), pinned)
    return app


def head_reply(spec: HeadServeSpec, pinned: PinnedModel) -> HeadReply:
    """What `/v1/models` says of the talking head."""
    return HeadReply(
        name=pinned.name,
        version=pinned.version,
        digest=pinned.digest,
        limits=spec.limits.model_dump(),
    )


def _unavailable(reason: str) -> Refusal:
    return Refusal(503, "not_ready", reason, headers={"Retry-After": "5"})


def _open_service(spec: ServeSpec, pinned: PinnedModel, scratch: Scratch) -> HeadService:
    """Everything a replica holds; slow, and the only place that loads the model."""
    import torch

    from visage.faces import open_provider
    from visage.media.sandbox import MediaSandbox

    torch.set_num_threads(spec.heads.torch_threads)
    head = load_pinned_head(pinned, device=spec.heads.device)
    sandbox = MediaSandbox(image_timeout_s=IMAGE_TIMEOUT_S, clip_timeout_s=SOUND_TIMEOUT_S)
    sandbox.start()  # now, so that no request waits for it
    studio = Studio(
        head=head,
        title=pinned.title,
        provider=open_provider(
            spec.faces, weights_dir=Path(spec.face_weights) if spec.face_weights else None
        ),
        sandbox=sandbox,
        limits=spec.heads.limits,
    )
    return HeadService(
        spec=spec.heads,
        model=head_reply(spec.heads, pinned),
        studio=studio,
        shelf=StyleShelf(head, spec.heads.styles_uri),
        scratch=scratch,
    )
