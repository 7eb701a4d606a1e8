"""The model registry: committed weights by URI and digest, aliases by compare-and-set.

Weights never pass through MLflow: a version points to a commit of the store, and registering checks
that commit against the digest. Registering the same digest again returns the version that exists.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from visage.errors import CorruptError, TrackingError
from visage.faultpoints import fault_point
from visage.store.commit import Commit, read_commit
from visage.store.open import open_store
from visage.tracking.backend import RefusedError, classify, connect
from visage.tracking.locks import registry_lock

__all__ = ["DEFAULT_ALIAS", "ModelVersion", "Registry", "committed_weights", "parse_reference"]

DEFAULT_ALIAS = "champion"
DIGEST_TAG = "visage.digest"
URI_TAG = "visage.uri"
_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}"
_REFERENCE = re.compile(rf"({_NAME})(?:@({_NAME})|/([1-9][0-9]*))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVersion:
    """One registered version and where its weights lie."""

    name: str
    version: str
    """A whole number as text, counted up by the registry."""
    uri: str
    """The committed weights: an absolute path or s3://…"""
    digest: str
    """Digest of that commit."""
    aliases: tuple[str, ...] = ()
    run_id: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def reference(self) -> str:
        """`name/version`, which always means this version."""
        return f"{self.name}/{self.version}"


class Registry:
    """Versions and aliases at one tracking URI; connects at the first call."""

    def __init__(self, tracking_uri: str) -> None:
        self._uri = tracking_uri
        self._connected: Any = None

    def register(
        self,
        name: str,
        *,
        uri: str,
        digest: str,
        run_id: str | None = None,
        tags: Mapping[str, object] | None = None,
    ) -> ModelVersion:
        """Add a version for committed weights, or return the one that has the same digest.

        Raises:
            TrackingError: nothing is committed at `uri`, or the registry refused.
            CorruptError: the commit has another digest.
        """
        _check_name(name)
        place = _absolute(uri)
        found = committed_weights(place).digest()
        if found != digest:
            raise CorruptError(
                f"{place}: the weights have digest {found[:12]}…, not {digest[:12]}… as stated; "
                "they were replaced or the digest belongs to another model"
            )
        with self._locked(name):
            for standing in self.versions(name):
                if standing.digest == digest:
                    return standing
            return self._create(name, place, digest, run_id, tags or {})

    def resolve(self, reference: str) -> ModelVersion:
        """The version behind `emotion@champion`, `emotion/3`, or `emotion` (its champion)."""
        name, alias, version = parse_reference(reference)
        with self._explained(f"model {reference!r}"):
            if version is None:
                version = self._aliases(name).get(alias or DEFAULT_ALIAS)
            if version is None:
                raise TrackingError(
                    f"model {reference!r}: {name!r} has no alias {alias or DEFAULT_ALIAS!r}; "
                    f"set it with `visage promote … --name {name} --alias {alias or DEFAULT_ALIAS}`"
                )
            found = self._client.get_model_version(name, version)
            return _model_version(found, self._aliases(name))

    def versions(self, name: str) -> list[ModelVersion]:
        """All versions of a model, newest first; empty if there is no such model."""
        _check_name(name)
        found, token = [], None
        with self._explained(f"model {name!r}"):
            while True:
                page = self._client.search_model_versions(f"name = '{name}'", page_token=token)
                found.extend(page)
                token = page.token
                if not token:
                    break
            aliases = self._aliases(name) if found else {}
        versions = (_model_version(version, aliases) for version in found)
        return sorted(versions, key=lambda version: -int(version.version))

    def alias(self, name: str, alias: str) -> str | None:
        """The version an alias points to, or None."""
        _check_name(name)
        with self._explained(f"model {name!r}"):
            return self._aliases(name).get(alias)

    def set_alias(self, name: str, alias: str, version: str, *, expected: str | None) -> None:
        """Point an alias to a version if it still points to `expected` (None: to nothing).

        Raises:
            TrackingError: somebody moved the alias meanwhile, or there is no such version.
        """
        _check_name(name)
        with self._locked(name), self._explained(f"model {name!r}"):
            self._client.get_model_version(name, version)
            current = self._aliases(name).get(alias)
            if current == version:
                return
            if current != expected:
                raise TrackingError(
                    f"model {name}@{alias}: it points to {current or 'nothing'} now, not to "
                    f"{expected or 'nothing'}; somebody moved it meanwhile, so compare again"
                )
            fault_point("registry.before_alias")
            self._client.set_registered_model_alias(name, alias, version)

    def set_tags(self, version: ModelVersion, tags: Mapping[str, object]) -> None:
        """Label a version, for example with the place of its evaluation."""
        with self._explained(f"model {version.reference!r}"):
            for key, value in tags.items():
                self._client.set_model_version_tag(version.name, version.version, key, str(value))

    @property
    def _client(self) -> Any:
        if self._connected is None:
            self._connected = connect(self._uri)
        return self._connected

    def _create(
        self, name: str, uri: str, digest: str, run_id: str | None, tags: Mapping[str, object]
    ) -> ModelVersion:
        labels = {key: str(value) for key, value in tags.items()}
        labels |= {DIGEST_TAG: digest, URI_TAG: uri}
        with self._explained(f"model {name!r}"):
            self._ensure_model(name)
            fault_point("registry.before_version")
            made = self._client.create_model_version(
                name, source=self._source(uri), run_id=run_id, tags=labels
            )
            return _model_version(made, {})

    def _source(self, uri: str) -> str:
        """A server refuses paths of other machines as sources, rightly; the tag holds the truth."""
        is_server = self._uri.startswith(("http://", "https://"))
        return f"visage-local://{uri}" if is_server and "://" not in uri else uri

    def _ensure_model(self, name: str) -> None:
        try:
            self._client.create_registered_model(name)
        except Exception as err:
            refused = classify(err, name)
            if not isinstance(refused, RefusedError) or "ALREADY_EXISTS" not in refused.code:
                raise

    def _aliases(self, name: str) -> dict[str, str]:
        try:
            aliases = self._client.get_registered_model(name).aliases
        except Exception as err:
            refused = classify(err, name)
            if isinstance(refused, RefusedError) and refused.code == "RESOURCE_DOES_NOT_EXIST":
                return {}
            raise
        return {alias: str(version) for alias, version in aliases.items()}

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        with self._explained(f"model {name!r}"), registry_lock(self._client, self._uri, name):
            yield

    @contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        try:
            yield
        except (TrackingError, CorruptError):
            raise
        except Exception as err:
            raise classify(err, what) from err


def parse_reference(reference: str) -> tuple[str, str | None, str | None]:
    """Name, alias and version of `name`, `name@alias` or `name/version`; else TrackingError."""
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise TrackingError(
            f"model {reference!r}: write name@alias, name/version or name, "
            "for example emotion@champion"
        )
    return match[1], match[2], match[3]


def committed_weights(uri: str) -> Commit:
    """The commit at a URI of weights; TrackingError if nothing was published there."""
    root, _, prefix = _absolute(uri).rpartition("/")
    commit = read_commit(open_store(root or "/"), prefix) if prefix else None
    if commit is None:
        raise TrackingError(
            f"{uri}: no weights are committed there; train or export a model to that place first"
        )
    return commit


def _check_name(name: str) -> None:
    if not re.fullmatch(_NAME, name):
        raise TrackingError(f"model name {name!r}: use letters, digits, '.', '_' and '-' only")


def _absolute(uri: str) -> str:
    if uri.startswith("file://"):
        return str(Path(uri.removeprefix("file://")).resolve())
    return uri.rstrip("/") if "://" in uri else str(Path(uri).resolve())


def _model_version(found: Any, aliases: Mapping[str, str]) -> ModelVersion:
    tags = dict(found.tags)
    version = str(found.version)
    return ModelVersion(
        name=found.name,
        version=version,
        uri=tags.get(URI_TAG, found.source),
        digest=tags.get(DIGEST_TAG, ""),
        aliases=tuple(sorted(alias for alias, target in aliases.items() if target == version)),
        run_id=found.run_id or None,
        tags=tags,
    )
