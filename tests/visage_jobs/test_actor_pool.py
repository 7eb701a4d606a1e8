"""Promises of a pool of actors: its size, and that no item holds up or hides the others."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from visage.errors import ClusterError, CorruptError, MediaError, SpecError, VisageError
from visage_jobs import actor_pool
from visage_jobs.actor_pool import ActorBounds, over_actors, pool_bounds

ON_RAY = [
    pytest.mark.ray,
    pytest.mark.filterwarnings("default"),  # Ray and its parts warn in their own name
    pytest.mark.usefixtures("ray_cluster"),
]


@pytest.mark.parametrize(
    ("asked", "device", "cluster", "expected"),
    [
        ((1, None), "cpu", {"CPU": 9}, (1, 8)),
        ((2, 4), "cpu", {"CPU": 9}, (2, 4)),
        ((2, 40), "cpu", {"CPU": 9}, (2, 20)),
        ((2, 8), "cpu", {"CPU": 1}, (2, 8)),
        ((6, None), "cpu", {"CPU": 2}, (1, 1)),
        ((1, None), "cpu", {}, (1, 1)),
        ((1, None), "cuda", {"CPU": 9, "GPU": 2}, (1, 2)),
        ((1, 6), "cuda", {"CPU": 9, "GPU": 2}, (1, 6)),
        ((1, None), "cuda", {"CPU": 9}, (1, 1)),
        ((30, None), "cpu", {"CPU": 90}, (20, 20)),
    ],
)
def test_on_another_cluster_a_stated_most_stands_and_else_what_is_there(
    asked: tuple[int, int | None], device: str, cluster: dict[str, float],
    expected: tuple[int, int], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(actor_pool, "usable_cpus", lambda: 4)  # of a head that only drives
    bounds = ActorBounds(least=asked[0], most=asked[1])
    assert pool_bounds(bounds, 20, device=device, is_here=False, cluster=cluster) == expected


@pytest.mark.parametrize(
    ("asked", "device", "cluster", "expected"),
    [
        ((1, None), "cpu", {"CPU": 9}, (1, 4)),
        ((2, 40), "cpu", {"CPU": 9}, (2, 4)),
        ((2, 40), "cuda", {"CPU": 9, "GPU": 8}, (2, 8)),
        ((8, 8), "cpu", {"CPU": 3}, (2, 2)),
    ],
)
def test_on_this_machine_the_pool_stays_within_what_is_there(
    asked: tuple[int, int | None], device: str, cluster: dict[str, float],
    expected: tuple[int, int], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(actor_pool, "usable_cpus", lambda: 4)
    bounds = ActorBounds(least=asked[0], most=asked[1])
    assert pool_bounds(bounds, 20, device=device, is_here=True, cluster=cluster) == expected


def test_a_gpu_that_this_machine_lacks_and_a_pool_without_actors_are_refused() -> None:
    with pytest.raises(SpecError, match="no GPU"):
        pool_bounds(ActorBounds(), 3, device="cuda", is_here=True, cluster={"CPU": 4})
    for least, most in ((0, None), (3, 2)):
        with pytest.raises(SpecError, match="--actors"):
            ActorBounds(least=least, most=most)


def _kind() -> Callable[[Mapping[str, Any]], Callable[[dict[str, Any]], Any]]:
    """Squares numbers, unless the settings say how one goes wrong; a closure travels whole."""

    def strike(how: str | None) -> None:
        match how:
            case "dies":
                os._exit(9)
            case "hangs":
                time.sleep(300)
            case "corrupt":
                raise CorruptError("shard 7: bytes do not match")
            case "media":
                raise MediaError("no_face", "nobody is there")
            case "bug":
                raise ZeroDivisionError("three\nlines\nof words")

    def opened(settings: Mapping[str, Any]) -> Callable[[dict[str, Any]], Any]:
        strike(settings.get("opening"))

        def square(item: dict[str, Any]) -> int:
            strike(settings.get(str(item["number"])))
            return int(item["number"]) ** 2

        return square

    return opened


def _squares(settings: dict[str, str], count: int = 6, **choices: Any) -> Iterator[Any]:
    items = [{"number": number} for number in range(count)]
    return over_actors(
        items, _kind(), settings, name=lambda item: f"number {item['number']}", **choices
    )


class TestOnRay:
    pytestmark = ON_RAY

    def test_every_item_has_its_answer(self) -> None:
        assert sorted(_squares({})) == [0, 1, 4, 9, 16, 25]
        assert list(over_actors([], _kind(), {}, name=str)) == []

    def test_an_item_that_ends_its_worker_is_given_up_and_costs_only_itself(self) -> None:
        told = list(
            _squares({"3": "dies"}, bounds=ActorBounds(most=1), deadly=lambda *asked: asked)
        )
        (lost,) = [one for one in told if isinstance(one, tuple)]
        assert lost[0] == {"number": 3}
        assert "number 3 ended its worker process 3 times" in lost[1]
        squares = sorted(one for one in told if isinstance(one, int))
        assert squares == [0, 1, 4, 16, 25]

    def test_an_item_that_hangs_is_given_up_as_well(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(actor_pool, "ITEM_LIMIT_S", 1.5)
        settings = {"1": "hangs"}
        told = list(_squares(settings, 3, bounds=ActorBounds(most=1), deadly=lambda *asked: asked))
        assert sorted(one for one in told if isinstance(one, int)) == [0, 4]
        assert [one[0] for one in told if isinstance(one, tuple)] == [{"number": 1}]

    def test_unless_somebody_answers_for_it_such_an_item_ends_the_job(self) -> None:
        with pytest.raises(ClusterError, match=r"number 1 ended its worker .*\nrun it again"):
            list(_squares({"1": "dies"}, 2, bounds=ActorBounds(most=1), go_on="run it again"))

    def test_a_worker_that_cannot_open_is_no_items_fault(self) -> None:
        with pytest.raises(ClusterError, match="what a worker opens at first ended"):
            list(
                _squares({"opening": "dies"}, 2, bounds=ActorBounds(most=1), deadly=lambda *it: it)
            )

    @pytest.mark.parametrize(
        ("how", "kind", "said"),
        [
            ("corrupt", CorruptError, "shard 7: bytes do not match\nagain"),
            ("media", MediaError, "nobody is there\nagain"),
            (
                "bug",
                VisageError,
                "number 2: ZeroDivisionError: of words; a worker's log has more\nagain",
            ),
        ],
    )
    def test_what_a_worker_raises_is_raised_here_without_anybodys_traceback(
        self, how: str, kind: type[Exception], said: str
    ) -> None:
        with pytest.raises(VisageError) as caught:
            list(_squares({"2": how}, count=3, go_on="again"))
        assert (type(caught.value), str(caught.value)) == (kind, said)
        if isinstance(caught.value, MediaError):
            assert caught.value.code == "no_face"

    def test_a_gpu_is_waited_for_elsewhere_and_the_wait_has_an_end(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(actor_pool, "WAIT_FOR_ACTORS_S", 2)
        with pytest.raises(ClusterError, match=r"a core and a GPU, did not come up in 2 s"):
            list(_squares({}, device="cuda", address="ray://there"))
        with pytest.raises(SpecError, match="this machine has no GPU"):
            list(_squares({}, device="cuda"))
