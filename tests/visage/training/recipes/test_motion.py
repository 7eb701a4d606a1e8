"""Promises of the recipe `motion`: it learns to speak, on mel frames or through an encoder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from made_clips import write_clip_corpus

from visage.data.feed import Batch
from visage.data.shards import ShardRows, load_manifest
from visage.errors import DataError, NotFoundError, SpecError
from visage.inference.audio_encoder import AUDIO_ENCODER
from visage.inference.parts import load_part, save_part
from visage.media.image import decode_image
from visage.media.video import probe_video
from visage.models.audio.apc import AudioEncoder
from visage.models.motion import MotionGenerator
from visage.seeds import rng_of
from visage.specs.audio import AudioEncoderSpec
from visage.specs.motion import MotionSpec, MotionTrainSpec
from visage.specs.prepare import ClipPrepareSpec
from visage.store.open import open_store
from visage.training.host import SingleHost
from visage.training.recipes import build_recipe
from visage.training.recipes.motion import MOTION, MotionRecipe
from visage.training.session import run_training
from visage.training.stepper import Stepper

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[4]
QUIET_POSE = {
    "mlp_width": 16,
    "channels": 8,
    "skip_channels": 16,
    "blocks": 1,
    "layers": 3,
    "input_dropout": 0.0,
}
TINY = {
    "norm": "layer",
    "landmark_look_ahead": 2,
    "pose_look_ahead": 3,
    "landmark_net": {"mlp_width": 32, "lstm_width": 32, "lstm_layers": 1, "head_width": 32},
    "pose_net": {**QUIET_POSE, "input_dropout": 0.5},
}


def _spec(*, model: Mapping[str, object] | None = None, **changes: object) -> MotionTrainSpec:
    values = {
        "model": {**TINY, **(model or {})},
        "window": 40,
        "optimizer": {"name": "adam", "lr": 3e-3, "betas": [0.9, 0.99], "weight_decay": 0.0},
        "schedule": {"name": "cosine"},
        "global_batch": 4,
        "micro_batch": 4,
        "feed_threads": 1,
        "precision": "fp32",
    }
    return MotionTrainSpec.parse({**values, **changes})


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("clips")
    return write_clip_corpus(folder, train=8, val=2, test=0, size=16, frames=60)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A published audio encoder of width 12."""
    folder = tmp_path_factory.mktemp("encoder")
    torch.manual_seed(0)
    spec = AudioEncoderSpec(width=12, layers=1)
    save_part(open_store(str(folder)), "apc", AudioEncoder(spec), kind=AUDIO_ENCODER, spec=spec)
    return f"{folder}/apc"


def _recipe(uri: str, **changes: object) -> MotionRecipe:
    recipe = build_recipe(_spec(**changes), load_manifest(uri)[0], CPU)
    assert isinstance(recipe, MotionRecipe)
    return recipe


def _batch(recipe: MotionRecipe, uri: str, count: int = 4) -> Batch:
    rows = ShardRows(*load_manifest(uri), "train")
    decode = recipe.decoder(training=False)
    ones = [decode(rows.row(index), rng_of(index)) for index in range(count)]
    arrays = {name: np.stack([one[name] for one in ones]) for name in ones[0]}
    return Batch(step=0, ids=np.arange(count), arrays=arrays, wait_s=0.0)


def test_a_small_batch_is_learnt_by_heart(clips):
    recipe = _recipe(clips)
    batch = _batch(recipe, clips)
    stepper = Stepper(recipe, SingleHost(), steps=80, epochs=80.0)
    first = stepper.step(batch, 0, {})
    for step in range(1, 80):
        last = stepper.step(batch, step, {})
    assert last.means["landmarks"] < first.means["landmarks"] / 5
    assert last.means["pose_nll"] < first.means["pose_nll"] - 5
    with torch.no_grad():
        sums = recipe.validate(recipe.model.eval(), recipe.tensors(batch, CPU))
    assert sums["lmd"] < 0.6 * sums["still_mouth_lmd"] <= 0.6 * sums["mean_face_lmd"]
    assert sums["opening_correlation"] / 4 > 0.8


def test_the_logged_loss_is_l_mg_the_sum_over_both_phases(clips):
    recipe = _recipe(clips, lambda_pose=0.5, lambda_velocity=2.0, lambda_laplacian=3.0,
                     model={"pose_net": QUIET_POSE})  # fmt: skip
    batch = _batch(recipe, clips)
    with torch.no_grad():
        expected = recipe.validate(recipe.model, recipe.tensors(batch, CPU))
    result = Stepper(recipe, SingleHost(), steps=10, epochs=1.0).step(batch, 0, {})
    parts = result.means
    assert result.loss == pytest.approx(expected["loss"].item() / 4, rel=1e-4)
    assert result.loss == pytest.approx(
        parts["landmarks"] + 0.5 * parts["pose_nll"] + 2 * parts["velocity"]
        + 3 * parts["laplacian"], rel=1e-4,
    )  # fmt: skip


def test_each_phase_trains_its_own_network_and_together_they_are_the_model(clips, encoder):
    recipe = _recipe(clips, audio_encoder=encoder, model={"feature_channels": 12})
    own = {name: {id(one) for one in phase.module.parameters()}
           for name, phase in ((phase.name, phase) for phase in recipe.phases)}  # fmt: skip
    assert own["landmarks"] == {id(one) for one in recipe.model.landmarks.parameters()}
    assert own["pose"] == {id(one) for one in recipe.model.pose.parameters()}
    assert own["landmarks"] | own["pose"] == {id(one) for one in recipe.model.parameters()}
    before = {name: value.clone() for name, value in recipe.model.named_parameters()}
    heard = [value.clone() for value in recipe._encoder.parameters()]
    Stepper(recipe, SingleHost(), steps=10, epochs=1.0).step(_batch(recipe, clips), 0, {})
    for name, value in recipe.model.named_parameters():
        assert value.grad is not None, name
        assert not torch.equal(value, before[name]), name
    for value, former in zip(recipe._encoder.parameters(), heard, strict=True):
        assert value.grad is None
        assert torch.equal(value, former)


def test_the_same_step_in_smaller_pieces_gives_the_same_gradient(clips):
    results = []
    for micro_batch in (4, 2):
        recipe = _recipe(clips, micro_batch=micro_batch,
                         model={"pose_net": QUIET_POSE})  # fmt: skip
        stepper = Stepper(recipe, SingleHost(), steps=10, epochs=1.0)
        result = stepper.step(_batch(recipe, clips), 0, {})
        results.append((result, [one.grad for one in recipe.model.parameters()]))
    (whole, left), (pieces, right) = results
    assert whole.loss == pytest.approx(pieces.loss, rel=1e-5)
    for a, b in zip(left, right, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-3)


def test_what_is_published_loads_to_the_same_motion_and_names_its_encoder(clips, encoder, tmp_path):
    recipe = _recipe(clips, audio_encoder=encoder, model={"feature_channels": 12})
    recipe.export(open_store(str(tmp_path)), "motion", recipe.model, metadata={"step": 3})
    part = load_part(
        f"{tmp_path}/motion", kind=MOTION, spec_class=MotionSpec, build=MotionGenerator
    )
    assert part.spec == recipe.spec.model
    assert part.metadata["step"] == 3
    assert part.metadata["audio_encoder"] == encoder
    assert part.metadata["audio_encoder_digest"]
    options = {"mean": torch.zeros(68, 3), "rest": torch.zeros(6), "seed": 1}
    left, right = (
        one.generate(torch.ones(40, 12), **options) for one in (part.model, recipe.model)
    )
    assert torch.equal(left.landmarks, right.landmarks)
    assert torch.equal(left.pose, right.pose)


def test_features_come_through_the_encoder_with_the_lead_in_as_its_past(clips, encoder):
    recipe = _recipe(clips, audio_encoder=encoder, model={"feature_channels": 12}, lead_in=10)
    batch = _batch(recipe, clips)
    tensors = recipe.tensors(batch, CPU)
    assert tensors["features"].shape == (4, 2 * (10 + 40), 12)
    assert not tensors["features"].requires_grad
    with torch.no_grad():
        cold, _ = recipe._encoder(torch.from_numpy(batch.arrays["mel"][:, 20:].copy()))
    assert not torch.allclose(tensors["features"][:, 20:22], cold[:, :2], atol=1e-3)


def test_without_an_encoder_the_networks_read_mel_frames(clips):
    recipe = _recipe(clips)
    assert recipe.spec.model.feature_channels == 80
    batch = _batch(recipe, clips)
    assert np.array_equal(recipe.tensors(batch, CPU)["features"].numpy(), batch.arrays["mel"])


def test_an_encoder_of_another_width_or_front_end_or_none_at_all_is_refused(
    clips, encoder, tmp_path
):
    with pytest.raises(SpecError, match=r"set model\.feature_channels=12"):
        _recipe(clips, audio_encoder=encoder, model={"feature_channels": 512})
    with pytest.raises(NotFoundError, match="visage train audio-encoder"):
        _recipe(clips, audio_encoder=f"{tmp_path}/none")
    manifest = load_manifest(clips)[0]
    other = AudioEncoderSpec().front.model_copy(update={"taper": "plain"}).model_dump(mode="json")
    changed = replace(manifest, settings={**manifest.settings, "front": other})
    with pytest.raises(DataError, match="taper"):
        build_recipe(_spec(audio_encoder=encoder, model={"feature_channels": 12}), changed, CPU)


def test_a_spec_that_cannot_be_trained_is_refused_with_the_key_to_change():
    with pytest.raises(SpecError, match="leave feature_channels out"):
        _spec(model={"feature_channels": 512})
    with pytest.raises(SpecError, match="longer than the look-ahead"):
        _spec(window=3)
    assert _spec().lead_in_frames == 1 + 1 + 2 + 4
    assert _spec(lead_in=0).lead_in_frames == 0


def test_segments_shorter_than_a_window_are_refused_before_the_run_begins(clips):
    manifest = load_manifest(clips)[0]
    short = replace(manifest, settings={**manifest.settings, "segment_s": 0.7})
    with pytest.raises(DataError, match=r"segment_s=0\.80 or more, or train with --set lead_in=0"):
        build_recipe(_spec(), short, CPU)
    build_recipe(_spec(lead_in=0), short, CPU)


def test_people_see_and_hear_truth_beside_prediction(clips, tmp_path):
    recipe = _recipe(clips, samples=2)
    tensors = recipe.tensors(_batch(recipe, clips, 2), CPU)
    with torch.no_grad():
        samples = recipe.samples(recipe.model.eval(), tensors)
    assert [(one.name, one.suffix) for one in samples] == [
        ("talking-0", "mp4"), ("talking-1", "mp4"), ("mouth-opening", "png"),
    ]  # fmt: skip
    path = tmp_path / "talking.mp4"
    path.write_bytes(samples[0].body)
    info = probe_video(path)
    assert (info.width, info.height) == (512, 256)
    assert decode_image(samples[2].body).std() > 10


class _Host(SingleHost):
    def __init__(self) -> None:
        super().__init__()
        self.events: list[Mapping[str, object]] = []

    def report(self, event: Mapping[str, object]) -> None:
        self.events.append(event)


def test_a_run_ends_with_a_mouth_that_beats_those_that_never_move(clips, tmp_path):
    host = _Host()
    outcome = run_training(
        run_uri=f"{tmp_path}/run", spec=_spec(epochs=35.0, validate_every_epochs=35.0, samples=0),
        recipe_name="motion", data_uri=clips, host=host,
    )  # fmt: skip
    (seen,) = [event for event in host.events if event["type"] == "validation"]
    means = seen["means"]
    assert means["lmd"] < means["still_mouth_lmd"] <= means["mean_face_lmd"]
    assert outcome.score == pytest.approx(-means["lmd"])


@pytest.mark.parametrize("preset", ["motion-small", "motion-paper"])
def test_the_presets_are_complete_and_the_paper_one_is_the_published_network(preset):
    spec = MotionTrainSpec.load(ROOT / "jobs" / "visage_jobs" / "configs" / f"{preset}.yaml")
    if preset == "motion-paper":
        published = MotionSpec(feature_channels=spec.model.feature_channels)
        assert spec.model == published
        assert (spec.optimizer.lr, spec.optimizer.betas, spec.global_batch) == (
            1e-4,
            (0.9, 0.99),
            64,
        )
    assert spec.lead_in_frames + spec.window <= 60 * ClipPrepareSpec().segment_s
    with torch.device("meta"):
        MotionGenerator(spec.model)
