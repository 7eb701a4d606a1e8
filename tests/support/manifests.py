"""The manifests under cluster/ as a test looks at them: Ray objects, their groups, their pods."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

__all__ = ["CLUSTER", "Group", "RayObject", "core_objects", "locked", "quantity", "ray_objects"]

REPOSITORY = Path(__file__).resolve().parents[2]
CLUSTER = REPOSITORY / "cluster"
SCALE = {
    "": 1.0, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12,
    "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Group:
    """Pods of one kind: the head, one group of workers, or the pod that submits a job."""

    name: str
    start_params: Mapping[str, str]
    template: Mapping[str, Any]
    replicas: int
    most: int

    @property
    def pod(self) -> Mapping[str, Any]:
        """The pod's spec."""
        spec: Mapping[str, Any] = self.template["spec"]
        return spec

    @property
    def container(self) -> Mapping[str, Any]:
        """The one container that the manifest writes out."""
        (found,) = self.pod["containers"]
        one: Mapping[str, Any] = found
        return one

    def each(self, resource: str) -> float:
        """What one pod asks for."""
        return quantity(self.container["resources"]["requests"].get(resource, "0"))

    def all(self, resource: str) -> float:
        """What all replicas ask for."""
        return self.each(resource) * self.replicas


@dataclass(frozen=True, slots=True)
class RayObject:
    """One RayCluster, RayJob or RayService."""

    path: Path
    document: Mapping[str, Any]

    @property
    def kind(self) -> str:
        """RayCluster, RayJob or RayService."""
        return str(self.document["kind"])

    @property
    def spec(self) -> Mapping[str, Any]:
        """As written."""
        found: Mapping[str, Any] = self.document["spec"]
        return found

    @property
    def cluster(self) -> Mapping[str, Any]:
        """The spec of the Ray cluster in it."""
        key = {"RayCluster": None, "RayJob": "rayClusterSpec", "RayService": "rayClusterConfig"}
        inner = key[self.kind]
        found: Mapping[str, Any] = self.spec[inner] if inner else self.spec
        return found

    @property
    def head(self) -> Group:
        """The head."""
        head = self.cluster["headGroupSpec"]
        return Group("head", head["rayStartParams"], head["template"], 1, 1)

    @property
    def workers(self) -> list[Group]:
        """The groups of workers."""
        return [
            Group(one["groupName"], one["rayStartParams"], one["template"], one["replicas"],
                  one["maxReplicas"])
            for one in self.cluster["workerGroupSpecs"]
        ]  # fmt: skip

    @property
    def nodes(self) -> list[Group]:
        """All pods that run Ray."""
        return [self.head, *self.workers]

    @property
    def pods(self) -> list[Group]:
        """All pods that the manifest writes out."""
        submitter = self.spec.get("submitterPodTemplate")
        return self.nodes + ([Group("submitter", {}, submitter, 1, 1)] if submitter else [])


@cache
def _documents() -> tuple[tuple[Path, Mapping[str, Any]], ...]:
    return tuple(
        (path, document)
        for path in sorted((CLUSTER / "kuberay").glob("*.yaml"))
        for document in yaml.safe_load_all(path.read_text())
    )


def ray_objects() -> list[RayObject]:
    """Every RayCluster, RayJob and RayService."""
    return [
        RayObject(path, document)
        for path, document in _documents()
        if document["apiVersion"].startswith("ray.io/")
    ]


def core_objects(kind: str | None = None) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Every object that is not Ray's, or those of one kind."""
    for path, document in _documents():
        if not document["apiVersion"].startswith("ray.io/") and kind in (None, document["kind"]):
            yield path, document


def quantity(text: str) -> float:
    """A Kubernetes quantity as a number: `500m`, `8Gi`, `4`."""
    found = re.fullmatch(r"([0-9.]+)([a-zA-Z]*)", str(text))
    assert found, text
    return float(found[1]) * SCALE[found[2]]


@cache
def locked() -> Mapping[str, str]:
    """Normalized names and versions of requirements.lock."""
    lines = (REPOSITORY / "requirements.lock").read_text().splitlines()
    pins = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in pins}
