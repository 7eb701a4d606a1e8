"""Items over a pool of Ray Data actors: each item gives one answer, and no item can hold a job up.

Ray Data restarts actors and tries again without end. That is right for a machine that goes away,
and wrong for an item that kills whoever works on it (out of memory, a crash in a library): so a
ledger counts how often each was begun since it last ended, and after TRIES nobody begins it again.
A process that is stuck with one item for ITEM_LIMIT_S ends itself, which counts as well.
What a worker raises travels as a value, because Ray would wrap it and show its traceback.
"""

from __future__ import annotations

import logging
import os
import pickle
import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from visage.errors import ClusterError, SpecError, VisageError
from visage_jobs.cluster import quiet_ray_data, ray_session, usable_cpus

__all__ = ["ActorBounds", "over_actors", "pool_bounds"]

log = logging.getLogger(__name__)
Item = TypeVar("Item")
Answer = TypeVar("Answer")
Settings = Mapping[str, Any]
TRIES = 3
"""Processes that an item may end before it is given up."""
WAIT_FOR_ACTORS_S = 600
"""For the first actors: a cluster may have to grow by a node."""
ITEM_LIMIT_S = 6 * 3600.0
"""The longest sound, an hour, takes less than half of it at the slowest pace that was measured."""
LEDGER_LIMIT_S = 60.0
MOST_BLOCKS = 20_000
"""Of Ray Data: an item each up to so many items, then several, which are done again together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActorBounds:
    """How many actors work at once; Ray Data chooses between the two by what waits."""

    least: int = 1
    most: int | None = None
    """None = what the cluster's CPUs (or GPUs) carry."""

    def __post_init__(self) -> None:
        """Refuse a pool without actors."""
        if self.least < 1 or (self.most is not None and self.most < self.least):
            raise SpecError(
                f"--actors {self.least}:{self.most}: at least 1, and no more at least than at most"
            )


def over_actors(
    items: Sequence[Item],
    kind: Callable[[Settings], Callable[[Item], Answer]],
    settings: Settings,
    *,
    name: Callable[[Item], str],
    deadly: Callable[[Item, str], Answer] | None = None,
    device: str = "cpu",
    address: str | None = None,
    bounds: ActorBounds | None = None,
    go_on: str = "",
) -> Iterator[Answer]:
    """The answers of all items, in any order; an actor is one core, and one GPU unless on CPUs.

    Args:
        kind: Called with the settings in each actor, once and not before its first item; what it
            gives is called with item after item. Both travel, as do items and answers, by pickle.
        name: What an item is called in messages.
        deadly: The answer of an item that ended TRIES processes, from it and a sentence; unless
            given, such an item ends the job.
        go_on: Added to whatever ends the job: what to do then.

    Raises:
        SpecError: a GPU is asked for and this machine has none.
        VisageError: as a worker raised it, with its type; or its plain sentence about a bug.
        ClusterError: Ray failed, an item ended its workers, or no actor came up in time.
    """
    if not items:
        return
    answers = _told(items, kind, settings, device, address, bounds or ActorBounds())
    try:
        with closing(answers):
            for at, told in answers:
                match told:
                    case VisageError():
                        raise told
                    case _Broke():
                        raise VisageError(f"{name(items[at])}: {told.how}; a worker's log has more")
                    case _Ended():
                        sentence = f"{name(items[at])} {told.how}"
                        if deadly is None:
                            raise ClusterError(sentence)
                        yield deadly(items[at], sentence)
                    case _:
                        yield told
    except VisageError as err:
        if go_on:
            err.args = (f"{err}\n{go_on}",)
        raise


def pool_bounds(
    bounds: ActorBounds,
    items: int,
    *,
    device: str,
    is_here: bool,
    cluster: Mapping[str, float],
) -> tuple[int, int]:
    """Least and most actors: what was asked for, no more than items, and what the cluster carries.

    An explicit most stands on another cluster, whatever is up there now: it may grow.

    Args:
        is_here: Whether Ray runs on this machine alone.
        cluster: Resources that are up now: CPU, GPU.

    Raises:
        SpecError: a GPU is asked for and this machine has none.
    """
    carried = int(cluster.get("CPU", 1)) - 1  # one is left to whoever reads the items
    if device != "cpu":
        gpus = int(cluster.get("GPU", 0))
        if is_here and not gpus:
            raise SpecError(f"--device {device}: this machine has no GPU; leave it out for CPUs")
        carried = min(carried, gpus)
    elif is_here:
        carried = min(carried, usable_cpus())
    if bounds.most is None:
        wished = carried
    else:
        wished = min(bounds.most, carried) if is_here else bounds.most
    most = max(1, min(items, wished))
    return min(bounds.least, most), most


@dataclass(frozen=True, slots=True)
class _Ended:
    """Told in place of an answer: the work ended too many processes."""

    how: str = (
        f"ended its worker process {TRIES} times (killed for memory, a crash, or no end within "
        f"{ITEM_LIMIT_S / 3600:g} hours)"
    )


@dataclass(frozen=True, slots=True)
class _Broke:
    """Told in place of an answer: the worker raised what nobody raises on purpose."""

    how: str


def _told(
    items: Sequence[Any],
    kind: Callable[[Settings], Callable[[Any], Any]],
    settings: Settings,
    device: str,
    address: str | None,
    bounds: ActorBounds,
) -> Generator[tuple[int, Any]]:
    """Each item's number with its answer, `_Ended`, `_Broke`, or the error that ends the job."""
    with ray_session(address=address):
        import ray

        quiet_ray_data()
        is_here = address is None and not os.environ.get("RAY_ADDRESS")
        least, most = pool_bounds(
            bounds, len(items), device=device, is_here=is_here, cluster=ray.cluster_resources()
        )
        context = ray.data.DataContext.get_current()
        context.wait_for_min_actors_s = WAIT_FOR_ACTORS_S
        context.execution_no_progress_timeout_s = -1  # it has half an hour for everything at once
        ledger = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(_Ledger).remote()
        rows = [{"at": at, "item": pickle.dumps(item)} for at, item in enumerate(items)]
        dataset = ray.data.from_items(rows, override_num_blocks=min(len(rows), MOST_BLOCKS)).map(
            _Actor,
            fn_constructor_args=(kind, dict(settings), ledger, ITEM_LIMIT_S),
            concurrency=(least, most),
            num_cpus=1,
            num_gpus=0 if device == "cpu" else 1,
        )
        try:
            for row in dataset.iter_rows():
                yield row["at"], pickle.loads(row["answer"])  # of our own actors
        except ray.exceptions.GetTimeoutError as err:
            each = "a core" if device == "cpu" else "a core and a GPU"
            raise ClusterError(
                f"{least} actors, each with {each}, did not come up in {WAIT_FOR_ACTORS_S} s; the "
                "cluster is full or too small"
            ) from err
        except Exception as err:  # not all of Ray Data's are RayErrors
            raise ClusterError(f"Ray failed: {_last_line(err)}") from err
        finally:
            ray.kill(ledger)


def _last_line(err: Exception) -> str:
    """Type and last line of an error: Ray's begin with somebody's traceback."""
    *_, last = str(err).strip().splitlines() or [""]
    return f"{type(err).__name__}: {last}"


class _Ledger:
    """How often work was begun since it last ended; it lives longer than those who work."""

    def __init__(self) -> None:
        self._begun: Counter[str] = Counter()

    def begin(self, work: str) -> int:
        """Note a beginning; how many before it have had no end."""
        self._begun[work] += 1
        return self._begun[work] - 1

    def end(self, work: str) -> None:
        """Forget the beginnings."""
        del self._begun[work]


class _Actor:
    """A worker as Ray Data holds it: opens the real one late, counts, and tells errors."""

    def __init__(
        self,
        kind: Callable[[Settings], Callable[[Any], Any]],
        settings: Settings,
        ledger: Any,
        limit_s: float,
    ) -> None:
        self._kind, self._settings, self._ledger = kind, settings, ledger
        self._limit_s = limit_s
        self._work: Callable[[Any], Any] | None = None

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """An item to what is told of it."""
        try:
            told = self._answer(str(row["at"]), row["item"])
        except VisageError as err:
            told = err
        except Exception as err:
            log.exception("item %s", row["at"])
            told = _Broke(_last_line(err))
        return {"at": row["at"], "answer": pickle.dumps(told)}

    def _answer(self, number: str, item: bytes) -> Any:
        if self._work is None:
            self._work = self._opened()
        if not self._begins(number):
            return _Ended()
        with self._counted(number):
            return self._work(pickle.loads(item))  # of our own driver

    def _opened(self) -> Callable[[Any], Any]:
        import ray

        # An actor that is started again keeps its name, so this counts its own deaths alone.
        opening = f"opening-{ray.get_runtime_context().get_actor_id()}"
        if not self._begins(opening):
            raise ClusterError(f"what a worker opens at first {_Ended().how}")
        with self._counted(opening):
            return self._kind(self._settings)

    @contextmanager
    def _counted(self, work: str) -> Iterator[None]:
        """Work that has begun; it ends in time, with an error too, or with this process."""
        limit = threading.Timer(self._limit_s, os._exit, [1])
        limit.daemon = True
        limit.start()
        try:
            yield
        finally:
            limit.cancel()
            self._ledger.end.remote(work)

    def _begins(self, work: str) -> bool:
        """Note a beginning; False if it has ended too many processes."""
        import ray
        from ray.exceptions import GetTimeoutError, RayError

        try:
            before: int = ray.get(self._ledger.begin.remote(work), timeout=LEDGER_LIMIT_S)
        except (GetTimeoutError, RayError):
            return True  # a count that is not to be had stops no work
        return before < TRIES
