"""Validation over all ranks: each takes its share of the split, sums are added up."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import nn
from torch.amp.autocast_mode import autocast

from visage.data.feed import Batch, Decode
from visage.data.shards import ShardRows
from visage.seeds import rng_of
from visage.training.host import Host
from visage.training.recipe import Recipe
from visage.training.state import Validation

__all__ = ["validate"]


@torch.no_grad()
def validate(
    recipe: Recipe, model: nn.Module, rows: ShardRows, host: Host, *, step: int, half: bool
) -> Validation:
    """Score a model on a split; equal on all ranks, and the model is left in its former mode."""
    was_training = model.training
    model.eval()
    totals: dict[str, torch.Tensor] = {}
    samples = 0
    for batch in _batches(recipe, rows, host):
        host.note(step, "validate")
        with autocast(host.device.type, dtype=torch.float16, enabled=half):
            sums = recipe.validate(model, recipe.tensors(batch, host.device))
        samples += len(batch)
        for name, value in sums.items():
            totals[name] = totals.get(name, torch.zeros((), dtype=torch.float64)) + value.cpu()
    model.train(was_training)
    names = ("score", "loss")
    vector = torch.stack([totals.get(name, torch.zeros((), dtype=torch.float64)) for name in names])
    vector = torch.cat([vector, torch.tensor([samples], dtype=torch.float64)]).to(host.device)
    score, loss, count = host.add(vector).tolist()
    return Validation(step=step, score=score / count, loss=loss / count)


def _batches(recipe: Recipe, rows: ShardRows, host: Host) -> Iterator[Batch]:
    decode: Decode = recipe.decoder(training=False)
    mine = range(host.rank, len(rows), host.world)
    size = recipe.spec.micro_batch
    with ThreadPoolExecutor(recipe.spec.feed_threads, thread_name_prefix="validate") as pool:
        for start in range(0, len(mine), size):
            ids = mine[start : start + size]
            ones = list(pool.map(lambda one: decode(rows.row(one), rng_of(0, "eval", one)), ids))
            arrays = {name: np.stack([one[name] for one in ones]) for name in ones[0]}
            yield Batch(step=0, ids=np.asarray(ids, dtype=np.int64), arrays=arrays, wait_s=0.0)
