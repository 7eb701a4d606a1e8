"""Promises of published models: what loads is what was saved, or a sentence says why not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from visage.errors import (
    AlreadyExistsError,
    CorruptError,
    DataError,
    NotFoundError,
    SpecError,
    TrainingError,
)
from visage.inference.artifact import (
    load_emotion_model,
    new_emotion_model,
    read_weights,
    save_emotion_model,
)
from visage.models import build_emotion_model
from visage.models.resnet import ResNet18
from visage.specs.emotion import EMOTIONS, EmotionModelSpec
from visage.store.commit import commit, read_part
from visage.store.open import open_store


def _save(
    folder: Path, spec: EmotionModelSpec, *, prefix: str = "m", seed: int = 0, **options
) -> str:
    torch.manual_seed(seed)
    options = {"classes": EMOTIONS, **options}
    return save_emotion_model(
        open_store(str(folder)), prefix, build_emotion_model(spec), spec, **options
    )


def _copy(published: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(published, tmp_path / "copy"))


def _republish(published: Path, folder: Path, change) -> str:
    """Commit the same model with another description."""
    store = open_store(str(published.parent))
    body = json.loads(read_part(store, "tiny", "model.json"))
    change(body)
    parts = {
        "model.safetensors": read_part(store, "tiny", "model.safetensors"),
        "model.json": json.dumps(body).encode(),
    }
    commit(open_store(str(folder)), "m", parts)
    return str(folder / "m")


def test_a_model_comes_back_with_its_weights_spec_classes_and_metadata(tmp_path, tiny_spec):
    torch.manual_seed(0)
    model = build_emotion_model(tiny_spec)
    model(torch.rand(2, 3, 32, 32), torch.rand(2, 3, 48, 48))  # moves the batch-norm statistics
    store = open_store(str(tmp_path))
    digest = save_emotion_model(
        store, "m", model, tiny_spec, classes=EMOTIONS, metadata={"step": 7, "score": 0.5}
    )
    loaded = load_emotion_model(str(tmp_path / "m"))
    assert (loaded.spec, loaded.classes, loaded.digest) == (tiny_spec, EMOTIONS, digest)
    assert loaded.metadata == {"step": 7, "score": 0.5}
    assert not loaded.model.training
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], value), name


def test_saving_the_same_again_gives_the_same_digest_and_another_model_is_refused(
    tmp_path, tiny_spec
):
    assert _save(tmp_path, tiny_spec) == _save(tmp_path, tiny_spec)
    with pytest.raises(AlreadyExistsError):
        _save(tmp_path, tiny_spec, seed=1)


def test_wrapped_channels_last_and_half_models_are_saved_as_plain_single_precision(
    tmp_path, tiny_spec
):
    plain = _save(tmp_path, tiny_spec, prefix="plain")
    torch.manual_seed(0)
    model = build_emotion_model(tiny_spec).to(memory_format=torch.channels_last)
    store = open_store(str(tmp_path))
    wrapped = nn.ModuleDict({"module": model})
    assert save_emotion_model(store, "wrapped", wrapped, tiny_spec, classes=EMOTIONS) == plain
    save_emotion_model(store, "half", model.half(), tiny_spec, classes=EMOTIONS)
    assert (
        next(load_emotion_model(str(tmp_path / "half")).model.parameters()).dtype == torch.float32
    )


@pytest.mark.parametrize("uri", ["{folder}/m", "{folder}/m/", "file://{folder}/m"])
def test_a_model_is_found_under_any_spelling_of_its_uri(uri, tmp_path, tiny_spec):
    digest = _save(tmp_path, tiny_spec)
    assert load_emotion_model(uri.format(folder=tmp_path)).digest == digest


def test_a_relative_path_works_too(tmp_path, tiny_spec, monkeypatch):
    digest = _save(tmp_path, tiny_spec)
    monkeypatch.chdir(tmp_path)
    assert load_emotion_model("m").digest == digest


@pytest.mark.parametrize("uri", ["", "/", ".", "s3://bucket", "s3://"])
def test_a_uri_that_names_no_folder_is_refused(uri):
    with pytest.raises(SpecError, match="own folder"):
        load_emotion_model(uri)


def test_nothing_published_is_not_found(tmp_path):
    with pytest.raises(NotFoundError, match="no model was published"):
        load_emotion_model(str(tmp_path / "missing"))


def test_a_model_without_its_marker_does_not_exist(published, tmp_path):
    copy = _copy(published, tmp_path)
    (copy / "COMMIT").unlink()
    with pytest.raises(NotFoundError):
        load_emotion_model(str(copy))


@pytest.mark.parametrize("suffix", [".safetensors", ".json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "delete"])
def test_damage_to_any_part_is_named_and_never_loaded(published, tmp_path, suffix, damage):
    copy = _copy(published, tmp_path)
    part = next(path for path in copy.iterdir() if path.suffix == suffix)
    body = bytearray(part.read_bytes())
    if damage == "delete":
        part.unlink()
    else:
        body[-1] ^= 1
        part.write_bytes(bytes(body if damage == "flip" else body[:-5]))
    with pytest.raises(CorruptError, match=part.name):
        load_emotion_model(str(copy))


@pytest.mark.parametrize("missing", ["model.json", "model.safetensors"])
def test_a_commit_of_something_else_is_no_model(tmp_path, missing):
    parts = {name: b"{}" for name in ("model.json", "model.safetensors") if name != missing}
    commit(open_store(str(tmp_path)), "m", parts)
    with pytest.raises(CorruptError, match=missing):
        load_emotion_model(str(tmp_path / "m"))


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda body: body.update(schema="visage.model/9"), DataError, "visage.model/9"),
        (lambda body: body.update(kind="motion"), DataError, "motion"),
        (lambda body: body.pop("schema"), DataError, "not a model's description"),
        (lambda body: body.pop("classes"), DataError, "classes"),
        (lambda body: body.update(metadata=3), DataError, "metadata"),
        (lambda body: body["spec"].update(depth=3), SpecError, "no such key"),
        (lambda body: body["spec"].update(attention="CA"), CorruptError, "not those of the spec"),
        (lambda body: body["spec"].update(fusion="concat"), CorruptError, "not those of the spec"),
        (lambda body: body["spec"].update(widths=[4, 4, 6, 6, 9]), CorruptError, "not those"),
        (lambda body: body.update(classes=["a", "b"]), SpecError, "7 outputs"),
        (lambda body: body.update(classes=["a"] * 7), SpecError, "own name"),
        (lambda body: body.update(classes=[1, 2, 3, 4, 5, 6, 7]), SpecError, "own name"),
    ],
)
def test_a_description_of_something_else_is_refused_with_a_reason(
    published, tmp_path, change, error, words
):
    uri = _republish(published, tmp_path, change)
    with pytest.raises(error, match=words):
        load_emotion_model(uri)


def test_a_description_that_is_no_json_is_refused(tmp_path):
    parts = {"model.json": b"\xff\x00", "model.safetensors": b""}
    commit(open_store(str(tmp_path)), "m", parts)
    with pytest.raises(DataError):
        load_emotion_model(str(tmp_path / "m"))


def test_broken_weights_are_not_published(tmp_path, tiny_spec):
    model = build_emotion_model(tiny_spec)
    with torch.no_grad():
        model.head.out.bias[0] = float("nan")
    with pytest.raises(TrainingError, match=r"head\.out\.bias"):
        save_emotion_model(open_store(str(tmp_path)), "m", model, tiny_spec, classes=EMOTIONS)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("metadata", [{"loss": float("nan")}, {"path": Path("x")}])
def test_metadata_that_json_cannot_say_is_refused_before_anything_is_written(
    tmp_path, tiny_spec, metadata
):
    with pytest.raises(SpecError, match="metadata"):
        _save(tmp_path, tiny_spec, metadata=metadata)
    assert not list(tmp_path.iterdir())


def test_classes_must_fit_the_outputs(tmp_path, tiny_spec):
    with pytest.raises(SpecError, match="7 outputs"):
        _save(tmp_path, tiny_spec, classes=("Happy", "Sad"))


@pytest.mark.parametrize(
    "device",
    [
        "warp",
        pytest.param(
            "cuda",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device"),
        ),
    ],
)
def test_an_impossible_device_is_a_usage_error(published, device):
    with pytest.raises(SpecError, match="device"):
        load_emotion_model(str(published), device=device)


def test_a_model_for_data_with_other_classes_is_refused_before_it_is_trained(tiny_spec):
    with pytest.raises(SpecError, match=r"set model\.class_count"):
        new_emotion_model(tiny_spec, classes=(*EMOTIONS, "Calm"))
    assert new_emotion_model(tiny_spec, classes=EMOTIONS).training


def test_pretrained_trunks_are_read_from_both_formats_and_needed_only_once(tmp_path):
    weights = ResNet18().state_dict()
    safetensors.torch.save_file(weights, tmp_path / "w.safetensors")
    torch.save(weights, tmp_path / "w.pth")
    sizes = {"face_size": 32, "context_height": 40, "context_width": 40, "context_crop": 32}
    for name in ("w.safetensors", "w.pth"):
        spec = EmotionModelSpec.parse(
            {"backbone": "resnet18", "pretrained": str(tmp_path / name), "input": sizes}
        )
        model = new_emotion_model(spec)
        assert torch.equal(model.face_encoder.conv1.weight, weights["conv1.weight"])
    save_emotion_model(open_store(str(tmp_path)), "m", model, spec, classes=EMOTIONS)
    (tmp_path / "w.pth").unlink()
    loaded = load_emotion_model(str(tmp_path / "m"))
    assert torch.equal(loaded.model.face_encoder.conv1.weight, weights["conv1.weight"])


class _Bomb:
    """Runs code when unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, ("raise SystemExit('the bomb went off')",))


def test_weights_that_carry_code_are_refused_without_running_it(tmp_path):
    torch.save({"conv1.weight": _Bomb()}, tmp_path / "w.pth")
    with pytest.raises(CorruptError, match=r"w\.pth"):
        read_weights(tmp_path / "w.pth")


@pytest.mark.parametrize(
    ("name", "body", "error"),
    [
        ("w.safetensors", b"nonsense", CorruptError),
        ("w.pth", b"nonsense", CorruptError),
        ("w.pth", b"", CorruptError),
        ("w.bin", b"x", SpecError),
        ("missing.pth", None, SpecError),
    ],
)
def test_files_that_hold_no_weights_are_refused(tmp_path, name, body, error):
    if body is not None:
        (tmp_path / name).write_bytes(body)
    with pytest.raises(error, match=name):
        read_weights(tmp_path / name)


def test_a_checkpoint_that_is_no_plain_state_dict_is_refused(tmp_path):
    torch.save({"state_dict": {"conv1.weight": torch.zeros(1)}}, tmp_path / "w.pth")
    with pytest.raises(CorruptError, match="plain state dict"):
        read_weights(tmp_path / "w.pth")
