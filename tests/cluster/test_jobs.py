"""Jobs run verbs that exist, in a queue that can hold them, and have time to save."""

from __future__ import annotations

import shlex

import pytest
from manifests import RayObject, core_objects, quantity, ray_objects
from typer.testing import CliRunner

from visage_jobs.cli import app
from visage_jobs.presets import find_preset
from visage_jobs.train_stop import GRACE_S

JOBS = [one for one in ray_objects() if one.kind == "RayJob"]
every_job = pytest.mark.parametrize("manifest", JOBS, ids=lambda one: one.path.stem)


@every_job
def test_a_job_runs_a_verb_and_flags_that_exist(manifest: RayObject) -> None:
    program, *words = shlex.split(manifest.spec["entrypoint"])
    assert program == "visage"
    told = CliRunner().invoke(app, [*words, "--help"])
    assert told.exit_code == 0, told.output
    if "--preset" in words:
        find_preset(words[words.index("--preset") + 1])


def test_the_help_that_checks_flags_does_refuse_unknown_ones() -> None:
    assert CliRunner().invoke(app, ["train", "emotion", "--gpus", "--help"]).exit_code == 2


@every_job
def test_a_training_job_has_a_gpu_for_each_of_its_workers(manifest: RayObject) -> None:
    words = shlex.split(manifest.spec["entrypoint"])
    gpus = sum(group.all("nvidia.com/gpu") for group in manifest.workers)
    wanted = float(words[words.index("--workers") + 1]) if "--gpu" in words else 0.0
    assert gpus == wanted


@every_job
def test_a_job_leaves_nothing_behind_and_is_tried_again(manifest: RayObject) -> None:
    assert manifest.spec["shutdownAfterJobFinishes"] is True  # Kueue admits no other
    assert manifest.spec["backoffLimit"] >= 1


@every_job
def test_a_job_waits_in_a_queue_that_exists_and_can_hold_it(manifest: RayObject) -> None:
    (_, queue) = next(core_objects("LocalQueue"))
    labels = manifest.document["metadata"]["labels"]
    assert labels["kueue.x-k8s.io/queue-name"] == queue["metadata"]["name"]
    (_, cluster_queue) = next(core_objects("ClusterQueue"))
    assert queue["spec"]["clusterQueue"] == cluster_queue["metadata"]["name"]
    (group,) = cluster_queue["spec"]["resourceGroups"]
    quotas = {
        flavor["name"]: {one["name"]: quantity(one["nominalQuota"]) for one in flavor["resources"]}
        for flavor in group["flavors"]
    }
    flavors = {one["metadata"]["name"] for _, one in core_objects("ResourceFlavor")}
    assert set(quotas) == flavors
    for flavor, quota in quotas.items():
        assert set(quota) == set(group["coveredResources"])
        pods = [one for one in manifest.pods if (one.name == "v100") is (flavor == "v100")]
        for resource in {name for one in pods for name in one.container["resources"]["limits"]}:
            assert sum(one.all(resource) for one in pods) <= quota[resource]


def test_a_stopped_job_has_longer_to_end_than_its_command_has_to_save() -> None:
    (_, config) = next(core_objects("ConfigMap"))
    waits = float(config["data"]["RAY_JOB_STOP_WAIT_TIME_S"])
    assert waits > GRACE_S
    for job in JOBS:
        words = shlex.split(job.spec["entrypoint"])
        if "--grace" in words:
            assert waits > float(words[words.index("--grace") + 1])
