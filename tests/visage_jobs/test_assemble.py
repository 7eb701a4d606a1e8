"""`visage assemble`: the same ground is the same model, other ground another, misfits are told."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from made_clips import STYLES, write_clip_corpus
from made_tracking import empty_database  # noqa: F401  # a fixture
from tiny_talking_head import GENERATOR_SPEC, publish_parts

from visage.data.shards import ShardRows
from visage.errors import DataError, NotFoundError, SpecError
from visage.inference.generator import GENERATOR
from visage.inference.parts import load_part, save_part
from visage.inference.style_delta import save_style, style_delta
from visage.inference.talking_head import MOTION, load_talking_head
from visage.models.generator import Generator
from visage.models.motion import MotionGenerator
from visage.specs.motion import MotionSpec
from visage.specs.style_transfer import StyleDeltaSpec
from visage.store.open import open_store
from visage_jobs.assemble import AssembleJob, run_assemble, styles_of_corpus
from visage_jobs.talking_heads import find_talking_head
from visage_jobs.workspace import Workspace


@pytest.fixture
def job(tmp_path: Path, empty_database: Path) -> AssembleJob:  # noqa: F811  # the fixture
    shutil.copyfile(empty_database, tmp_path / "mlflow.db")
    parts = publish_parts(tmp_path / "parts")
    return AssembleJob(
        workspace=Workspace(str(tmp_path)),
        motion=parts.motion,
        generator=parts.generator,
        audio_encoder=parts.audio_encoder,
        data=write_clip_corpus(tmp_path / "clips", train=4, val=1, test=1, size=32, frames=60),
    )


def test_the_same_parts_and_clips_are_the_same_version_and_the_champion(job: AssembleJob):
    first, again = run_assemble(job), run_assemble(job)
    assert (first.digest, first.version.version) == (again.digest, again.version.version)
    assert set(first.styles) == set(STYLES)
    found = find_talking_head(job.workspace)
    assert (found.head.digest, found.head.style(None).name) == (first.digest, "plain")


@pytest.mark.parametrize("changed", ["generator", "clips"])
def test_what_was_made_anew_under_its_old_name_is_another_model(changed: str, job: AssembleJob):
    first = run_assemble(job)
    root = Path(job.workspace.root)
    if changed == "clips":
        shutil.rmtree(root / "clips")
        write_clip_corpus(root / "clips", train=3, val=1, test=1, size=32, frames=60)
    else:
        shutil.rmtree(job.generator)
        torch.manual_seed(7)
        save_part(
            open_store(str(Path(job.generator).parent)), "generator", Generator(GENERATOR_SPEC),
            kind=GENERATOR, spec=GENERATOR_SPEC, metadata={"patterns": "references"},
        )  # fmt: skip
    second = run_assemble(job)
    assert second.digest != first.digest
    assert find_talking_head(job.workspace).head.digest == second.digest
    assert load_talking_head(first.uri).digest == first.digest  # which is kept


def test_a_style_that_moves_is_put_to_its_name_and_one_of_another_base_refused(job: AssembleJob):
    base = load_part(job.motion, kind=MOTION, spec_class=MotionSpec, build=MotionGenerator)
    other = MotionGenerator(base.spec)
    store = open_store(job.workspace.root)
    for run, name, digest in (
        ("own", "wide", base.digest),
        ("foreign", "wide", "e" * 64),
        ("unshown", "opera", base.digest),
    ):
        spec = StyleDeltaSpec(name=name, base=digest)
        save_style(store, f"runs/{run}/model", style_delta(base.model, other, spec=spec))
    made = run_assemble(replace(job, style_runs=("own",)))
    assert load_talking_head(made.uri).styles["wide"].motion is not None
    with pytest.raises(SpecError, match="load the generator it was made from"):
        run_assemble(replace(job, style_runs=("foreign",)))
    with pytest.raises(SpecError, match="no clip of the corpus shows"):
        run_assemble(replace(job, style_runs=("unshown",)))
    assert find_talking_head(job.workspace).head.digest == made.digest


def test_clips_without_a_style_are_neutral_beside_those_that_say_so(
    job: AssembleJob, monkeypatch: pytest.MonkeyPatch
):
    for plain, wide, names in (
        ("", "neutral", ["neutral"]),
        ("unknown", "wide", ["neutral", "wide"]),
        ("loud", "plain", ["plain", "loud"]),
    ):
        shown = {"plain": plain, "wide": wide}

        def column(rows, name, told=shown, whole=ShardRows.column):
            found = whole(rows, name)
            return [told[one] for one in found] if name == "style" else found

        with monkeypatch.context() as patch:
            patch.setattr(ShardRows, "column", column)
            cards, mean = styles_of_corpus(job.data)
        assert [card.name for card in cards] == names
        assert mean.shape == (68, 3)


def test_what_is_not_there_is_named(job: AssembleJob, tmp_path: Path):
    with pytest.raises(NotFoundError, match="nobody: no finished run and no model"):
        run_assemble(replace(job, generator="nobody"))
    empty = write_clip_corpus(tmp_path / "none", train=0, val=1, test=1, size=32, frames=60)
    with pytest.raises(DataError, match="nothing shows a style"):
        run_assemble(replace(job, data=empty))
