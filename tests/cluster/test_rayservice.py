"""The endpoints' manifest: a config that Ray Serve accepts, on workers that can hold it."""

from __future__ import annotations

import inspect
import warnings
from importlib import import_module
from typing import Any

import pytest
import yaml
from manifests import RayObject, core_objects, ray_objects

from visage.specs.serve import ServeSpec
from visage_jobs.workspace import Workspace


def service() -> RayObject:
    """The one RayService."""
    (found,) = [one for one in ray_objects() if one.kind == "RayService"]
    return found


def serve_config() -> dict[str, Any]:
    """What KubeRay hands to Ray Serve."""
    config: dict[str, Any] = yaml.safe_load(service().spec["serveConfigV2"])
    return config


def test_ray_serve_accepts_the_config() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from ray.serve.schema import ServeDeploySchema

    (application,) = ServeDeploySchema.model_validate(serve_config()).applications
    module, name = str(application.import_path).split(":")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        builder = getattr(import_module(module), name)
    assert list(inspect.signature(builder).parameters) == ["args"]


def spec() -> ServeSpec:
    """What the application is built from."""
    return ServeSpec.parse(serve_config()["applications"][0]["args"])


def test_the_endpoints_answer_before_their_proxy_gives_up() -> None:
    options = serve_config()["http_options"]
    assert options["request_timeout_s"] > spec().answer_within_s(with_heads=True)
    assert options["port"] == 8000


def test_replicas_fit_into_the_workers_and_so_do_those_of_a_roll_out() -> None:
    """Placed as badly as can be, no worker is left with CPUs that none of them fits into."""
    (group,) = service().workers
    wanted, heads = spec(), spec().heads
    assert heads.device == "cuda"
    assert heads.replicas <= group.all("nvidia.com/gpu")
    assert wanted.device == "cpu"
    surged = 2 * wanted.replicas  # max_surge_percent=100
    per_pod = (group.each("cpu") - heads.replica_cpus) // wanted.replica_cpus
    assert surged <= per_pod * group.replicas
    assert heads.torch_threads <= heads.replica_cpus


def test_styles_made_in_the_workspace_are_those_that_the_endpoint_knows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from visage_serve import app

    (_, config) = next(core_objects("ConfigMap"))
    for group in (service().head, *service().workers):
        assert {"configMapRef": {"name": config["metadata"]["name"]}} in group.container["envFrom"]
    workspace = config["data"]["VISAGE_WORKSPACE"]
    monkeypatch.setenv("VISAGE_WORKSPACE", workspace)
    seen: list[ServeSpec] = []
    monkeypatch.setattr(app, "build_app", seen.append)
    app.build(serve_config()["applications"][0]["args"])
    assert [spec.heads.styles_uri for spec in seen] == [Workspace.open(workspace).styles()]


def test_a_pod_that_goes_waits_until_its_replicas_have_drained() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from visage_serve import app, head_replica

    (group,) = service().workers
    hook = group.container["lifecycle"]["preStop"]["exec"]["command"][-1]
    assert float(hook.rpartition(" ")[2]) > max(app.DRAIN_S, head_replica.DRAIN_S)


def test_traffic_goes_to_workers_that_answer_only() -> None:
    assert service().spec["excludeHeadPodFromServeSvc"] is True
    (group,) = service().workers
    assert group.container["readinessProbe"]["httpGet"] == {"path": "/-/healthz", "port": 8000}
    assert {"name": "serve", "containerPort": 8000} in group.container["ports"]
