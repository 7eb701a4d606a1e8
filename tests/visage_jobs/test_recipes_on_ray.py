"""The talking head's recipes on a real Ray with two workers, one of which is killed for real.

Every run is the command that a person would type. They are chaos runs: the quick suite kills the
same recipes in one process (`test_every_recipe.py`), and emotion on Ray (`test_train_faults.py`).
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from made_clips import write_clip_corpus
from mlflow import MlflowClient
from tiny_recipes import CLIP_RECIPES, STEPS, tiny_assignments, train_tiny
from train_site import Site

from visage.training.verify import verify_run

pytestmark = [
    pytest.mark.ray,
    pytest.mark.chaos,
    pytest.mark.timeout(600),
]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("recipes"))
    write_clip_corpus(made.folder / "data" / "clips", train=8, val=4, test=2, size=32, frames=150)
    yield made
    made.close()


@pytest.fixture(scope="module")
def motion(site: Site) -> str:
    """What style-transfer starts from."""
    data_uri = str(site.folder / "data" / "clips")
    return train_tiny("motion", site.folder / "runs" / "base", data_uri).model_uri


@pytest.mark.parametrize("recipe", CLIP_RECIPES)
def test_a_recipe_whose_worker_is_killed_equals_the_undisturbed_one(
    recipe: str, site: Site, motion: str
) -> None:
    assign = tiny_assignments(recipe, motion=motion, data_uri=str(site.folder / "data" / "clips"))
    asked = {"recipe": recipe, "preset": f"{recipe}-small", "data": "clips", "assign": assign}
    code, said = site.run(f"{recipe}-whole", **asked)  # type: ignore[arg-type]
    assert code == 0, said
    struck = site.folder / f"{recipe}.struck"
    code, said = site.run(
        f"{recipe}-killed",
        **asked,  # type: ignore[arg-type]
        VISAGE_FAULT_POINT="train.after_step@4",
        VISAGE_FAULT_ONCE=str(struck),
    )
    assert code == 0, said
    assert struck.exists(), "the fault never struck"
    assert "worker group restarts" in said
    report = verify_run(str(site.folder / "runs" / f"{recipe}-killed"))
    assert report.is_exact, report.problems
    assert report.steps == STEPS
    assert report.worlds == (2,)
    assert site.history(f"{recipe}-killed") == site.history(f"{recipe}-whole")
    assert site.weights(f"{recipe}-killed") == site.weights(f"{recipe}-whole")
    _samples_lie_with_the_tracked_run(site, recipe)


def _samples_lie_with_the_tracked_run(site: Site, recipe: str) -> None:
    client = MlflowClient(f"sqlite:///{site.folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(recipe)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    assert sorted(run.info.run_name for run in runs) == [f"{recipe}-killed", f"{recipe}-whole"]
    for run in runs:
        assert run.info.status == "FINISHED"
        steps = client.list_artifacts(run.info.run_id, "samples")
        assert steps, "no samples were logged"
        assert "val/score" in run.data.metrics


def test_a_row_that_cannot_be_used_is_named_after_one_restart_and_not_four(site: Site) -> None:
    write_clip_corpus(site.folder / "data" / "short", train=4, val=2, test=0, size=32, frames=20)
    assign = tiny_assignments("motion")
    code, said = site.run(
        "short", recipe="motion", preset="motion-small", data="short", assign=assign
    )
    assert code == 1, said
    assert "the segment has 20 frames, the window needs 24" in said.splitlines()[-1]
    assert said.count("worker group restarts") <= 1
