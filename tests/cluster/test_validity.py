"""Every manifest is what Kubernetes, KubeRay and Kueue accept, by their own schemas."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from manifests import CLUSTER, REPOSITORY, Group, core_objects, ray_objects
from yamllint import linter
from yamllint.config import YamlLintConfig

KUBERNETES = "1.37"
OBJECTS = ray_objects()
every_yaml = pytest.mark.parametrize(
    "path", sorted(CLUSTER.rglob("*.yaml")), ids=lambda path: path.name
)
every_pod = pytest.mark.parametrize(
    "group", [pytest.param(p, id=f"{one.path.stem}-{p.name}") for one in OBJECTS for p in one.pods]
)


@pytest.fixture(scope="module")
def crd_dir() -> Path:
    folder = REPOSITORY.parent / "shared" / "crds"
    if not folder.is_dir():
        pytest.skip(f"no custom resource definitions at {folder}")
    return folder


def strict(schema: Any) -> Any:
    """A CRD's schema as the API server's strict decoding reads it: unknown fields are errors."""
    if isinstance(schema, list):
        return [strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    made = {key: strict(value) for key, value in schema.items()}
    is_open = schema.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in schema
    if schema.get("type") == "object" and "properties" in schema and not is_open:
        made["additionalProperties"] = False
    return made


def crd_schema(folder: Path, document: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of one custom object in the version that it names."""
    group, version = document["apiVersion"].split("/")
    return _crd_schema(folder / f"{group}_{document['kind'].lower()}s.yaml", version)


@cache
def _crd_schema(path: Path, version: str) -> dict[str, Any]:
    definition = yaml.load(path.read_bytes(), Loader=yaml.CSafeLoader)  # megabytes
    (found,) = [one for one in definition["spec"]["versions"] if one["name"] == version]
    assert found["served"]
    schema: dict[str, Any] = strict(found["schema"]["openAPIV3Schema"])
    schema["properties"]["metadata"] = {"type": "object"}  # CRDs leave it to the API server
    return schema


def custom_objects() -> Iterator[tuple[Path, Mapping[str, Any]]]:
    yield from ((one.path, one.document) for one in OBJECTS)
    yield from ((p, one) for p, one in core_objects() if "kueue" in one["apiVersion"])


@pytest.mark.parametrize(
    "document", [one for _, one in custom_objects()], ids=lambda one: f"{one['kind']}"
)
def test_custom_objects_are_valid_against_their_definitions(
    document: dict[str, Any], crd_dir: Path
) -> None:
    validator = jsonschema.Draft202012Validator(crd_schema(crd_dir, document))
    found = [f"{list(one.absolute_path)}: {one.message}" for one in validator.iter_errors(document)]
    assert found == []


@pytest.mark.parametrize(
    "document",
    [one for _, one in core_objects() if "kueue" not in one["apiVersion"]],
    ids=lambda one: f"{one['kind']}-{one['metadata']['name']}",
)
def test_core_objects_are_valid_for_kubernetes(document: dict[str, Any]) -> None:
    kubernetes_validate.validate(document, KUBERNETES, strict=True)


@every_pod
def test_pods_are_valid_for_kubernetes(group: Group) -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": group.pod}
    kubernetes_validate.validate(pod, KUBERNETES, strict=True)


@every_yaml
def test_yaml_is_clean(path: Path) -> None:
    config = YamlLintConfig(file=str(CLUSTER / ".yamllint"))
    assert [str(one) for one in linter.run(path.read_text(), config)] == []
