"""The Ray shell: an ingress that holds the emotion model itself, so that there is no second hop.

The talking head, if one is served, is a deployment behind it (`head_replica`). What both do is
elsewhere and tested without Ray; here stand the numbers that Ray needs, and the one place where
Ray gathers faces over requests into batches.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from ray import serve
from ray.serve.handle import DeploymentHandle

from visage.data.emotion_inputs import EmotionInputs
from visage.media.sandbox import MediaSandbox
from visage.specs.serve import ServeSpec
from visage.store.base import join_uri
from visage_serve.api import build_api
from visage_serve.emotion import EmotionService
from visage_serve.head_replica import RemoteHeads, bind_heads
from visage_serve.network import FaceScores, Network
from visage_serve.pictures import Preparer
from visage_serve.pinned import PinnedModel, PinnedModels, load_pinned, pin_models
from visage_serve.wire import ModelReply

__all__ = ["Ingress", "build", "build_app"]

SPARE_REQUESTS = 8
"""Beyond the admitted ones, so that health, page and refusals get through under overload."""
DRAIN_S = 20.0
DECODE_TIMEOUT_S = 10.0
"""No honest picture within the limits takes this long to decode."""
HEALTH_GRACE_S = 1.0
"""Ray gives up this much later than the replica, whose answer says why."""


class Ingress:
    """One process with the HTTP routes and, if it is served, the emotion model in threads.

    It is not ready before a real inference has succeeded, so broken weights never take traffic.
    """

    async def __init__(  # type: ignore[misc]  # Ray awaits it
        self,
        spec: dict[str, Any],
        pinned: PinnedModels,
        heads: DeploymentHandle | None = None,
    ) -> None:
        self._spec = ServeSpec.parse(spec)
        self._emotion = None
        if pinned.emotion is not None:
            self._emotion = _open_service(self._spec, pinned.emotion)
            await self._emotion.prove()
        self._heads = None
        if heads is not None and pinned.talking_head is not None:
            self._heads = RemoteHeads(self._spec.heads, pinned.talking_head, heads)

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Ray asks for the routes once the replica stands."""
        return build_api(self._spec, emotion=self._emotion, heads=self._heads)

    async def check_health(self) -> None:
        """A real inference within the deadline; Ray replaces the replica after three failures.

        The talking head's replicas are asked by Ray themselves.
        """
        if self._emotion is not None:
            await self._emotion.prove()


def build_app(spec: ServeSpec, pinned: PinnedModels | None = None) -> serve.Application:
    """The application to run; models are resolved and pinned here unless they are already.

    Raises:
        SpecError, NotFoundError, CorruptError: as `pin_models`.
    """
    pinned = pinned or pin_models(spec)
    has_emotion, head = pinned.emotion is not None, pinned.talking_head
    # of the talking head: orders, and who asks for its styles
    in_flight = spec.in_flight + (0 if head is None else 2 * spec.heads.in_flight)
    deployment = serve.deployment(
        serve.ingress()(Ingress),
        name="emotion" if has_emotion else "gate",
        num_replicas=spec.replicas,
        max_ongoing_requests=in_flight + SPARE_REQUESTS,
        max_queued_requests=in_flight,
        backpressure_config={"status_code": 429, "retry_after_s": 1},
        health_check_period_s=spec.health_period_s,
        health_check_timeout_s=spec.health_timeout_s + HEALTH_GRACE_S,
        graceful_shutdown_timeout_s=DRAIN_S,
        max_constructor_retry_count=2,
        max_surge_percent=100,  # old replicas serve until new ones have proven themselves
        ray_actor_options={
            "num_cpus": spec.ingress_cpus(with_emotion=has_emotion),
            "num_gpus": 1 if has_emotion and spec.device == "cuda" else 0,
            "runtime_env": {"env_vars": {"OMP_NUM_THREADS": str(spec.torch_threads)}},
        },
    )
    heads = () if head is None else (bind_heads(spec, head),)
    app: serve.Application = deployment.bind(spec.model_dump(mode="json"), pinned, *heads)
    return app


def build(args: Mapping[str, object]) -> serve.Application:
    """The application of a Serve config: `import_path: visage_serve.app:build`, `args: {…}`.

    The values of `args` are those of the serve spec and go there as they are; only a registry that
    they do not name is $MLFLOW_TRACKING_URI, and styles that people made are those of the workspace
    $VISAGE_WORKSPACE. Whoever runs the config opens the port, so `host` and
    `port` have no effect here.

    Raises:
        SpecError, NotFoundError, CorruptError: as `build_app`; Ray shows the sentence as the reason
            of `DEPLOY_FAILED`.
    """
    surroundings = {"tracking_uri": os.environ.get("MLFLOW_TRACKING_URI")}
    spec = ServeSpec.parse({**surroundings, **args}, origin="args")
    workspace = os.environ.get("VISAGE_WORKSPACE")
    if workspace and spec.heads.styles_uri is None:
        heads = spec.heads.model_copy(update={"styles_uri": join_uri(workspace, "styles")})
        spec = spec.model_copy(update={"heads": heads})
    return build_app(spec)


def _open_service(spec: ServeSpec, pinned: PinnedModel) -> EmotionService:
    """Everything a replica holds; slow, and the only place that loads weights."""
    import torch

    from visage.faces import open_provider
    from visage.inference.emotion import EmotionPredictor

    torch.set_num_threads(spec.torch_threads)
    artifact = load_pinned(pinned, device=spec.device)
    weights_dir = Path(spec.face_weights) if spec.face_weights else None
    network = Network(EmotionPredictor(artifact))
    sandbox = MediaSandbox(spec.prepare_threads, image_timeout_s=DECODE_TIMEOUT_S)
    sandbox.start()  # now, so that no request waits for it
    preparer = Preparer(
        open_detector=partial(open_provider, spec.faces, weights_dir=weights_dir),
        inputs=artifact.spec.input,
        limits=spec.limits,
        sandbox=sandbox,
        threads=spec.prepare_threads,
    )
    batched = serve.batch(max_batch_size=spec.batch_faces, batch_wait_timeout_s=spec.batch_wait_s)(
        network.run
    )

    async def forward(inputs: EmotionInputs) -> FaceScores:
        await network.idle()
        scores: FaceScores = await batched(inputs)
        return scores

    return EmotionService(
        spec=spec,
        model=ModelReply(
            name=pinned.name,
            version=pinned.version,
            digest=pinned.digest,
            classes=list(artifact.classes),
        ),
        preparer=preparer,
        network=network,
        forward=forward,
    )
