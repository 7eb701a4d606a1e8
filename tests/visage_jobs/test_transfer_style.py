"""`visage transfer-style`: what is no style is refused before anything is trained, by its type.

Training itself is `tests/visage/training`'s and the demo's; here another part stands for it.
"""

from __future__ import annotations

import copy
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_people import talking, write_film
from made_clips import made_clip
from tiny_talking_head import publish_tiny_head

from visage.data.clip_rows import FPS
from visage.data.shards import ShardRows, load_manifest
from visage.errors import MediaError, SpecError
from visage.inference.style_card import load_style_card, save_style_card
from visage.inference.style_delta import save_style, style_delta
from visage.inference.talking_head import CLIP_MARGIN, load_talking_head
from visage.rendering.style_clip import clip_spec_for
from visage.specs.prepare import ClipPrepareSpec
from visage.specs.style_transfer import StyleDeltaSpec
from visage.store.open import open_store
from visage_jobs import transfer_style
from visage_jobs.style_corpus import parted
from visage_jobs.train import TrainJob, TrainResult
from visage_jobs.transfer_style import IDENTITY, TransferJob, plan_transfer, run_transfer
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
    write_film(root / "long.mkv", talking(PERSON, 2 * FRAMES), sound=np.tile(noise, 2))
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
    for other in ("max_steps=7", "window=100"):
        with pytest.raises(SpecError, match="was made of something else"):
            run_transfer(_job(workspace, films / "speaks.mkv", assignments=(other,)))
    assert len(trained) == 2


def test_a_style_that_does_not_say_what_it_was_made_of_is_refused_before_training(
    films: Path, workspace: Workspace, trained: list[TrainJob]
):
    card = run_transfer(_job(workspace, films / "speaks.mkv")).card
    shutil.rmtree(Path(workspace.root) / "styles/aria")
    known = {name: told for name, told in card.metadata.items() if name != IDENTITY}
    save_style_card(open_store(workspace.root), "styles/aria", replace(card, metadata=known))
    with pytest.raises(SpecError, match="was made of something else"):
        run_transfer(_job(workspace, films / "speaks.mkv"))
    assert len(trained) == 1


def test_the_same_clip_cut_otherwise_is_another_corpus(
    films: Path, workspace: Workspace, trained: list[TrainJob]
):
    for window in (100, 110):  # as after a run that was interrupted
        run_transfer(_job(workspace, films / "speaks.mkv", assignments=(f"window={window}",)))
        shutil.rmtree(Path(workspace.root) / "styles/aria")
    assert trained[0].data_uri != trained[1].data_uri


def test_the_end_of_a_clip_is_compared_with_and_not_learnt_from(
    films: Path, workspace: Workspace, trained: list[TrainJob]
):
    told: list[str] = []
    done = run_transfer(_job(workspace, films / "long.mkv"), note=told.append)
    assert told == list(done.notes) == []
    manifest, store = load_manifest(trained[0].data_uri)
    spans = {}
    for split in ("train", "val"):
        rows = ShardRows(manifest, store, split)
        spans[split] = [
            (float(start), float(start) + int(frames) / FPS)
            for start, frames in zip(rows.column("start_s"), rows.column("frames"), strict=True)
        ]
    assert spans["train"][0][0] == 0
    assert spans["train"][-1][1] == pytest.approx(spans["val"][0][0], abs=1e-6)
    assert spans["val"][-1][1] == pytest.approx(2 * FRAMES / 25, abs=0.05)
    assert trained[0].spec.anchor == "paired"


def test_a_plan_says_what_stands_and_writes_nothing(
    films: Path, workspace: Workspace, trained: list[TrainJob]
):
    job = _job(workspace, films / "speaks.mkv")
    before = sorted(Path(workspace.root).rglob("*"))
    assert plan_transfer(job)["is_name_taken"] is False
    assert sorted(Path(workspace.root).rglob("*")) == before
    run_transfer(job)
    assert plan_transfer(job)["is_name_taken"] is True
    assert len(trained) == 1


def test_a_clip_too_short_to_hold_a_part_out_says_so(
    films: Path, workspace: Workspace, trained: list[TrainJob]
):
    told: list[str] = []
    windows = ("window=200",)
    done = run_transfer(
        _job(workspace, films / "speaks.mkv", assignments=windows), note=told.append
    )
    assert list(done.notes) == told
    assert "too short to hold a part out" in told[0]


@pytest.mark.parametrize("window", [30, 120, 240])
@pytest.mark.parametrize(
    "lengths", [(40,), (239,), (240,), (480,), (3000,), (900, 901), (600, 600, 600, 600, 601)]
)
def test_every_frame_is_either_learnt_from_or_compared_with(lengths: tuple[int, ...], window: int):
    rows = [
        {**made_clip(f"clip{at}", frames=frames, size=16), "clip": "c", "start_s": at * 60.0}
        for at, frames in enumerate(lengths)
    ]
    learnt, compared = parted(rows, window)
    total = sum(int(row["frames"]) for row in [*learnt, *compared])
    assert total == sum(lengths)
    if compared:
        assert min(int(row["frames"]) for row in [*learnt, *compared]) >= min(window, *lengths)
        held_out = sum(int(row["frames"]) for row in compared)
        assert abs(held_out - max(window, round(total / 4))) < window
        assert learnt[-1]["start_s"] < compared[0]["start_s"]
    else:
        assert sum(lengths) < 2 * window


def test_a_style_is_framed_as_the_clips_that_the_model_was_trained_on(workspace: Workspace):
    head = load_talking_head(f"{workspace.root}/head")
    assert clip_spec_for(head).margin == ClipPrepareSpec().margin
    wide = replace(head, metadata={**head.metadata, CLIP_MARGIN: 0.6})
    assert clip_spec_for(wide, segment_s=9.0).margin == 0.6
