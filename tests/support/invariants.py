"""What must hold of a workspace, checked without a line of the product's code.

Everything here is written anew from the documents: the commit marker, the order of samples
(docs/decisions/sampler.md), the ledger's chain, the manifest, the evaluation and MLflow's own
tables. A bug in the product therefore cannot hide itself. Each check returns the problems that it
found, so that one failure shows all of them.
"""

from __future__ import annotations

import hashlib
import json
import math
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import safetensors.numpy

__all__ = ["check_evaluation", "check_run", "check_shards", "check_tracking", "prescribed_order"]

MASK_64 = (1 << 64) - 1


def check_shards(folder: Path, expected: dict[str, set[str]]) -> list[str]:
    """A prepared corpus: every shard whole, every picture whole, every key of a split once."""
    problems = list(_broken_commits(folder))
    manifest = json.loads((folder / "manifest.json").read_text())
    seen: dict[str, list[str]] = {split: [] for split in expected}
    for shard in manifest["shards"]:
        path = folder / shard["path"]
        if _sha256(path) != shard["sha256"] or path.stat().st_size != shard["size_bytes"]:
            problems.append(f"{shard['path']}: not the bytes that the manifest names")
            continue
        with pa.memory_map(str(path)) as source:
            rows = pa.ipc.open_file(source).read_all().to_pylist()
        if len(rows) != shard["rows"]:
            problems.append(f"{shard['path']}: {len(rows)} rows, not {shard['rows']}")
        seen.setdefault(shard["split"], []).extend(row["key"] for row in rows)
        problems += [f"{row['key']}: {name} is torn" for row in rows for name in ("face", "context")
                     if not _is_whole_jpeg(row[name])]  # fmt: skip
    for split, keys in seen.items():
        wanted = expected.get(split, set())
        problems += [f"{split}: {key} twice" for key, n in Counter(keys).items() if n > 1]
        problems += [f"{split}: {key} lost" for key in sorted(wanted - set(keys))]
        problems += [f"{split}: {key} from nowhere" for key in sorted(set(keys) - wanted)]
    return problems


def check_run(folder: Path, *, is_finished: bool = True) -> list[str]:
    """A training run: checkpoints load, and what each consumed is the prescribed order."""
    problems = list(_broken_commits(folder))
    info = json.loads((folder / "run.json").read_text())
    order = Order(samples=info["samples"], seed=info["spec"]["seed"])
    batch = info["spec"]["global_batch"]
    markers = sorted(folder.glob("checkpoints/*/COMMIT"))
    if not markers:
        problems.append("no checkpoint at all")
    last = 0
    for marker in markers:
        name = marker.parent.name
        state, tensors = _load_checkpoint(marker.parent)
        last = max(last, state["step"])
        if name.partition("-")[0] != f"{state['step']:010d}":
            problems.append(f"checkpoint {name}: holds step {state['step']}")
        problems += [f"checkpoint {name}: {tensor} is not finite" for tensor, value in tensors
                     if not np.isfinite(value).all()]  # fmt: skip
        rows = list(_chain(folder, state["ledger"]))
        problems += [f"checkpoint {name}: {one}" for one in
                     _order_problems(rows, order, batch, state["step"])]  # fmt: skip
    if is_finished:
        steps = math.ceil(info["samples"] * info["spec"]["epochs"] / batch)
        if last != steps:
            problems.append(f"the newest checkpoint is of step {last}, the run has {steps}")
        if not (folder / "model" / "COMMIT").exists():
            problems.append("no model was published")
    return problems


def check_evaluation(folder: Path, expected: set[str]) -> list[str]:
    """An evaluation: one prediction a picture, and the scores follow from the predictions."""
    told = json.loads((folder / "evaluation.json").read_text())
    rows = pq.read_table(folder / "predictions.parquet").to_pylist()
    problems = [f"{key} predicted twice" for key, n in Counter(r["key"] for r in rows).items()
                if n > 1]  # fmt: skip
    if {row["key"] for row in rows} != expected or told["rows"] != len(rows):
        problems.append(f"{len(rows)} predictions for {len(expected)} pictures")
    right = sum(row["label"] == row["predicted"] for row in rows)
    if not math.isclose(told["accuracy"], right / len(rows), abs_tol=1e-9):
        problems.append(f"accuracy {told['accuracy']} does not follow from {right}/{len(rows)}")
    problems += [f"{row['key']}: the prediction is not the surest class" for row in rows
                 if row["predicted"] != int(np.argmax(row["p"]))]  # fmt: skip
    return problems


def check_tracking(database: Path, runs: set[str], *, alias: str | None = None) -> list[str]:
    """MLflow's tables: one finished run a launched name, no point twice, sound versions."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as db:
        found = db.execute("select name, status, run_uuid from runs").fetchall()
        points = db.execute(
            "select run_uuid, key, step, count(*) from metrics "
            "where key not like 'system/%' group by 1, 2, 3 having count(*) > 1"
        ).fetchall()
        versions = db.execute(
            "select v.name, v.version, t.key, t.value from model_versions v "
            "join model_version_tags t on t.name = v.name and t.version = v.version"
        ).fetchall()
        aliases = db.execute("select name, alias, version from registered_model_aliases").fetchall()
    names = Counter(name for name, _, _ in found)
    problems = [f"run {name}: {names[name]} times in MLflow, launched as one"
                for name in sorted(runs | set(names)) if names[name] != (name in runs)]  # fmt: skip
    problems += [f"run {name}: {status}" for name, status, _ in found if status != "FINISHED"]
    problems += [f"metric {key} of step {step} logged {n} times" for _, key, step, n in points]
    return problems + list(_registry_problems(versions, aliases, alias))


class Order:
    """The endless stream of sample ids, one at a time and in plain integers."""

    def __init__(self, *, samples: int, seed: int) -> None:
        self._samples, self._seed = samples, seed
        self._epochs: dict[int, list[int]] = {}

    def at(self, position: int) -> int:
        """The id that stands at a position of the stream."""
        epoch, offset = divmod(position, self._samples)
        if epoch not in self._epochs:
            key = _seed_of(self._seed, "order", epoch)
            self._epochs[epoch] = [_permuted(one, self._samples, key)
                                   for one in range(self._samples)]  # fmt: skip
        return self._epochs[epoch][offset]


def prescribed_order(samples: int, *, seed: int, first: int, count: int) -> list[int]:
    """Ids at the stream's positions first … first+count-1."""
    order = Order(samples=samples, seed=seed)
    return [order.at(position) for position in range(first, first + count)]


def _order_problems(
    rows: list[dict[str, Any]], order: Order, batch: int, steps: int
) -> Iterator[str]:
    shares: dict[int, dict[int, dict[str, Any]]] = {}
    for row in rows:
        if row["rank"] in shares.setdefault(row["step"], {}):
            yield f"step {row['step']}: rank {row['rank']} recorded twice"
        shares[row["step"]][row["rank"]] = row
    if sorted(shares) != list(range(steps)):
        yield f"steps {sorted(set(range(steps)) ^ set(shares))} are missing or too many"
    for step, of_rank in sorted(shares.items()):
        worlds = {row["world"] for row in of_rank.values()}
        if worlds != {len(of_rank)}:
            yield f"step {step}: {len(of_rank)} ranks recorded, worlds {worlds}"
            continue
        got = {
            step * batch + rank + turn * len(of_rank): sample
            for rank, row in of_rank.items()
            for turn, sample in enumerate(row["ids"])
        }
        wanted = {at: order.at(at) for at in range(step * batch, (step + 1) * batch)}
        if got != wanted:
            yield f"step {step}: consumed {got}, prescribed {wanted}"


def _chain(folder: Path, head: str | None) -> Iterator[dict[str, Any]]:
    while head is not None:
        segment = folder / "ledger" / head
        marker = json.loads((segment / "COMMIT").read_text())
        yield from pq.read_table(segment / marker["parts"]["ledger.parquet"]["path"]).to_pylist()
        head = marker["metadata"]["parent"]


def _load_checkpoint(folder: Path) -> tuple[dict[str, Any], list[tuple[str, Any]]]:
    parts = json.loads((folder / "COMMIT").read_text())["parts"]
    state = json.loads((folder / parts["state.json"]["path"]).read_text())
    tensors: list[tuple[str, Any]] = []
    for name, part in parts.items():
        if name.endswith(".safetensors"):
            tensors += safetensors.numpy.load_file(folder / part["path"]).items()
    return state, tensors


def _broken_commits(root: Path) -> Iterator[str]:
    for marker in sorted(root.rglob("COMMIT")):
        where = marker.parent.relative_to(root)
        for name, part in json.loads(marker.read_text())["parts"].items():
            path = marker.parent / part["path"]
            if not path.is_file():
                yield f"{where}: {name} is published, but missing"
            elif _sha256(path) != part["sha256"] or path.stat().st_size != part["size_bytes"]:
                yield f"{where}: {name} is not what was published"


def _registry_problems(
    versions: list[tuple[str, int, str, str]],
    aliases: list[tuple[str, str, int]],
    alias: str | None,
) -> Iterator[str]:
    tags: dict[tuple[str, int], dict[str, str]] = {}
    for name, version, key, value in versions:
        tags.setdefault((name, version), {})[key] = value
    for digest, n in Counter(one["visage.digest"] for one in tags.values()).items():
        if n > 1:
            yield f"weights {digest[:12]} registered {n} times"
    for (name, version), one in tags.items():
        marker = json.loads((Path(one["visage.uri"]) / "COMMIT").read_text())
        lines = sorted(f"{part}:{told['sha256']}" for part, told in marker["parts"].items())
        if hashlib.sha256("\n".join(lines).encode()).hexdigest() != one["visage.digest"]:
            yield f"{name}/{version}: its weights are not those that were registered"
    for name, known, version in aliases:
        if (name, version) not in tags:
            yield f"{name}@{known} points to version {version}, which is not there"
    if alias is not None and alias not in {known for _, known, _ in aliases}:
        yield f"no model has the alias {alias}"


def _permuted(offset: int, size: int, key: int) -> int:
    bits = max(2, (size - 1).bit_length())
    low_bits = bits // 2
    low_mask, high_mask = (1 << low_bits) - 1, (1 << (bits - low_bits)) - 1
    keys = [_seed_of(key, "round", number) for number in range(8)]
    value = offset
    while True:
        high, low = value >> low_bits, value & low_mask
        for number, round_key in enumerate(keys):
            if number % 2:
                high ^= _mixed(low ^ round_key) & high_mask
            else:
                low ^= _mixed(high ^ round_key) & low_mask
        value = high << low_bits | low
        if value < size:
            return value


def _mixed(value: int) -> int:
    value = (value ^ value >> 33) * 0xD6E8FEB86659FD93 & MASK_64
    value = (value ^ value >> 32) * 0xA0761D6478BD642F & MASK_64
    return value ^ value >> 29


def _seed_of(*parts: int | str) -> int:
    text = "\x1f".join(f"{'int' if isinstance(one, int) else 'str'}:{one}" for one in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def _is_whole_jpeg(body: bytes) -> bool:
    return body[:2] == b"\xff\xd8" and body[-2:] == b"\xff\xd9"


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
