"""Promises of the recipe `audio-encoder`: it learns to hear ahead, on speech and on clips alike."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from made_clips import write_clip_corpus
from made_speech import write_speech_corpus

from visage.data.feed import Batch
from visage.data.shards import ShardRows, load_manifest
from visage.errors import DataError, NotFoundError, SpecError
from visage.inference.audio_encoder import load_audio_encoder
from visage.media.image import decode_image
from visage.models.audio.apc import AudioEncoder
from visage.seeds import rng_of
from visage.specs.audio import AudioEncoderSpec, AudioEncoderTrainSpec
from visage.store.open import open_store
from visage.training.host import SingleHost
from visage.training.recipes import build_recipe
from visage.training.recipes.audio_encoder import AudioEncoderRecipe
from visage.training.session import run_training
from visage.training.stepper import Stepper, StepResult

CPU = torch.device("cpu")


def _spec(**changes: object) -> AudioEncoderTrainSpec:
    values = {
        "model": {"width": 48, "layers": 1},
        "window": 40,
        "optimizer": {"name": "adam", "lr": 1e-2, "weight_decay": 0.0},
        "global_batch": 8,
        "micro_batch": 8,
        "clip_norm": 1.0,
        "feed_threads": 1,
    }
    return AudioEncoderTrainSpec.parse({**values, **changes})


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_speech_corpus(tmp_path_factory.mktemp("speech"))


def _recipe(uri: str, **changes: object) -> AudioEncoderRecipe:
    recipe = build_recipe(_spec(**changes), load_manifest(uri)[0], CPU)
    assert isinstance(recipe, AudioEncoderRecipe)
    return recipe


def _batch(recipe: AudioEncoderRecipe, uri: str, count: int = 8) -> Batch:
    rows = ShardRows(*load_manifest(uri), "train")
    decode = recipe.decoder(training=False)
    ones = [decode(rows.row(index), rng_of(index)) for index in range(count)]
    arrays = {name: np.stack([one[name] for one in ones]) for name in ones[0]}
    return Batch(step=0, ids=np.arange(count), arrays=arrays, wait_s=0.0)


def test_a_small_batch_is_learnt_far_beyond_repeating_the_last_frame(speech):
    recipe = _recipe(speech, model={"width": 48, "layers": 2}, schedule={"name": "cosine"})
    batch = _batch(recipe, speech, 4)
    stepper = Stepper(recipe, SingleHost(), steps=100, epochs=100.0)
    first = stepper.step(batch, 0, {})
    for step in range(1, 100):
        last = stepper.step(batch, step, {})
    assert last.loss < first.loss / 4
    assert last.loss < 0.6 * last.means["copy_loss"]


def test_the_same_step_in_smaller_pieces_gives_the_same_gradient_though_lengths_differ(speech):
    results: list[tuple[StepResult, list[torch.Tensor | None]]] = []
    for micro_batch in (8, 3):
        recipe = _recipe(speech, micro_batch=micro_batch, precision="fp32", clip_norm=None)
        batch = _batch(recipe, speech)
        assert len(set(batch.arrays["valid"].tolist())) == 1  # of the window …
        batch.arrays["valid"][:] = [40, 35, 30, 25, 20, 15, 10, 5]  # … now of many
        result = Stepper(recipe, SingleHost(), steps=10, epochs=1.0).step(batch, 0, {})
        grads = [one.grad for one in recipe.model.parameters()]
        results.append((result, grads))
    (whole, left), (pieces, right) = results
    assert whole.loss == pytest.approx(pieces.loss, rel=1e-5)
    assert whole.means["copy_loss"] == pytest.approx(pieces.means["copy_loss"], rel=1e-5)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(left, right, strict=True))


def test_what_is_published_is_the_encoder_alone_and_loads_to_the_same_features(speech, tmp_path):
    recipe = _recipe(speech)
    store = open_store(str(tmp_path))
    recipe.export(store, "model", recipe.model, metadata={"step": 3})
    part = load_audio_encoder(f"{tmp_path}/model")
    assert isinstance(part.model, AudioEncoder)
    assert part.spec == recipe.spec.model
    assert part.metadata["step"] == 3
    weights = safetensors.torch.load_file(next((tmp_path / "model").glob("*.safetensors")))
    assert set(weights) == set(part.model.state_dict())
    mel = torch.rand(1, 30, 80)
    with torch.no_grad():
        wanted = recipe.model.encoder.eval()(mel)[0]
        assert torch.equal(part.model(mel)[0], wanted)
    assert not any(value.requires_grad for value in part.model.parameters())


def test_without_an_encoder_the_error_says_how_to_get_one(tmp_path):
    with pytest.raises(NotFoundError, match="visage train audio-encoder"):
        load_audio_encoder(f"{tmp_path}/none")


def test_validation_measures_the_prediction_and_the_cost_of_only_copying(speech):
    recipe = _recipe(speech)
    tensors = recipe.tensors(_batch(recipe, speech, 4), CPU)
    with torch.no_grad():
        sums = recipe.validate(recipe.model.eval(), tensors)
        predicted = recipe.model(tensors["mel"])
    assert set(sums) == {"score", "loss", "copy_loss"}
    mel = tensors["mel"]
    by_hand = (predicted[:, :-3] - mel[:, 3:]).abs().mean((1, 2)).sum()
    assert sums["loss"].item() == pytest.approx(by_hand.item(), rel=1e-5)
    copied = (mel[:, :-3] - mel[:, 3:]).abs().mean((1, 2)).sum()
    assert sums["copy_loss"].item() == pytest.approx(copied.item(), rel=1e-5)
    assert sums["score"] == -sums["loss"]


def test_the_sample_is_a_picture_of_true_above_predicted_frames(speech):
    recipe = _recipe(speech)
    tensors = recipe.tensors(_batch(recipe, speech, 3), CPU)
    tensors["valid"][2] = 2  # nothing to predict: not shown
    with torch.no_grad():
        (sample,) = recipe.samples(recipe.model.eval(), tensors)
    picture = decode_image(sample.body)
    assert (sample.name, sample.suffix) == ("mel", "png")
    assert picture.shape == (2 * (160 + 2 + 160 + 4), 74, 3)
    assert (picture[160:162] == 255).all()
    tensors["valid"][:] = 0
    with torch.no_grad():
        assert recipe.samples(recipe.model, tensors) == []


class _Host(SingleHost):
    def __init__(self) -> None:
        super().__init__()
        self.events: list[Mapping[str, object]] = []

    def report(self, event: Mapping[str, object]) -> None:
        self.events.append(event)


@pytest.mark.parametrize("kind", ["speech", "clips"])
def test_a_run_over_speech_or_clips_ends_with_an_encoder_that_hears_ahead(kind, tmp_path):
    data = str(tmp_path / "data")
    if kind == "speech":
        write_speech_corpus(data, train=12)
    else:
        write_clip_corpus(data, train=12, val=4, test=0, size=32, frames=60)
    spec, host = _spec(epochs=30.0, validate_every_epochs=30.0, global_batch=4), _Host()
    run = f"{tmp_path}/run"
    outcome = run_training(
        run_uri=run, spec=spec, recipe_name="audio-encoder", data_uri=data, host=host
    )
    seen = [event for event in host.events if event["type"] == "validation"]
    assert seen[-1]["loss"] < seen[-1]["means"]["copy_loss"]
    assert outcome.score == pytest.approx(-seen[-1]["loss"])
    assert load_audio_encoder(outcome.model_uri).spec == spec.model


def test_a_corpus_of_another_front_end_is_refused_by_the_key_that_differs(speech):
    with pytest.raises(DataError, match=r"taper: mirrored here, plain there"):
        _recipe(speech, model={"width": 32, "front": {"taper": "plain"}})


def test_training_may_start_from_published_weights(speech, tmp_path):
    donor = AudioEncoder(AudioEncoderSpec(width=48, layers=1))
    path: Path = tmp_path / "apc.safetensors"
    safetensors.torch.save_file(donor.state_dict(), path)
    recipe = _recipe(speech, pretrained=str(path))
    assert torch.equal(recipe.model.encoder.rnns[0].weight_hh_l0, donor.rnns[0].weight_hh_l0)
    with pytest.raises(SpecError, match="no such file"):
        _recipe(speech, pretrained=str(tmp_path / "absent.safetensors"))


def test_initial_weights_are_a_function_of_the_seed(speech):
    one, same, other = (_recipe(speech, seed=seed).model.postnet.weight for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_a_window_too_short_to_predict_in_is_refused():
    with pytest.raises(SpecError, match="too short to predict"):
        _spec(window=10, model={"n_future": 5})
