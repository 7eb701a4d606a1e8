"""`visage transfer-style`: what is no style is refused before anything is trained, by its type.

Training itself is `tests/visage/training`'s and the demo's; here another part stands for it.
"""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_people import talking, write_film
from tiny_talking_head import publish_tiny_head

from visage.errors import MediaError, SpecError
from visage.inference.style_card import load_style_card
from visage.inference.style_delta import save_style, style_delta
from visage.inference.talking_head import load_talking_head
from visage.specs.style_transfer import StyleDeltaSpec
from visage.store.open import open_store
from visage_jobs import transfer_style
from visage_jobs.train import TrainJob, TrainResult
from visage_jobs.transfer_style import TransferJob, run_transfer
from visage_jobs.workspace import Workspace

FRAMES = 100
PERSON = 1


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four seconds of a drawn person who speaks, without sound too, or keeps the mouth shut."""
    root = tmp_path_factory.mktemp("films")
    noise = np.random.default_rng(0).uniform(-0.3, 0.3, 64_000).astype(np.float32)
    write_film(root / "speaks.mkv", talking(PERSON, FRAMES), sound=noise)
    write_film(root / "mute.mkv", talking(PERSON, FRAMES))
    write_film(root / "closed.mkv", talking(PERSON, 1) * FRAMES, sound=noise)
    write_film(root / "grey.mkv", [np.full((160, 160, 3), 90, np.uint8)] * FRAMES, sound=noise)
    write_film(root / "short.mkv", talking(PERSON, 10), sound=noise[:6_400])
    (root / "text.mkv").write_text("no film")
    return root


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    publish_tiny_head(tmp_path)
    return Workspace.open(str(tmp_path))


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch, workspace: Workspace) -> list[TrainJob]:
    """What was to be trained; every training gives the same small change."""
    jobs: list[TrainJob] = []

    def stand_in(job: TrainJob, **_: object) -> TrainResult:
        jobs.append(job)
        base = load_talking_head(f"{workspace.root}/head").motion
        tuned = copy.deepcopy(base.model)
        with torch.no_grad():
            next(tuned.parameters()).add_(0.5)
        spec = StyleDeltaSpec(name=job.spec.name, base=base.digest)
        store, run = open_store(workspace.root), Path(job.run_uri).name
        digest = save_style(store, f"{run}/model", style_delta(base.model, tuned, spec=spec))
        means = {f"sld{end}": 1.0 for end in ("", "_before", "_scaled")}
        return TrainResult(
            recipe="style-transfer", run_uri=job.run_uri, model_digest=digest, steps=1, score=None,
            model_uri=f"{workspace.root}/{run}/model", score_name="-SLD", means=means,
            mlflow_run="", reused=False, seconds={},
        )  # fmt: skip

    monkeypatch.setattr(transfer_style, "run_train", stand_in)
    return jobs


def _job(workspace: Workspace, clip: Path, **changes: object) -> TransferJob:
    given = {"name": "aria", "model": f"{workspace.root}/head", "faces": "dlib68", **changes}
    return TransferJob(workspace=workspace, clip=clip, **given)


@pytest.mark.parametrize(
    ("film", "code"),
    [
        ("closed.mkv", "closed_mouth"),
        ("grey.mkv", "no_face"),
        ("short.mkv", "too_short"),
        ("mute.mkv", "no_audio"),  # this model does not name the clips that would stand in
        ("text.mkv", "unsupported_format"),
    ],
)
def test_a_clip_that_shows_no_style_is_refused_by_type_before_training(
    film: str, code: str, films: Path, workspace: Workspace, trained: list[TrainJob]
):
    with pytest.raises(MediaError) as caught:
        run_transfer(_job(workspace, films / film))
    assert caught.value.code == code
    assert film in str(caught.value)
    assert not trained
    assert not (Path(workspace.root) / "styles").exists()


@pytest.mark.parametrize("name", ["", "../up", "a b", "x" * 65])
def test_a_name_that_is_none_is_refused_first(name: str, films: Path, workspace: Workspace):
    with pytest.raises(SpecError, match="use letters"):
        run_transfer(_job(workspace, films / "speaks.mkv", name=name))


def test_a_style_stands_for_its_clip_and_another_clip_is_refused_before_training(
    films: Path, workspace: Workspace, trained: list[TrainJob]
):
    first = run_transfer(_job(workspace, films / "speaks.mkv"))
    again = run_transfer(_job(workspace, films / "speaks.mkv"))
    assert first.uri == again.uri
    assert load_style_card(first.uri).motion is not None
    assert trained[0].run_uri == trained[1].run_uri
    with pytest.raises(SpecError, match="was made of something else"):
        run_transfer(_job(workspace, films / "closed.mkv"))
    assert len(trained) == 2
