"""What a run shows while it trains, published where the driver finds it.

Samples are for people: a store that refuses them is told in the log and stops nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from visage.errors import AlreadyExistsError, NotFoundError, StoreError
from visage.store.base import Store
from visage.store.commit import commit, read_commit, read_part
from visage.training.recipe import Sample

__all__ = ["publish_samples", "read_samples", "samples_prefix"]

log = logging.getLogger(__name__)


def samples_prefix(step: int) -> str:
    """Where the samples of a step lie in a run's folder."""
    return f"samples/{step:010d}"


def publish_samples(store: Store, step: int, samples: Sequence[Sample]) -> list[str]:
    """Publish what was made after `step`; returns the file names, none if it could not be done."""
    if not samples:
        return []
    parts = {f"{one.name}.{one.suffix}": one.body for one in samples}
    try:
        commit(store, samples_prefix(step), parts)
    except AlreadyExistsError:  # a former attempt of the run came as far
        pass
    except StoreError as err:
        log.warning("samples of step %d are not shown: %s", step, err)
        return []
    return sorted(parts)


def read_samples(store: Store, step: int) -> dict[str, bytes]:
    """The published samples of a step by file name; NotFoundError if there are none."""
    prefix = samples_prefix(step)
    found = read_commit(store, prefix)
    if found is None:
        raise NotFoundError(f"{store.uri}/{prefix}: no samples were published there")
    return {name: read_part(store, prefix, name) for name in found.parts}
