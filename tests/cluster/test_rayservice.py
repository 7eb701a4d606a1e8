"""The endpoint's manifest: a config that Ray Serve accepts, on workers that can hold it."""

from __future__ import annotations

import inspect
import warnings
from importlib import import_module
from typing import Any

import yaml
from manifests import RayObject, ray_objects

from visage.specs.serve import ServeSpec


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


def test_the_endpoint_answers_before_its_proxy_gives_up() -> None:
    config = serve_config()
    spec = ServeSpec.parse(config["applications"][0]["args"])
    longest = spec.limits.upload_timeout_s + spec.request_timeout_s
    assert config["http_options"]["request_timeout_s"] > longest
    assert config["http_options"]["port"] == 8000


def test_replicas_fit_into_the_workers_and_so_do_those_of_a_roll_out() -> None:
    spec = ServeSpec.parse(serve_config()["applications"][0]["args"])
    (group,) = service().workers
    assert spec.device == "cuda"
    assert spec.replica_cpus <= group.each("cpu")
    per_pod = int(group.each("nvidia.com/gpu"))
    assert spec.replicas <= group.replicas * per_pod
    assert 2 * spec.replicas <= group.most * per_pod  # max_surge_percent=100
    assert service().cluster["enableInTreeAutoscaling"] is True


def test_traffic_goes_to_workers_that_answer_only() -> None:
    assert service().spec["excludeHeadPodFromServeSvc"] is True
    (group,) = service().workers
    assert group.container["readinessProbe"]["httpGet"] == {"path": "/-/healthz", "port": 8000}
    assert {"name": "serve", "containerPort": 8000} in group.container["ports"]
