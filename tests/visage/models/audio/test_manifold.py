"""Promises of the projection: the published formula where it is solvable, and sane where not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from visage.errors import DataError, SpecError
from visage.models.audio import manifold
from visage.models.audio.manifold import FeatureBank, barycentric_weights, nearest_rows
from visage.specs.audio import AudioFrontSpec, ManifoldSpec

WIDTH = 32
LONG = ManifoldSpec(min_bank_s=0.0)


def _features(count: int, seed: int = 0, *, rank: int = 5) -> torch.Tensor:
    """Points of a curved sheet of few dimensions, as features of speech are: (count, WIDTH)."""
    draws = torch.Generator().manual_seed(seed)
    basis = torch.randn(rank, WIDTH, generator=torch.Generator().manual_seed(99))
    return torch.tanh(torch.randn(count, rank, generator=draws) @ basis)


def _one_by_one(queries: torch.Tensor, rows: torch.Tensor, spec: ManifoldSpec) -> np.ndarray:
    """The formula, one query at a time, in float64."""
    bank, made = rows.double().numpy(), []
    for query in queries.double().numpy():
        near = bank[np.argsort(((bank - query) ** 2).sum(1))[: spec.neighbours]]
        spans = (near[1:] - near[0]).T  # (width, K - 1)
        gram = spans.T @ spans
        damping = spec.ridge * np.trace(gram) / len(gram) + 1e-8
        rest = np.linalg.solve(gram + damping * np.eye(len(gram)), spans.T @ (query - near[0]))
        weights = np.concatenate([[1 - rest.sum()], rest])
        made.append((1 - spec.percent) * query + spec.percent * (weights @ near))
    return np.stack(made)


@pytest.mark.parametrize("neighbours", [2, 10, 40])
@pytest.mark.parametrize("percent", [0.3, 1.0])
@pytest.mark.parametrize("ridge", [0.0, 1e-3, 1.0])
def test_the_projection_is_the_formula_evaluated_frame_by_frame(neighbours, percent, ridge):
    spec = ManifoldSpec(neighbours=neighbours, percent=percent, ridge=ridge, min_bank_s=0.0)
    rows, queries = _features(500), _features(40, seed=1)
    made = FeatureBank(rows, spec).project(queries)
    assert np.allclose(made.numpy(), _one_by_one(queries, rows, spec), atol=1e-4)


def test_weights_sum_to_one_whatever_the_neighbours():
    rows = torch.cat([_features(300), torch.zeros(100, WIDTH), torch.full((50, WIDTH), 0.5)])
    queries = torch.cat([_features(40, seed=1), torch.zeros(5, WIDTH), rows[350:352]])
    neighbours = rows[nearest_rows(queries, rows, 10)]
    weights = barycentric_weights(queries, neighbours, ridge=1e-3)
    assert weights.shape == (47, 10)
    assert torch.allclose(weights.sum(1), torch.ones(47), atol=1e-5)
    alone = barycentric_weights(queries, neighbours[:, :1], ridge=1e-3)
    assert torch.equal(alone, torch.ones(47, 1))


def test_a_row_of_the_bank_is_rebuilt_exactly():
    rows = _features(400)
    assert torch.equal(FeatureBank(rows, LONG).project(rows[::7]), rows[::7])


def test_in_silence_where_all_neighbours_coincide_the_result_is_that_place():
    quiet = _features(1).expand(300, WIDTH)
    bank = FeatureBank(torch.cat([quiet, _features(200, seed=2)]), LONG)
    near = quiet[:3] + 1e-4 * _features(3, seed=3)
    for queries in (quiet[:3], near):
        made = bank.project(queries)
        assert torch.isfinite(made).all()
        assert torch.allclose(made, quiet[:3], atol=1e-5)


def test_without_any_ridge_coincident_neighbours_are_harmless_too():
    spec = ManifoldSpec(ridge=0.0, min_bank_s=0.0)
    made = FeatureBank(torch.zeros(100, WIDTH), spec).project(_features(5))
    assert torch.equal(made, torch.zeros(5, WIDTH))


def test_the_result_is_never_farther_from_the_nearest_row_than_the_query_was():
    rows = torch.cat([_features(200), 1e-3 * _features(200, seed=4)])
    queries = 3 * _features(100, seed=5)
    made = FeatureBank(rows, LONG).project(queries)
    nearest = rows[nearest_rows(queries, rows, 1)[:, 0]]
    assert ((made - nearest).norm(dim=1) <= (queries - nearest).norm(dim=1) + 1e-4).all()


def test_what_lies_off_the_manifold_is_pulled_onto_it():
    rows, on = _features(5000, rank=2), _features(50, seed=1, rank=2)
    noise = 0.3 * torch.randn(50, WIDTH, generator=torch.Generator().manual_seed(6))
    made = FeatureBank(rows, LONG).project(on + noise)
    assert (made - on).norm(dim=1).mean() < 0.7 * noise.norm(dim=1).mean()


def test_the_nearest_rows_are_the_nearest_ones_far_from_the_origin_too():
    rows, queries = _features(1000) + 5000, _features(60, seed=1) + 5000
    exact = torch.cdist(
        queries.double(), rows.double(), compute_mode="donot_use_mm_for_euclid_dist"
    )
    wanted = exact.topk(10, largest=False).indices
    assert torch.equal(nearest_rows(queries, rows, 10), wanted)


def test_no_more_is_held_at_a_time_than_stated_and_the_result_is_the_same(monkeypatch):
    rows, queries = _features(500), _features(90, seed=1)
    whole = FeatureBank(rows, LONG).project(queries)
    seen: list[int] = []
    exact = manifold.nearest_rows

    def counted(part: torch.Tensor, bank: torch.Tensor, count: int) -> torch.Tensor:
        seen.append(len(part))
        return exact(part, bank, count)

    values = len(rows) + 4 * 10 * WIDTH
    monkeypatch.setattr(manifold, "BLOCK_VALUES", 8 * values)
    monkeypatch.setattr(manifold, "nearest_rows", counted)
    assert torch.allclose(FeatureBank(rows, LONG).project(queries), whole, atol=1e-5)
    assert max(seen) == 8
    assert sum(seen) == 90


def test_a_stream_may_be_projected_piece_by_piece():
    bank, queries = FeatureBank(_features(500), LONG), _features(90, seed=1)
    pieces = [bank.project(queries[at : at + 7]) for at in range(0, 90, 7)]
    assert torch.allclose(torch.cat(pieces), bank.project(queries), atol=1e-5)


def test_a_bank_of_less_than_thirty_seconds_leaves_features_as_they_are():
    queries = _features(10, seed=1)
    short, enough = FeatureBank(_features(3599), ManifoldSpec()), _features(3600)
    assert not short.is_used
    assert torch.equal(short.project(queries), queries)
    assert FeatureBank(enough, ManifoldSpec()).is_used
    assert not FeatureBank(enough, ManifoldSpec(percent=0.0)).is_used
    slow = AudioFrontSpec(fps=30, fft=1024)
    assert FeatureBank(_features(1800), ManifoldSpec(), slow).is_used


def test_a_long_bank_is_thinned_evenly_and_its_length_is_still_known():
    bank = FeatureBank(_features(1000), ManifoldSpec(max_rows=300, min_bank_s=0.0))
    assert len(bank.rows) == 250
    assert bank.seconds == pytest.approx(1000 / 120)
    assert torch.equal(bank.rows, _features(1000)[::4])


def test_a_bank_that_cannot_work_is_refused_with_the_remedy():
    with pytest.raises(SpecError, match="neighbours"):
        FeatureBank(_features(9), LONG)
    with pytest.raises(DataError, match="finite"):
        FeatureBank(torch.full((100, WIDTH), torch.nan), LONG)
    with pytest.raises(DataError, match="width"):
        FeatureBank(torch.zeros(100), LONG)
