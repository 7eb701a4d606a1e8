"""What pods are given, how they are asked whether they live, and how they end."""

from __future__ import annotations

import shlex
import tomllib
import warnings

import pytest
from manifests import REPOSITORY, Group, RayObject, core_objects, locked, quantity, ray_objects

from visage_jobs.train_stop import GRACE_S

SPARE_S = 10.0
"""Between the end of a preStop hook and SIGKILL: Ray stops its processes."""
OBJECTS = ray_objects()
every_object = pytest.mark.parametrize("manifest", OBJECTS, ids=lambda one: one.path.stem)
every_node = pytest.mark.parametrize(
    "group",
    [pytest.param(n, id=f"{one.path.stem}-{n.name}") for one in OBJECTS for n in one.nodes],
)
every_pod = pytest.mark.parametrize(
    "group", [pytest.param(p, id=f"{one.path.stem}-{p.name}") for one in OBJECTS for p in one.pods]
)


@every_pod
def test_a_pod_is_given_what_it_may_use(group: Group) -> None:
    resources = group.container["resources"]
    assert resources["requests"] == resources["limits"]
    assert {"cpu", "memory", "ephemeral-storage"} <= set(resources["limits"])


@every_object
def test_an_autoscaler_is_given_what_it_may_use(manifest: RayObject) -> None:
    if "autoscalerOptions" in manifest.cluster:
        resources = manifest.cluster["autoscalerOptions"]["resources"]
        assert resources["requests"] == resources["limits"]


@every_object
def test_no_work_is_placed_on_a_head(manifest: RayObject) -> None:
    assert manifest.head.start_params["num-cpus"] == "0"


@every_node
def test_the_object_store_fits_into_shared_memory_and_that_into_the_pod(group: Group) -> None:
    volumes = {one["name"]: one["emptyDir"] for one in group.pod["volumes"]}
    mounts = {one["mountPath"]: one["name"] for one in group.container["volumeMounts"]}
    shared = volumes[mounts["/dev/shm"]]
    assert shared["medium"] == "Memory"
    store = float(group.start_params["object-store-memory"])
    assert store < 0.95 * quantity(shared["sizeLimit"])  # Ray takes no more of it
    assert quantity(shared["sizeLimit"]) <= 0.5 * group.each("memory")


@every_node
def test_disks_of_a_pod_fit_into_its_ephemeral_storage(group: Group) -> None:
    disks = [one["emptyDir"] for one in group.pod["volumes"]]
    sizes = [quantity(one["sizeLimit"]) for one in disks if one.get("medium") != "Memory"]
    assert sum(sizes) < group.each("ephemeral-storage")


@every_object
def test_gpus_are_those_of_v100_machines_and_only_where_asked_for(manifest: RayObject) -> None:
    for group in manifest.workers:
        wants = "nvidia.com/gpu" in group.container["resources"]["limits"]
        assert wants is (group.name == "v100")
        assert wants is ("V100" in str(group.pod.get("nodeSelector")))
        assert wants is any(
            one["key"] == "nvidia.com/gpu" for one in group.pod.get("tolerations", [])
        )


@every_node
def test_every_node_is_told_where_store_and_tracking_are(group: Group) -> None:
    (_, config) = next(core_objects("ConfigMap"))
    sources = [next(iter(one.values()))["name"] for one in group.container["envFrom"]]
    assert sources == [config["metadata"]["name"], "visage-credentials"]
    assert {"AWS_ENDPOINT_URL", "MLFLOW_TRACKING_URI", "VISAGE_WORKSPACE"} <= set(config["data"])


@every_object
def test_versions_are_those_of_the_lock_and_the_project(manifest: RayObject) -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert manifest.cluster["rayVersion"] == locked()["ray"]
    images = {pod.container["image"] for pod in manifest.pods}
    assert images == {f"visage:{project['version']}-cu126"}


def test_the_v100_flavor_is_what_the_manifests_select() -> None:
    flavors = {one["metadata"]["name"]: one for _, one in core_objects("ResourceFlavor")}
    labels = flavors["v100"]["spec"]["nodeLabels"]
    selected = [g.pod["nodeSelector"] for one in OBJECTS for g in one.workers if g.name == "v100"]
    assert len(selected) == 3
    assert all(one == labels for one in selected)


def drain(group: Group) -> list[str]:
    """The words of a worker's preStop hook; empty without one."""
    hook = group.container.get("lifecycle", {}).get("preStop")
    return list(hook["exec"]["command"]) if hook else []


def waits_s(group: Group) -> float:
    """How long the preStop hook sleeps."""
    words = " ".join(drain(group)).split()
    return float(words[words.index("sleep") + 1]) if words else 0.0


@every_node
def test_a_pod_has_longer_to_end_than_a_command_has_to_save(group: Group) -> None:
    grace = group.pod["terminationGracePeriodSeconds"]
    assert grace > GRACE_S
    assert grace >= waits_s(group) + SPARE_S


@every_object
def test_a_head_outlives_what_its_workers_save(manifest: RayObject) -> None:
    longest = max(waits_s(group) for group in manifest.workers)
    if longest:
        assert longest > GRACE_S
        assert waits_s(manifest.head) > longest


@every_object
def test_workers_that_train_or_serve_tell_ray_that_they_go(manifest: RayObject) -> None:
    for group in manifest.workers:
        hook = drain(group)
        assert bool(hook) is (manifest.path.stem != "rayjob-prepare")
        if hook:
            command, then = hook[-1].split("; ")
            words = shlex.split(command)
            assert words[:2] == ["ray", "drain-node"]
            given = float(words[words.index("--deadline-remaining-seconds") + 1])
            assert given == float(then.split()[1])
            assert ray_accepts(words[1:])


def ray_accepts(words: list[str]) -> bool:
    from click.testing import CliRunner as Click

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Ray imports is not ours to mend
        from ray.scripts.scripts import cli
    return Click().invoke(cli, [*words, "--help"]).exit_code == 0


@every_node
def test_probes_ask_what_ray_answers_without_a_token(group: Group) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from ray.dashboard.http_server_agent import PUBLIC_EXACT_PATHS

    for name in ("readinessProbe", "livenessProbe"):
        asked = group.container[name]["httpGet"]
        if asked["port"] == 52365:
            assert asked["path"] in PUBLIC_EXACT_PATHS
        else:
            assert asked == {"path": "/-/healthz", "port": 8000}
