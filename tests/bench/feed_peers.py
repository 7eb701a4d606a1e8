"""R3: the feed against MosaicML Streaming and litdata on the same JPEG bytes.

Their pins do not go together with ours (Streaming holds numpy below 2.2), so they live in an
environment of their own, `.venv-bench`, made by `make bench-extras`. All three sides run there,
each in a process that stays, in turns; none of them is a dependency of the product.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.bench.corpora import draw, write_shards
from tests.bench.figures import Figure, figure, paired
from tests.bench.registry import NotHere
from tests.bench.turns import take_turns

from visage.specs.train import EmotionTrainSpec
from visage_jobs.presets import find_preset

__all__ = ["measure", "peers_python"]

REPOSITORY = Path(__file__).resolve().parents[2]
PRESET = "emotion-small"
WORKERS = 2
PYTHON = "VISAGE_BENCH_PYTHON"
NAMES = {"mosaic": "MosaicML Streaming", "litdata": "litdata"}
CHECK_LIMIT_S = 60.0
END_LIMIT_S = 10.0


def peers_python() -> str:
    """The Python of the peers' environment.

    Raises:
        NotHere: it has not been made.
    """
    named = os.environ.get(PYTHON)
    found = Path(named) if named else REPOSITORY / ".venv-bench" / "bin" / "python"
    if not found.is_file():
        raise NotHere(
            f"MosaicML Streaming and litdata are not installed ({found} is missing): "
            "`make bench-extras` installs them, in an environment of their own"
        )
    return str(found)


def measure(folder: Path, *, quick: bool) -> list[Figure]:
    """Whole epochs of 1,024 samples; the first of each side is compared and not counted."""
    python = peers_python()
    installed = _installed(python)
    spec = EmotionTrainSpec.load(find_preset(PRESET))
    uri = write_shards(
        folder / "shards", draw(21 if quick else 70), spec.model.input, train=64 if quick else 1024
    )
    with ExitStack() as stack:
        loaders = {
            kind: stack.enter_context(_Loader.started(kind, python, uri, folder / kind))
            for kind in ("ours", *installed)
        }
        digests = {kind: one.epoch("check")["digest"] for kind, one in loaders.items()}
        if len(set(digests.values())) != 1:
            raise AssertionError(f"the loaders give different samples: {digests}")
        taken = take_turns(
            {kind: one.rate for kind, one in loaders.items()}, turns=1 if quick else 5
        )
    how = (
        f"warm; {PRESET}, batches of {spec.global_batch}, {WORKERS} threads or worker processes, "
        "the same stored JPEG bytes, decoder and augmentation; samples compared byte for byte "
        "before the clock ran; workers stay between epochs"
    )
    figures = [figure("our feed", taken["ours"], "samples/s", how=how)]
    for kind, version in installed.items():
        name = f"{NAMES[kind]} {version}"
        figures.append(figure(name, taken[kind], "samples/s", how=how))
        figures.append(
            paired(f"feed by {name}", taken["ours"], taken[kind], how=how, goal=">= 1", ratio="R3")
        )
    return figures


def _installed(python: str) -> dict[str, str]:
    """Versions of the peers, by kind."""
    asked = "import sys; from importlib.metadata import version; print(version(sys.argv[1]))"
    found = {}
    for kind, package in {"mosaic": "mosaicml-streaming", "litdata": "litdata"}.items():
        done = subprocess.run(
            [python, "-c", asked, package], capture_output=True, text=True, timeout=CHECK_LIMIT_S
        )
        if done.returncode == 0:
            found[kind] = done.stdout.strip()
    if not found:
        raise NotHere(f"neither mosaicml-streaming nor litdata is installed in {python}")
    return found


class _Loader:
    """A loader's process, asked over its pipes."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    @classmethod
    @contextmanager
    def started(cls, kind: str, python: str, uri: str, folder: Path) -> Iterator[_Loader]:
        """Until it has written its own format and is ready; ended afterwards."""
        paths = [REPOSITORY, *(REPOSITORY / one for one in ("platform", "jobs"))]
        process = subprocess.Popen(
            [python, "-m", "tests.bench.peer_loader", kind, uri, str(folder), str(WORKERS)],
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=sys.stderr, text=True,
        )  # fmt: skip
        try:
            loader = cls(process)
            loader._answer("ready")
            yield loader
        finally:
            assert process.stdin is not None
            process.stdin.close()
            try:
                process.wait(timeout=END_LIMIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(timeout=END_LIMIT_S)

    def epoch(self, word: str = "go") -> dict[str, object]:
        """One pass over the corpus."""
        assert self._process.stdin is not None
        print(word, file=self._process.stdin, flush=True)
        return self._answer("seconds")

    def rate(self) -> float:
        """Samples per second of one pass."""
        seen = self.epoch()
        return float(str(seen["samples"])) / float(str(seen["seconds"]))

    def _answer(self, key: str) -> dict[str, object]:
        """The next line that answers; libraries print lines of their own."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            try:
                values = json.loads(line)
            except ValueError:
                continue
            if isinstance(values, dict) and key in values:
                return values
        raise RuntimeError(f"the loader ended with exit {self._process.wait(timeout=END_LIMIT_S)}")
