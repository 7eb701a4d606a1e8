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
from visage.training.recipe import Recipe, Sample
from visage.training.state import Validation

__all__ = ["show", "validate"]


@torch.no_grad()
def validate(
    recipe: Recipe, model: nn.Module, rows: ShardRows, host: Host, *, step: int, half: bool
) -> tuple[Validation, dict[str, float]]:
    """Score a model on a split; equal on all ranks, and the model is left in its former mode.

    Returns the score, and the means of everything else that the recipe measures.
    """
    was_training = model.training
    model.eval()
    totals: dict[str, torch.Tensor] = {}
    samples = 0
    host.note(step, "data")
    for batch in _batches(recipe, rows, host.rank, host.world, recipe.spec.micro_batch):
        host.note(step, "validate")
        with autocast(host.device.type, dtype=torch.float16, enabled=half):
            sums = recipe.validate(model, recipe.tensors(batch, host.device))
        samples += len(batch)
        for name, value in sums.items():
            totals[name] = totals.get(name, torch.zeros((), dtype=torch.float64)) + value.cpu()
        host.note(step, "data")  # what is waited for next is the store, which has its own limits
    host.note(step, "validate")
    model.train(was_training)
    # a rank without a share of a small split must know what the others add up
    known = {one for theirs in host.gather(list(totals)) for one in theirs}
    names = sorted({"score", "loss", *known})
    vector = torch.stack([totals.get(name, torch.zeros((), dtype=torch.float64)) for name in names])
    vector = torch.cat([vector, torch.tensor([samples], dtype=torch.float64)]).to(host.device)
    *added, count = host.add(vector).tolist()
    means = {name: value / count for name, value in zip(names, added, strict=True)}
    score, loss = means.pop("score"), means.pop("loss")
    seen = Validation(step=step, score=score, loss=loss, means=means)
    return seen, means


@torch.no_grad()
def show(
    recipe: Recipe, model: nn.Module, rows: ShardRows, host: Host, *, half: bool
) -> list[Sample]:
    """What the recipe shows of the first samples of a split; called on one rank alone."""
    was_training = model.training
    model.eval()
    try:
        for batch in _batches(recipe, rows, 0, 1, recipe.spec.samples):
            with autocast(host.device.type, dtype=torch.float16, enabled=half):
                return recipe.samples(model, recipe.tensors(batch, host.device))
        return []
    finally:
        model.train(was_training)


def _batches(recipe: Recipe, rows: ShardRows, rank: int, world: int, size: int) -> Iterator[Batch]:
    decode: Decode = recipe.decoder(training=False)
    columns = None if decode.columns is None else ("key", *decode.columns)
    mine = range(rank, len(rows), world)
    with ThreadPoolExecutor(recipe.spec.feed_threads, thread_name_prefix="validate") as pool:
        for start in range(0, len(mine), size):
            ids = mine[start : start + size]
            ones = list(
                pool.map(lambda one: decode(rows.row(one, columns), rng_of(0, "eval", one)), ids)
            )
            arrays = {name: np.stack([one[name] for one in ones]) for name in ones[0]}
            yield Batch(step=0, ids=np.asarray(ids, dtype=np.int64), arrays=arrays, wait_s=0.0)
