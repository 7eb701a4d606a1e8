"""The whole life of a model, small: every stage by its real verb, on one Ray."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from corpora import SMALL_INPUT

from visage.data.readers import read_corpus
from visage.data.shards import load_manifest
from visage.media.image import encode_jpeg
from visage.seeds import rng_of
from visage.specs.prepare import EmotionPrepareSpec
from visage.store.open import open_store
from visage.synth.caer_s import write_caer_s
from visage.synth.spec import CaerSSpec
from visage.tracking.registry import Registry
from visage.training.verify import verify_run
from visage_jobs.cli.console import bar
from visage_jobs.demo import DemoJob, DemoResult, run_demo
from visage_jobs.prepare import PrepareJob, run_prepare
from visage_jobs.workspace import Workspace

pytestmark = [
    pytest.mark.ray,
    pytest.mark.timeout(400),
    pytest.mark.filterwarnings("default"),  # Ray and its parts warn in their own name
]


@pytest.fixture(scope="module")
def shown(ray_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[DemoResult, Path]:
    folder = tmp_path_factory.mktemp("demo")
    corpus = folder / "caer-s"
    write_caer_s(corpus, CaerSSpec(per_class=12, identities=12, height=160, width=213))
    assignments = ("epochs=2", "global_batch=8", "micro_batch=4", "model.widths=[4, 8, 8, 16, 16]")
    job = DemoJob(
        workspace=Workspace.open(str(folder)), halves=("emotion",), corpus=corpus,
        assignments=assignments,
    )  # fmt: skip
    return run_demo(job, bars=lambda: bar(quiet=True)), folder


def test_the_demo_ends_with_scores_a_served_version_and_a_report(
    shown: tuple[DemoResult, Path],
) -> None:
    result, folder = shown
    found = result.emotion
    assert found is not None
    assert found.evaluation.rows == sum(one.support for one in found.evaluation.per_class) == 14
    version = Registry(Workspace.open(str(folder)).tracking_uri()).resolve("emotion@champion")
    assert version.version == found.promotion.version
    assert version.digest == found.train.model_digest
    page = Path(result.report).read_text()
    for heading in ("Confusion", "Where it looks", "Endpoint", "Training"):
        assert heading in page
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_the_demos_endpoint_answered_real_pictures_by_detection(
    shown: tuple[DemoResult, Path],
) -> None:
    result, _ = shown
    assert len(result.answers) == 3
    assert all(answer.status == 200 for answer in result.answers)
    assert sum('"label"' in answer.body for answer in result.answers) >= 2
    assert all(answer.jpeg for answer in result.answers)


def test_the_demos_training_is_exact_by_its_ledger(shown: tuple[DemoResult, Path]) -> None:
    result, _ = shown
    assert result.emotion is not None
    report = verify_run(result.emotion.train.run_uri)
    assert report.is_exact, report.problems
    assert report.worlds == (2,)


def test_a_second_demo_trains_nothing_and_promotes_nothing_new(
    shown: tuple[DemoResult, Path],
) -> None:
    first, folder = shown
    assignments = ("epochs=2", "global_batch=8", "micro_batch=4", "model.widths=[4, 8, 8, 16, 16]")
    job = DemoJob(
        workspace=Workspace.open(str(folder)), halves=("emotion",), corpus=folder / "caer-s",
        assignments=assignments,
    )  # fmt: skip
    again = run_demo(job, bars=lambda: bar(quiet=True)).emotion
    assert again is not None
    assert first.emotion is not None
    assert again.train.reused
    assert not again.promotion.moved
    assert again.evaluation.uri == first.emotion.evaluation.uri


def test_a_grown_corpus_prepares_only_what_is_new_and_one_bad_file_is_one_rejection(
    ray_cluster: None, tmp_path: Path
) -> None:
    root = tmp_path / "faces"
    for index in range(20):
        _plant(root / "train" / "happy" / f"{index:03d}.jpg", index)
        _plant(root / "test" / "sad" / f"{index:03d}.jpg", 100 + index)
    (root / "train" / "happy" / "torn.jpg").write_bytes(b"\xff\xd8\xff\xe0 torn")
    out = str(tmp_path / "out")
    spec = EmotionPrepareSpec(input=SMALL_INPUT, rows_per_shard=8)

    def prepare() -> tuple[int, int, dict[str, int]]:
        corpus = read_corpus(root, layout="folders", face_crops=True)
        done = run_prepare(PrepareJob(corpus=corpus, out=out, spec=spec))
        return done.prepared_records, done.reused_records, done.manifest.rejected

    first = prepare()
    assert first[0] == 41
    assert sum(first[2].values()) == 1
    assert prepare()[:2] == (0, 41)
    _plant(root / "test" / "sad" / "new.jpg", 999)
    assert prepare()[:2] == (1, 41)
    manifest, _ = load_manifest(out)
    keys = [item.key for item in open_store(out).list("shards/") if item.key.endswith("COMMIT")]
    assert len(keys) >= len(manifest.shards)
    assert sum(shard.rows for shard in manifest.shards) == 41


def _plant(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = rng_of("plant", seed).integers(0, 256, (48, 48, 3), np.uint8)
    path.write_bytes(encode_jpeg(picture))
