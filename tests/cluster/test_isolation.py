"""Nobody without the token reaches Ray, and no pod can do more than its work."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from manifests import Group, RayObject, core_objects, ray_objects

TOKEN_SECRET, TOKEN_KEY = "visage-ray-token", "auth_token"
OWN_LABEL = {"app.kubernetes.io/part-of": "visage"}
OBJECTS = ray_objects()
every_object = pytest.mark.parametrize("manifest", OBJECTS, ids=lambda one: one.path.stem)
every_pod = pytest.mark.parametrize(
    "group", [pytest.param(p, id=f"{one.path.stem}-{p.name}") for one in OBJECTS for p in one.pods]
)


@every_object
def test_a_cluster_asks_for_the_token_and_its_operator_knows_which(manifest: RayObject) -> None:
    assert manifest.cluster["authOptions"] == {"mode": "token", "secretName": TOKEN_SECRET}


@every_pod
def test_every_pod_authenticates_with_the_token_of_the_secret(group: Group) -> None:
    values = {one["name"]: one for one in group.container["env"]}
    assert values["RAY_AUTH_MODE"]["value"] == "token"
    reference = {"secretKeyRef": {"name": TOKEN_SECRET, "key": TOKEN_KEY}}
    assert values["RAY_AUTH_TOKEN"] == {"name": "RAY_AUTH_TOKEN", "valueFrom": reference}


def test_no_manifest_holds_a_secret() -> None:
    assert list(core_objects("Secret")) == []
    (_, config) = next(core_objects("ConfigMap"))
    words = ("KEY", "TOKEN", "PASSWORD", "SECRET")
    assert [key for key in config["data"] if any(word in key for word in words)] == []


def hardened(context: Mapping[str, Any]) -> None:
    assert context["allowPrivilegeEscalation"] is False
    assert context["readOnlyRootFilesystem"] is True
    assert context["capabilities"] == {"drop": ["ALL"]}
    assert not context.get("privileged")


@every_pod
def test_pods_run_without_root_privileges_or_a_writable_system(group: Group) -> None:
    context = group.pod["securityContext"]
    assert context["runAsNonRoot"] is True
    assert context["runAsUser"] > 0
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    hardened(group.container["securityContext"])
    written = {mount["mountPath"] for mount in group.container["volumeMounts"]}
    assert {"/tmp", "/home/visage"} <= written
    assert all(set(volume) == {"name", "emptyDir"} for volume in group.pod["volumes"])


@every_object
def test_only_a_head_that_scales_may_talk_to_the_api_server(manifest: RayObject) -> None:
    is_scaling = bool(manifest.cluster.get("enableInTreeAutoscaling"))
    if is_scaling:
        hardened(manifest.cluster["autoscalerOptions"]["securityContext"])
    for pod in manifest.pods:
        may = pod.pod.get("automountServiceAccountToken", True)
        assert may is (is_scaling and pod.name == "head")


@every_pod
def test_network_policies_apply_to_every_pod(group: Group) -> None:
    assert OWN_LABEL.items() <= group.template["metadata"]["labels"].items()


def test_nobody_outside_reaches_a_port_of_ray() -> None:
    policies = {one["metadata"]["name"]: one["spec"] for _, one in core_objects("NetworkPolicy")}
    everything = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    assert policies["default-deny"] == everything
    own = {"podSelector": {"matchLabels": OWN_LABEL}}
    for policy in policies.values():
        for rule in policy.get("ingress", []):
            if rule["from"] == [own]:
                continue
            (peer,) = rule["from"]
            ports = {one["port"] for one in rule["ports"]}
            operator = {"matchLabels": {"app.kubernetes.io/name": "kuberay-operator"}}
            allowed = {8265, 8000} if peer.get("podSelector") == operator else {8000}
            assert ports <= allowed
            assert "ipBlock" not in peer


def test_no_pod_reaches_the_metadata_service_of_its_machine() -> None:
    blocks = [
        peer["ipBlock"]
        for _, one in core_objects("NetworkPolicy")
        for rule in one["spec"].get("egress", [])
        for peer in rule["to"]
        if "ipBlock" in peer
    ]
    assert blocks
    assert all("169.254.0.0/16" in block["except"] for block in blocks)


def test_no_two_clusters_share_a_name_and_with_it_the_service_of_their_heads() -> None:
    names = [one.document["metadata"]["name"] for one in OBJECTS]
    assert len(set(names)) == len(names) == 4
    assert {one.document["metadata"]["namespace"] for one in OBJECTS} == {"visage"}
