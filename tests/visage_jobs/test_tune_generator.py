"""A search over region weights on Ray: judged by landmarks, tracked, the same when asked again."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_clips import write_clip_corpus
from tiny_recipes import tiny_spec

from visage.errors import TrainingError
from visage.specs.generator import GeneratorTrainSpec
from visage.specs.tune import TuneSpec
from visage.store.open import open_store
from visage.training.checkpoint import restore
from visage_jobs.tune import TuneJob, run_tune

MOUTH = "losses.style.mouth"


def made_job(folder: Path, **changes: object) -> TuneJob:
    """Two trials of two epochs that differ in the weight of the mouth."""
    spec = {
        "space": {MOUTH: {"choice": [1.0, 20.0]}},
        "fixed": {"lmd_frames": 3, "max_steps": None, "validate_every_epochs": 1.0},
        "metric": "val/lmd_px",
        "trials": 2,
        "searcher": "grid",
        "asha": None,
        "epochs": 2.0,
        **changes,
    }
    return TuneJob(
        recipe="generator",
        spec=TuneSpec.parse(spec),
        base=tiny_spec("generator"),
        data_uri=str(folder / "clips"),
        search_uri=str(folder / "runs" / "search"),
        tracking_uri=f"sqlite:///{folder / 'mlflow.db'}",
        experiment="generator-tune",
    )


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_the_trial_whose_mouths_are_nearest_is_the_best_and_asking_again_costs_nothing(
    tmp_path: Path,
) -> None:
    from mlflow import MlflowClient

    write_clip_corpus(tmp_path / "clips", train=8, val=4, test=1, size=32, frames=60)
    job = made_job(tmp_path)
    done = run_tune(job)
    assert [one.state for one in done.trials] == ["finished", "finished"]
    scores = [one.score(job.spec) for one in done.trials]
    assert scores == sorted(scores)
    assert all(score is not None and score > 0.0 for score in scores)
    found = GeneratorTrainSpec.load(Path(done.best_preset_uri))
    assert found.losses.style.mouth == done.best.values[MOUTH]
    for one in done.trials:
        kept = restore(open_store(str(tmp_path / "runs" / "search" / one.name)))
        assert kept is not None
        assert [seen.means["lmd_px"] for seen in kept.state.validations] == [
            seen.means["lmd_px"] for seen in one.seen
        ]
        assert len(one.seen) == 2
    client = MlflowClient(job.tracking_uri)
    experiment = client.get_experiment_by_name("generator-tune")
    assert experiment is not None
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert runs["search"].data.metrics["val/lmd_px"] == pytest.approx(scores[0])
    assert runs[done.best.name].data.metrics["val/lmd_px"] > 0.0

    again = run_tune(job)
    assert (again.reused, again.trials) == (2, done.trials)


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_a_metric_that_the_recipe_does_not_report_fails_the_trials_and_says_which_it_does(
    tmp_path: Path,
) -> None:
    """Sharpness is not measured on pictures of 32 pixels."""
    write_clip_corpus(tmp_path / "clips", train=8, val=4, test=1, size=32, frames=60)
    with pytest.raises(TrainingError, match=r"no val/cpbd; it reports val/score.*val/lmd_px"):
        run_tune(made_job(tmp_path, metric="val/cpbd", trials=1))
