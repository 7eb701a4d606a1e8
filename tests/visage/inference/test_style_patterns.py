"""A pattern is computed once for each neutral picture, reference and model, and always the same."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch
from tiny_style_mapping import pictures, tiny_mapping
from torch import Tensor

from visage.errors import CorruptError, SpecError
from visage.inference.style_patterns import StylePatterns, content_key
from visage.store.open import open_store

LEVEL = 1 / 127.5


class _Mapper:
    """Counts what it is asked for: each pattern is the mean of the two pictures."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __call__(self, neutral: Tensor, references: Tensor) -> Tensor:
        assert not torch.is_grad_enabled()
        self.asked.append(len(references))
        return (neutral + references) / 2


def _patterns(mapper: _Mapper | None = None, *, digest: str = "m", **more: object) -> StylePatterns:
    return StylePatterns(mapper or _Mapper(), model_digest=digest, **more)  # type: ignore[arg-type]


NEUTRAL, REFERENCES = pictures(1, size=8)[0], pictures(4, size=8, seed=1)


def test_a_pattern_is_what_the_mapper_makes_to_eight_bits() -> None:
    made = _patterns()(NEUTRAL, REFERENCES)
    assert made.shape == (4, 3, 8, 8)
    assert (made - (NEUTRAL + REFERENCES) / 2).abs().max() <= LEVEL / 2 + 1e-6


@pytest.mark.parametrize("key", [None, "a style", b"\x01\x02"])
def test_equal_inputs_are_computed_once(key: str | bytes | None) -> None:
    mapper = _Mapper()
    patterns = _patterns(mapper)
    first = patterns(NEUTRAL, REFERENCES, key=key)
    second = patterns(NEUTRAL.clone(), REFERENCES.clone(), key=key)
    assert mapper.asked == [4]
    assert patterns.computed == 4
    assert torch.equal(first, second)


def test_only_references_not_seen_before_are_computed() -> None:
    mapper = _Mapper()
    patterns = _patterns(mapper)
    patterns(NEUTRAL, REFERENCES[:2])
    again = patterns(NEUTRAL, REFERENCES[[1, 2, 2, 0]])
    assert mapper.asked == [2, 1]
    assert torch.equal(again, _patterns()(NEUTRAL, REFERENCES[[1, 2, 2, 0]]))


def test_another_neutral_picture_reference_or_size_is_another_pattern() -> None:
    patterns = _patterns()
    patterns(NEUTRAL, REFERENCES)
    patterns(pictures(1, size=8, seed=9)[0], REFERENCES)
    patterns(NEUTRAL, pictures(4, size=8, seed=9))
    patterns(pictures(1, size=9)[0], pictures(4, size=9, seed=1))
    assert patterns.computed == 16


def test_another_model_never_meets_the_firsts_patterns(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    first, second = _Mapper(), _Mapper()
    _patterns(first, store=store)(NEUTRAL, REFERENCES, key="style")
    _patterns(second, digest="other", store=store)(NEUTRAL, REFERENCES, key="style")
    assert first.asked == second.asked == [4]


def test_a_batch_of_styles_computes_each_style_once() -> None:
    mapper = _Mapper()
    patterns = _patterns(mapper)
    rows = torch.cat([NEUTRAL[None], REFERENCES])[None].expand(3, -1, -1, -1, -1)
    keys = torch.tensor([[1, 2], [1, 2], [3, 4]], dtype=torch.uint8)
    made = patterns.of_batch(rows, keys)
    assert made.shape == (3, 4, 3, 8, 8)
    assert mapper.asked == [4, 4]
    assert torch.equal(made[0], made[2])
    patterns.of_batch(rows)
    assert mapper.asked == [4, 4, 4]  # keys taken from the pictures are other keys, equal by row


def test_memory_is_bounded_and_forgets_what_was_not_used_for_longest() -> None:
    mapper = _Mapper()
    patterns = _patterns(mapper, limit_bytes=3 * 3 * 8 * 8)
    for index in (0, 1, 0, 2, 3, 0, 1):
        patterns(NEUTRAL, REFERENCES[index : index + 1])
    assert len(mapper.asked) == 5  # 0 was used in between and stayed; 1 was forgotten


def test_patterns_outlive_the_process_in_a_folder_and_stay_the_same(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    first = _patterns(store=store)(NEUTRAL, REFERENCES)
    mapper = _Mapper()
    assert torch.equal(_patterns(mapper, store=store)(NEUTRAL, REFERENCES), first)
    assert mapper.asked == []


def test_two_processes_that_compute_the_same_pattern_end_with_one(tmp_path: Path) -> None:
    class _Rounding(_Mapper):
        def __call__(self, neutral: Tensor, references: Tensor) -> Tensor:
            one = super().__call__(neutral, references)
            if not other_done:
                other_done.append(True)  # the other process is faster, and rounds otherwise
                fast(NEUTRAL, REFERENCES)
            return one + 2 * LEVEL

    other_done: list[bool] = []
    store = open_store(str(tmp_path))
    fast = _patterns(store=store)
    slow = _patterns(_Rounding(), store=store)
    assert torch.equal(slow(NEUTRAL, REFERENCES), fast(NEUTRAL, REFERENCES))


def test_a_damaged_pattern_is_refused_not_shown(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    _patterns(store=store)(NEUTRAL, REFERENCES[:1])
    (part,) = tmp_path.rglob("pattern.*.safetensors")
    part.write_bytes(part.read_bytes()[:-1])
    with pytest.raises(CorruptError):
        _patterns(store=store)(NEUTRAL, REFERENCES[:1])


def test_threads_that_ask_at_once_share_one_computation() -> None:
    mapper = _Mapper()
    patterns = _patterns(mapper)
    start = threading.Barrier(4)

    def ask() -> None:
        start.wait(timeout=10)
        patterns(NEUTRAL, REFERENCES)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(timeout=10)
    assert mapper.asked == [4]


def test_the_network_itself_is_a_mapper() -> None:
    model = tiny_mapping()
    made = StylePatterns(model, model_digest="m")(pictures(1)[0], pictures(4, seed=1))
    assert made.shape == (4, 3, 48, 48)
    assert not made.requires_grad


def test_a_key_is_of_values_not_of_layout() -> None:
    picture = pictures(1, size=8)
    same = picture.contiguous(memory_format=torch.channels_last)
    assert content_key(picture[0]) == content_key(same[0])
    assert content_key(picture[0]) != content_key(picture[0].transpose(1, 2))


def test_patterns_without_a_model_digest_or_memory_are_refused() -> None:
    with pytest.raises(SpecError, match="digest"):
        _patterns(digest="")
    with pytest.raises(SpecError, match="limit_bytes"):
        _patterns(limit_bytes=0)
