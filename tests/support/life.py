"""The whole life of a small model in one process, to be killed at a chosen point and lived again.

prepare -> train -> evaluate -> promote, by the functions that the verbs call; only Ray is left
out, because its processes would hide where the fault strikes (real clusters are killed in
tests/chaos/test_train_faults.py). A life costs about a second, importing what it needs many:
so one server process imports once and forks a child for each life.

    python life.py          reads one JSON request a line, answers one JSON line
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["ALIAS", "RUN", "LifeServer", "Lived", "expected_keys", "write_pictures"]

CLASSES = ("Angry", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise")
SIZES = {"train": 21, "val": 7, "test": 7}
RUN, ALIAS = "one", "champion"
IMPORTED_ONCE = (
    "mlflow.store.tracking.sqlalchemy_store",
    "pyarrow.pandas_compat",
    "torch._dynamo",  # an optimizer's first step imports it, in seconds
    "visage.training.recipes",
)


@dataclass(frozen=True, slots=True)
class Lived:
    """How one life ended."""

    status: int
    """Exit code; -9 if it was killed."""
    visits: dict[str, int]
    """How often each fault point was passed; of a life that was not killed."""
    said: str


class LifeServer:
    """The forking server, from a test's point of view."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1", "MLFLOW_DISABLE_TELEMETRY": "true",
                 "PYTHONWARNINGS": "ignore", "XDG_CACHE_HOME": str(folder / "cache")},
            text=True,
        )  # fmt: skip

    def live(self, workspace: Path, *, fault: str = "") -> Lived:
        """One life in a workspace, from wherever the one before it ended."""
        assert self._process.stdin
        assert self._process.stdout
        request = {"workspace": str(workspace), "fault": fault, "folder": str(self._folder)}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        return Lived(answer["status"], answer["visits"], answer["said"])

    def close(self) -> None:
        """End the server."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait(timeout=30)
        self._process.stdout.close()


def expected_keys() -> dict[str, set[str]]:
    """The keys that a finished life has prepared, by split."""
    return {split: {f"{split}/{index:03d}.png" for index in range(size)}
            for split, size in SIZES.items()}  # fmt: skip


def write_pictures(root: Path) -> None:
    """The corpus: pictures whose colour tells the class."""
    import numpy as np

    from visage.media.image import encode_png

    rng = np.random.default_rng(5)
    for split, size in SIZES.items():
        (root / split).mkdir(parents=True)
        for index in range(size):
            noise = rng.integers(0, 30, (60, 80, 3))
            colour = np.array([index % 7 * 30, 200 - index % 7 * 25, 90])
            image = (noise + colour).astype(np.uint8)
            (root / split / f"{index:03d}.png").write_bytes(encode_png(image))


def _corpus(root: Path) -> Any:
    from visage.data.records import Corpus, Record

    records = tuple(
        Record(key=key, path=key, kind="image", label=CLASSES[index % 7], split=split,
               box=(20, 10, 50, 45), group=key)
        for split in SIZES for index, key in enumerate(sorted(expected_keys()[split]))
    )  # fmt: skip
    return Corpus(root=str(root), layout="made", classes=CLASSES, records=records)


class _Faces:
    """Knows where the face of a made picture is."""

    name, licence = "made", "ours"

    def detect(self, image: Any) -> list[Any]:
        return []

    def landmarks(self, image: Any, box: tuple[int, int, int, int]) -> Any:
        import numpy as np

        x1, y1, x2, y2 = box
        spread = np.random.default_rng(3).random((68, 2))
        return (spread * [x2 - x1, y2 - y1] + [x1, y1]).astype(np.float32)


def _live(workspace: Path, folder: Path) -> None:
    """All four stages; each finds what a former life left."""
    from corpora import SMALL_INPUT, small_train_spec

    from visage.specs.prepare import EmotionPrepareSpec
    from visage_jobs import evaluate, prepare, promote, train
    from visage_jobs.workspace import Workspace

    place = Workspace.open(str(workspace))
    prepare.run_prepare(
        prepare.PrepareJob(
            corpus=_corpus(folder / "pictures"),
            out=place.data("made"),
            spec=EmotionPrepareSpec(input=SMALL_INPUT, rows_per_shard=8, val_fraction=0.0),
        )
    )
    trained = train.run_train(
        train.TrainJob(
            recipe="emotion",
            spec=small_train_spec(epochs=3.0, feed_threads=1),
            data_uri=place.data("made"),
            run_uri=place.run(RUN),
            tracking_uri=place.tracking_uri(),
            workers=1,
        )
    )
    evaluate.evaluate_emotion(
        evaluate.EvaluateJob(
            model_uri=trained.model_uri, data_uri=place.data("made"),
            out=place.evaluation("one"), split="test",
        )
    )  # fmt: skip
    promote.run_promote(
        promote.PromoteJob(target=place.run(RUN), workspace=place, alias=ALIAS, force=True),
        probe=lambda uri, device: promote.ModelProbe(latency_ms=1.0, spec_digest="0"),
    )


def _empty_database(workspace: Path, folder: Path) -> None:
    """MLflow's tables take seconds to make, so they are made once and copied."""
    from visage.tracking.backend import connect

    made, database = folder / "empty.db", workspace / "mlflow.db"
    if not made.exists():
        arriving = folder / "arriving.db"
        connect(f"sqlite:///{arriving}").search_experiments()
        arriving.rename(made)
    if not database.exists():
        shutil.copyfile(made, database)


def _over_items(items: Iterable[Any], kind: Any, settings: Any, **_: Any) -> Iterator[Any]:
    """A pool of one, in this process."""
    return map(kind(settings), items)


@contextmanager
def _no_session(**_: Any) -> Iterator[None]:
    yield


def _without_ray() -> None:
    """Stand in for Ray: the drivers' own code runs, in one process."""
    from visage.training.host import SingleHost
    from visage.training.session import run_training
    from visage_jobs import evaluate, prepare, train

    def fit(job: Any, launch: str, events: Path, folder: Path, grace: Any) -> None:
        def report(event: Any) -> None:
            with events.open("a") as file:
                file.write(json.dumps(dict(event)) + "\n")

        run_training(
            run_uri=job.run_uri, spec=job.spec, recipe_name=job.recipe, data_uri=job.data_uri,
            host=SingleHost(report=report),
        )  # fmt: skip

    prepare.over_actors = evaluate.over_actors = _over_items
    train.ray_session = _no_session
    prepare.open_provider = lambda *_, **__: _Faces()
    train._fit = fit


def _child(request: dict[str, str], log: Path) -> None:
    """Live, count the fault points passed, and leave without Python's own goodbyes."""
    import visage.faultpoints as faultpoints

    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(out, 1)
    os.dup2(out, 2)
    if request["fault"]:
        os.environ["VISAGE_FAULT_POINT"] = request["fault"]
    visits: dict[str, int] = {}
    visit = faultpoints._fault.visit

    def counting(name: str) -> None:
        visits[name] = visits.get(name, 0) + 1
        visit(name)

    faultpoints._fault.visit = counting  # type: ignore[method-assign]
    try:
        _empty_database(Path(request["workspace"]), Path(request["folder"]))
        _live(Path(request["workspace"]), Path(request["folder"]))
        log.with_suffix(".visits").write_text(json.dumps(visits))
        code = 0
    except BaseException:
        import traceback

        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def main() -> None:
    """Import everything once, then fork one child a request."""
    for name in IMPORTED_ONCE:
        importlib.import_module(name)
    _without_ray()
    for line in sys.stdin:
        request = json.loads(line)
        log = Path(request["folder"]) / "life.log"
        log.with_suffix(".visits").unlink(missing_ok=True)
        pid = os.fork()
        if pid == 0:
            _child(request, log)
        _, status = os.waitpid(pid, 0)
        visits = log.with_suffix(".visits")
        answer = {
            "status": os.waitstatus_to_exitcode(status),
            "visits": json.loads(visits.read_text()) if visits.exists() else {},
            "said": log.read_text()[-6000:],
        }
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
