"""What Ray Serve is handed, without a Ray that runs."""

from __future__ import annotations

import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from visage.errors import NotFoundError, SpecError
from visage.store.commit import commit
from visage.store.open import open_store


@pytest.fixture(scope="module")
def app() -> ModuleType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Ray imports is not ours to mend
        import visage_serve.app

    return visage_serve.app


@pytest.fixture
def model_uri(tmp_path: Path) -> str:
    commit(open_store(str(tmp_path)), "model", {"model.safetensors": b"weights"})
    return str(tmp_path / "model")


def built_by_ray(import_path: str, args: dict[str, Any]) -> Any:
    """The deployment that Ray makes of a Serve config's import path and args, its own way."""
    from ray._common.utils import import_attr
    from ray.serve._private.api import call_user_app_builder_with_args_if_necessary

    return call_user_app_builder_with_args_if_necessary(
        import_attr(import_path), args
    )._bound_deployment


def test_a_serve_config_builds_the_application_with_exactly_its_args(
    app: ModuleType, model_uri: str
) -> None:
    args = {"model": model_uri, "replicas": 2, "replica_cpus": 1.5, "limits": {"pictures": 3}}
    deployment = built_by_ray("visage_serve.app:build", args)
    spec, pinned = deployment.init_args
    assert {key: spec[key] for key in ("model", "replicas", "replica_cpus")} == {
        key: args[key] for key in ("model", "replicas", "replica_cpus")
    }
    assert spec["limits"]["pictures"] == 3
    assert pinned.emotion.uri == model_uri
    assert pinned.talking_head is None
    assert deployment.num_replicas == 2
    assert deployment.ray_actor_options["num_cpus"] == 1.5


@pytest.mark.parametrize(
    ("args", "expected"),
    [({}, "http://tracking:5000"), ({"tracking_uri": "http://other:1"}, "http://other:1")],
)
def test_the_registry_is_that_of_the_surroundings_unless_the_args_name_one(
    app: ModuleType, monkeypatch: pytest.MonkeyPatch, args: dict[str, str], expected: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking:5000")
    seen: list[Any] = []
    monkeypatch.setattr(app, "build_app", seen.append)
    app.build(args)
    assert [spec.tracking_uri for spec in seen] == [expected]


@pytest.mark.parametrize(
    ("heads", "expected"),
    [({}, "s3://visage/workspace/styles"), ({"styles_uri": "s3://other/x"}, "s3://other/x")],
)
def test_made_styles_are_those_of_the_workspace_unless_the_args_name_others(
    app: ModuleType, monkeypatch: pytest.MonkeyPatch, heads: dict[str, str], expected: str
) -> None:
    monkeypatch.setenv("VISAGE_WORKSPACE", "s3://visage/workspace")
    seen: list[Any] = []
    monkeypatch.setattr(app, "build_app", seen.append)
    app.build({"heads": heads})
    assert [spec.heads.styles_uri for spec in seen] == [expected]


def test_an_unknown_arg_is_refused_by_name(app: ModuleType) -> None:
    with pytest.raises(SpecError, match="args: replica: no such key"):
        app.build({"replica": 2})


def test_without_a_model_the_reason_says_how_to_get_one(app: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="visage train"):
        app.build({"model": str(tmp_path / "nothing")})


def test_a_talking_head_is_a_deployment_of_its_own_behind_the_ingress(
    app: ModuleType, model_uri: str
) -> None:
    args = {"model": model_uri, "talking_head": model_uri, "heads": {"replicas": 3}}
    ingress = built_by_ray("visage_serve.app:build", args)
    spec, pinned, bound = ingress.init_args
    head = bound._bound_deployment
    assert (ingress.name, head.name) == ("emotion", "talking-head")
    assert (ingress.num_replicas, head.num_replicas) == (1, 3)
    assert head.init_args == (spec, pinned.talking_head)
    # what the ingress may hold, the replica takes, and health besides
    assert head.max_ongoing_requests > spec["heads"]["in_flight"]


def test_an_ingress_without_a_model_reserves_next_to_nothing(
    app: ModuleType, model_uri: str
) -> None:
    args = {"talking_head": model_uri, "replica_cpus": 4, "device": "cuda"}
    ingress = built_by_ray("visage_serve.app:build", args)
    assert ingress.name == "gate"
    assert ingress.ray_actor_options["num_cpus"] < 1
    assert ingress.ray_actor_options["num_gpus"] == 0
