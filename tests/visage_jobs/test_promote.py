from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from made_evaluations import write_evaluation
from made_tracking import empty_database, tracking_uri
from typer.testing import CliRunner

from visage.errors import CorruptError, NotFoundError, SpecError
from visage.store.commit import commit
from visage.store.open import open_store
from visage.tracking.evaluation import Evaluation
from visage.tracking.gates import GatePolicy
from visage.tracking.registry import Registry
from visage_jobs import promote as promote_module
from visage_jobs.cli import app
from visage_jobs.promote import ModelProbe, PromoteJob, run_promote
from visage_jobs.workspace import Workspace

__all__ = ["empty_database", "tracking_uri"]

TRUTH = [0, 1, 2] * 30


def quick(uri: str, device: str) -> ModelProbe:
    """A model that answers at once."""
    return ModelProbe(latency_ms=1.0, spec_digest="s" * 64)


@dataclass
class Project:
    """A workspace with trained and evaluated models."""

    workspace: Workspace

    def model(self, name: str, *, right: int, data_digest: str = "d" * 64) -> Evaluation:
        """Publish weights as a run would and evaluate them; the first `right` answers are true."""
        store = open_store(self.workspace.run(name))
        made = commit(store, "model", {"model.safetensors": name.encode()})
        predicted = [t if at < right else (t + 1) % 3 for at, t in enumerate(TRUTH)]
        return write_evaluation(
            Path(self.workspace.evaluation(f"{name}-test")),
            TRUTH,
            predicted,
            model_uri=f"{store.uri}/model",
            model_digest=made.digest(),
            data_digest=data_digest,
        )

    def job(self, target: str, **values: object) -> PromoteJob:
        return PromoteJob(target=target, workspace=self.workspace, **values)  # type: ignore[arg-type]  # keyword pass-through

    @property
    def registry(self) -> Registry:
        return Registry(self.workspace.tracking_uri())


@pytest.fixture
def project(tracking_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking_uri)
    return Project(Workspace(str(tmp_path / "workspace")))


NAMINGS: dict[str, Callable[[Project, Evaluation], str]] = {
    "name of an evaluation": lambda p, e: "good-test",
    "folder of an evaluation": lambda p, e: e.uri,
    "name of a run": lambda p, e: "good",
    "folder of a run": lambda p, e: p.workspace.run("good"),
    "folder of weights": lambda p, e: e.model_uri,
}


@pytest.mark.parametrize("naming", NAMINGS)
def test_a_model_is_found_by_whatever_is_at_hand(project: Project, naming: str) -> None:
    evaluation = project.model("good", right=80)
    done = run_promote(project.job(NAMINGS[naming](project, evaluation)), probe=quick)
    assert done.moved
    assert project.registry.resolve("emotion@champion").digest == evaluation.model_digest


def test_a_registered_version_is_promoted_by_its_number_or_alias(project: Project) -> None:
    evaluation = project.model("good", right=80)
    run_promote(project.job("good", alias="challenger"), probe=quick)
    done = run_promote(project.job("emotion@challenger"), probe=quick)
    assert (done.version, done.previous, done.moved) == ("1", None, True)
    again = run_promote(project.job("emotion/1"), probe=quick)
    assert (again.version, again.previous, again.moved) == ("1", "1", False)
    version = project.registry.resolve("emotion")
    assert set(version.aliases) == {"challenger", "champion"}
    assert version.tags["visage.evaluation"] == evaluation.uri
    assert version.tags["visage.data_digest"] == "d" * 64


def test_a_worse_model_does_not_replace_the_champion_unless_forced(project: Project) -> None:
    project.model("good", right=85)
    project.model("bad", right=70)
    run_promote(project.job("good"), probe=quick)
    refused = run_promote(project.job("bad"), probe=quick)
    assert not refused.passed
    assert not refused.moved
    assert len(project.registry.versions("emotion")) == 1
    forced = run_promote(project.job("bad", force=True), probe=quick)
    assert forced.moved
    assert not forced.passed
    assert project.registry.resolve("emotion").tags["visage.forced_past"] == "champion"


def test_a_dry_run_judges_and_changes_nothing(project: Project) -> None:
    project.model("good", right=85)
    done = run_promote(project.job("good", dry_run=True, force=True), probe=quick)
    assert done.passed
    assert not done.moved
    assert project.registry.versions("emotion") == []


@pytest.mark.parametrize(
    ("limit", "gate"),
    [
        ({"accuracy_floor": 0.99}, "accuracy"),
        ({"recall_floor": 0.99}, "per-class recall"),
        ({"latency_ms": 0.5}, "latency"),
        ({"size_mib": 1e-9}, "size"),
    ],
)
def test_each_limit_stops_a_model_on_its_own(
    project: Project, limit: dict[str, float], gate: str
) -> None:
    project.model("good", right=85)
    done = run_promote(project.job("good", policy=GatePolicy.parse(limit)), probe=quick)
    assert [result.name for result in done.gates if not result.passed] == [gate]
    assert not done.moved


def test_a_champion_evaluated_on_other_data_blocks_until_it_is_evaluated_on_these(
    project: Project,
) -> None:
    old = project.model("old", right=60, data_digest="o" * 64)
    project.model("new", right=85)
    run_promote(project.job("old", policy=GatePolicy(accuracy_floor=0.1)), probe=quick)
    assert not run_promote(project.job("new"), probe=quick).moved
    write_evaluation(
        Path(project.workspace.evaluation("old-again")),
        TRUTH,
        [0] * len(TRUTH),
        model_uri=old.model_uri,
        model_digest=old.model_digest,
    )
    assert run_promote(project.job("new"), probe=quick).moved


def test_weights_other_than_those_evaluated_are_not_promoted(project: Project) -> None:
    evaluation = project.model("good", right=85)
    path = Path(evaluation.uri) / "evaluation.json"
    path.write_text(path.read_text().replace(evaluation.model_digest, "0" * 64))
    with pytest.raises(CorruptError, match="evaluate again"):
        run_promote(project.job("good-test"), probe=quick)


def test_a_model_nobody_evaluated_is_not_promoted(project: Project) -> None:
    commit(open_store(project.workspace.run("new")), "model", {"model.safetensors": b"x"})
    with pytest.raises(NotFoundError, match="visage evaluate"):
        run_promote(project.job("new"), probe=quick)


def test_an_evaluation_of_another_model_is_not_accepted_for_this_one(project: Project) -> None:
    other = project.model("other", right=85)
    project.model("good", right=85)
    with pytest.raises(SpecError, match="--evaluation"):
        run_promote(project.job("good", evaluation=other.uri), probe=quick)


def test_a_name_of_nothing_says_what_may_be_named(project: Project) -> None:
    with pytest.raises(NotFoundError, match="emotion/3"):
        run_promote(project.job("nothing"), probe=quick)


def test_the_verb_prints_json_and_exits_with_1_if_a_gate_fails(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(promote_module, "probe_model", quick)
    project.model("good", right=85)
    arguments = ["promote", "good", "--workspace", project.workspace.root, "--json"]
    failed = CliRunner().invoke(app, [*arguments, "--set", "accuracy_floor=0.99"])
    assert failed.exit_code == 1
    assert json.loads(failed.stdout)["passed"] is False
    passed = CliRunner().invoke(app, arguments)
    assert passed.exit_code == 0
    assert json.loads(passed.stdout)["moved"] is True
    forced = CliRunner().invoke(app, [*arguments, "--set", "accuracy_floor=0.99", "--force"])
    assert forced.exit_code == 0


def test_the_verb_shows_every_gate_with_its_sentence(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(promote_module, "probe_model", quick)
    project.model("good", right=85)
    shown = CliRunner().invoke(
        app, ["promote", "good", "--workspace", project.workspace.root], env={"COLUMNS": "160"}
    )
    for words in ("accuracy", "per-class recall", "latency", "size", "no champion", "version 1"):
        assert words in shown.stdout
    wrong = CliRunner().invoke(app, ["promote", "good", "--set", "acuracy=1"])
    assert wrong.exit_code == 2
