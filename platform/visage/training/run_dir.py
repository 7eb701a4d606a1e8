"""A training run in a store: what it is, where its parts lie, and whether it is done.

    run.json                      spec, data and their digests; written once, never changed
    ledger/<from>-<to>-<token>/   which samples the steps from … to consumed; names its parent
    checkpoints/<step>-<token>/   weights, optimizer, scaler and position; names its ledger segment
    model/                        the exported weights: the run is done

Resuming is nothing special: opening a run finds its newest valid checkpoint, or none.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from visage.data.ledger import LedgerRow, from_parquet
from visage.errors import AlreadyExistsError, CorruptError, NotFoundError, TrainingError
from visage.specs.base import Spec
from visage.specs.train import TrainSpec
from visage.store.base import Store
from visage.store.commit import read_commit, read_part
from visage.training.recipes import RECIPES, spec_class

__all__ = ["MODEL_PREFIX", "RUN_SCHEMA", "RunInfo", "ledger_chain", "open_run_dir", "read_run"]

RUN_SCHEMA = "visage.run/1"
MODEL_PREFIX = "model"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInfo:
    """The identity of a run: the same spec on the same data."""

    recipe: str
    spec: dict[str, Any]
    spec_digest: str
    data_uri: str
    data_digest: str
    samples: int
    """Rows of the training split."""

    @classmethod
    def of(
        cls, spec: TrainSpec, *, recipe: str, data_uri: str, digest: str, samples: int
    ) -> RunInfo:
        """Describe a run about to start."""
        return cls(
            recipe=recipe,
            spec=spec.model_dump(mode="json"),
            spec_digest=spec.digest(),
            data_uri=data_uri,
            data_digest=digest,
            samples=samples,
        )


def open_run_dir(store: Store, info: RunInfo) -> None:
    """Claim the folder for this run, or check that it is this run's.

    Raises:
        TrainingError: the folder holds a run with another spec or other data; lists the
        differences.
    """
    body = {"schema": RUN_SCHEMA, **{name: getattr(info, name) for name in RunInfo.__slots__}}
    try:
        store.put("run.json", json.dumps(body, indent=1, sort_keys=True).encode())
    except AlreadyExistsError:
        standing = read_run(store)
        problems = _differences(standing, info)
        if problems:
            raise TrainingError(
                f"{store.uri}: holds a run that differs: {'; '.join(problems)}. "
                "Choose another --name, or the same spec and data to continue that run"
            ) from None


def read_run(store: Store) -> RunInfo:
    """What the run in a folder is.

    Raises:
        NotFoundError: there is none.
        TrainingError: it was made by another version.
        CorruptError: its description is damaged.
    """
    try:
        body = store.get("run.json")
    except NotFoundError:
        raise NotFoundError(f"{store.uri}: no training run there (no run.json)") from None
    try:
        values = json.loads(body)
        schema = values.pop("schema")
        if schema != RUN_SCHEMA:
            raise TrainingError(f"{store.uri}: run schema {schema!r} is not {RUN_SCHEMA!r}")
        return RunInfo(**values)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise CorruptError(
            f"{store.uri}/run.json: damaged; restore it, or start the run under another --name"
        ) from None


def ledger_chain(store: Store, head: str | None) -> list[LedgerRow]:
    """The rows of a segment and all its ancestors, oldest first."""
    segments: list[list[LedgerRow]] = []
    while head is not None:
        prefix = f"ledger/{head}"
        found = read_commit(store, prefix)
        if found is None:
            raise TrainingError(f"{store.uri}/{prefix}: ledger segment missing from the chain")
        body = read_part(store, prefix, "ledger.parquet")
        segments.append(from_parquet(body, origin=f"{store.uri}/{prefix}"))
        head = found.metadata["parent"]
    return [row for segment in reversed(segments) for row in segment]


def _differences(standing: RunInfo, wanted: RunInfo) -> list[str]:
    problems = []
    if standing.recipe != wanted.recipe:
        problems.append(f"recipe {standing.recipe} there, {wanted.recipe} here")
    if standing.data_digest != wanted.data_digest:
        problems.append(f"data {standing.data_digest[:12]} there, {wanted.data_digest[:12]} here")
    if standing.spec_digest != wanted.spec_digest:
        there, here = _defaults(wanted.recipe) | _flat(standing.spec), _flat(wanted.spec)
        problems += [
            f"{key} {there.get(key)} there, {here.get(key)} here"
            for key in sorted({*there, *here})
            if there.get(key) != here.get(key)
        ]
    return problems


def _defaults(recipe: str) -> dict[str, object]:
    """What a key means that a run of an earlier version did not have yet."""
    if recipe not in RECIPES:
        return {}
    fields = spec_class(recipe).model_fields.items()
    known = {name: one.get_default(call_default_factory=True) for name, one in fields
             if not one.is_required()}  # fmt: skip
    return _flat(
        {
            name: value.model_dump(mode="json") if isinstance(value, Spec) else value
            for name, value in known.items()
        }
    )


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat
