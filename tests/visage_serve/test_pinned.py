from __future__ import annotations

import pytest

from visage.errors import CorruptError, NotFoundError, SpecError
from visage.specs.serve import ServeSpec, names_registry
from visage.store.commit import commit
from visage.store.open import open_store
from visage.tracking.registry import ModelVersion
from visage_serve import pinned as module
from visage_serve.pinned import PinnedModel, PinnedModels, pin_models


def pin_model(spec):
    """The emotion model alone."""
    found = pin_models(spec)
    assert found.talking_head is None
    return found.emotion


def publish(folder, name="model", body=b"weights"):
    return commit(open_store(str(folder)), name, {"model.safetensors": body}).digest()


@pytest.mark.parametrize(
    ("model", "is_reference"),
    [
        ("emotion", True),
        ("emotion@champion", True),
        ("emotion/3", True),
        ("runs/emotion/model", False),
        ("/runs/3", False),
        ("./3", False),
        ("../emotion", False),
        ("s3://bucket/3", False),
    ],
)
def test_references_and_places_are_told_apart(model, is_reference):
    assert names_registry(model) is is_reference


def test_a_place_is_pinned_by_its_digest_and_made_absolute(tmp_path, monkeypatch):
    digest = publish(tmp_path)
    monkeypatch.chdir(tmp_path)
    found = pin_model(ServeSpec(model="./model/"))
    assert found == PinnedModel(
        name="model", version=None, uri=str(tmp_path / "model"), digest=digest
    )


def test_an_empty_place_says_how_to_get_a_model(tmp_path):
    with pytest.raises(NotFoundError, match="visage demo"):
        pin_model(ServeSpec(model=str(tmp_path / "nothing")))


def test_a_reference_needs_a_registry():
    with pytest.raises(SpecError, match="tracking_uri"):
        pin_model(ServeSpec(model="emotion@champion"))


def test_a_workspace_without_registry_is_not_given_one_by_asking(tmp_path):
    database = tmp_path / "mlflow.db"
    with pytest.raises(NotFoundError, match="visage promote"):
        pin_model(ServeSpec(tracking_uri=f"sqlite:///{database}"))
    assert not database.exists()


class Registered:
    """A registry that holds one version."""

    def __init__(self, version):
        self._version = version

    def __call__(self, tracking_uri):
        return self

    def resolve(self, reference):
        assert reference.split("@")[0].split("/")[0] == self._version.name
        return self._version

    def alias(self, name, alias):
        return self._version.version if name == self._version.name else None


def test_a_reference_is_pinned_to_its_version_and_weights(tmp_path, monkeypatch):
    version = ModelVersion(
        name="emotion", version="7", uri=str(tmp_path / "model"), digest=publish(tmp_path)
    )
    monkeypatch.setattr(module, "Registry", Registered(version))
    found = pin_model(ServeSpec(model="emotion@champion", tracking_uri="http://registry"))
    assert (found.name, found.version, found.digest) == ("emotion", "7", version.digest)


def test_weights_that_are_not_the_registered_ones_are_refused(tmp_path, monkeypatch):
    publish(tmp_path)
    version = ModelVersion(
        name="emotion", version="7", uri=str(tmp_path / "model"), digest="0" * 64
    )
    monkeypatch.setattr(module, "Registry", Registered(version))
    with pytest.raises(CorruptError, match="emotion/7"):
        pin_model(ServeSpec(tracking_uri="http://registry"))


@pytest.mark.parametrize("name", ["emotion", "talking-head"])
def test_without_names_every_champion_is_served_that_there_is(tmp_path, monkeypatch, name):
    version = ModelVersion(
        name=name, version="2", uri=str(tmp_path / "model"), digest=publish(tmp_path)
    )
    monkeypatch.setattr(module, "Registry", Registered(version))
    found = pin_models(ServeSpec(tracking_uri="http://registry"))
    (one,) = found.present()
    assert (one.name, one.digest) == (name, version.digest)
    assert (found.emotion is None) is (name == "talking-head")


def test_without_names_and_without_champions_a_person_is_told_how_to_get_one(tmp_path):
    registry = f"sqlite:///{tmp_path / 'mlflow.db'}"
    with pytest.raises(NotFoundError, match="visage demo"):
        pin_models(ServeSpec(tracking_uri=registry))
    with pytest.raises(NotFoundError, match="visage assemble"):
        pin_models(ServeSpec(tracking_uri=registry, talking_head="talking-head@champion"))
    assert list(tmp_path.iterdir()) == []


def test_what_is_named_is_served_and_nothing_else(tmp_path):
    publish(tmp_path, "one", b"a")
    publish(tmp_path, "two", b"b")
    one, two = str(tmp_path / "one"), str(tmp_path / "two")
    assert [each.name for each in pin_models(ServeSpec(model=one)).present()] == ["one"]
    found = pin_models(ServeSpec(talking_head=two))
    assert found == PinnedModels(talking_head=found.talking_head)
    assert len(pin_models(ServeSpec(model=one, talking_head=two)).present()) == 2
