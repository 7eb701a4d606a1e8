"""From a corpus to a manifest: plan the chunks, and assemble what was made of them.

A record's fingerprint covers its place, size, time stamp (or ETag), label, split and box; a chunk's
key covers the settings and its records' fingerprints. A chunk is one shard, published by the commit
protocol, so a killed job keeps every finished chunk, a second run does nothing, and a grown corpus
prepares only what is new.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

from visage.data.chunks import Chunk, known_fingerprints
from visage.data.corpus_files import CorpusFiles, open_files
from visage.data.manifest import Manifest, Shard
from visage.data.records import SPLITS, Corpus, Record, Split
from visage.data.shards import MANIFEST_NAME, ROWS_PART
from visage.errors import AlreadyExistsError, CorruptError, DataError
from visage.faultpoints import fault_point
from visage.specs.prepare import EmotionPrepareSpec, PrepareSpec
from visage.store.base import Store
from visage.store.commit import MARKER, read_commit

__all__ = ["Plan", "assemble", "fingerprint", "plan_chunks", "settings_digest"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is there and what is to do."""

    standing: tuple[str, ...]
    """Keys of finished shards that are used as they are."""
    chunks: tuple[Chunk, ...]
    records: int
    standing_records: int


def settings_digest(spec: PrepareSpec, *, provider: str, regions: str = "landmarks") -> str:
    """Identity of everything but the records that decides a row's content.

    `provider` and `regions` are the names of the tools that the spec's choices became.
    """
    text = json.dumps([spec.kind, provider, regions, spec.content()], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def fingerprint(files: CorpusFiles, record: Record) -> str:
    """Identity of a record's source and of what the corpus says of it; the file is not read."""
    source = files.version(record.path) or ("absent",)
    stated = asdict(record)
    if not record.style:  # records of corpora without styles keep the identity they always had
        del stated["style"]
    text = json.dumps([stated, *source], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def plan_chunks(corpus: Corpus, store: Store, spec: PrepareSpec, *, settings: str) -> Plan:
    """Compare the corpus with the shards that stand, and cut the rest into chunks.

    Raises:
        DataError: the corpus holds clips, of which frames must be drawn first, or no emotions.
        CorruptError: a finished shard lost a part.
    """
    _refuse_others(corpus, spec)
    files = open_files(corpus.root)
    wanted = {fingerprint(files, record): record for record in corpus.records}
    standing: list[str] = []
    chunks: list[Chunk] = []
    left = dict(wanted)
    # Whole shards first, large ones before small: what was repacked once is not repacked again.
    found = sorted(_standing_shards(store, settings), key=lambda shard: -len(shard.known))
    for shard in sorted(found, key=lambda shard: not wanted.keys() >= set(shard.known)):
        mine = [one for one in shard.known if one in left]
        if not mine:
            continue
        if len(mine) == len(shard.known):
            standing.append(shard.key)
        else:
            records = [left[one] for one in mine]
            chunks.append(_chunk(shard.split, records, mine, settings, keep_of=shard.key))
        for one in mine:
            del left[one]
    for split in SPLITS:
        rest = [(one, record) for one, record in left.items() if record.split == split]
        for part in _parts(rest, files, spec):
            records = [record for _, record in part]
            chunks.append(_chunk(split, records, [one for one, _ in part], settings))
    todo = sum(len(chunk.records) for chunk in chunks)
    return Plan(
        standing=tuple(standing),
        chunks=tuple(chunks),
        records=len(wanted),
        standing_records=len(wanted) - todo,
    )


def assemble(
    keys: Iterable[str], corpus: Corpus, store: Store, spec: PrepareSpec, *, provider: str
) -> Manifest:
    """Write the manifest over finished shards and prove that every record has one outcome.

    Raises:
        DataError: a record without an outcome, nothing prepared, or too much rejected.
    """
    shards: list[Shard] = []
    counts: dict[str, dict[str, int]] = {}
    rejected: dict[str, int] = {}
    prepared = 0
    for key in sorted(keys):
        found = read_commit(store, f"shards/{key}")
        if found is None:
            raise DataError(f"{store.uri}/shards/{key}: not finished; run prepare again")
        _add(rejected, found.metadata["rejected"])
        prepared += found.metadata.get("records", found.metadata["rows"])
        if not found.metadata["rows"]:
            continue
        part, split = found.parts[ROWS_PART], found.metadata["split"]
        shards.append(
            Shard(
                path=f"shards/{key}/{part.path}",
                sha256=part.sha256,
                rows=found.metadata["rows"],
                size_bytes=part.size_bytes,
                split=split,
            )
        )
        _add(counts.setdefault(split, {}), found.metadata["counts"])
    _reconcile(corpus, prepared, rejected, spec)
    manifest = Manifest(
        kind=spec.kind,
        classes=corpus.classes,
        shards=tuple(shards),
        settings={**spec.model_dump(mode="json"), "faces": provider},
        source={"root": corpus.root, "layout": corpus.layout},
        counts=counts,
        rejected=rejected,
    )
    fault_point("prepare.before_manifest")
    body = manifest.to_json()
    with contextlib.suppress(AlreadyExistsError):  # the same manifest was written before
        store.put(f"manifests/{hashlib.sha256(body).hexdigest()[:32]}.json", body)
    store.replace(MANIFEST_NAME, body)
    return manifest


def _refuse_others(corpus: Corpus, spec: PrepareSpec) -> None:
    """Say what to do with a corpus that holds another kind of media than the rows are made of."""
    if isinstance(spec, EmotionPrepareSpec):
        _refuse_clips(corpus)
    others = sum(record.kind not in spec.accepts for record in corpus.records)
    if others:
        raise DataError(
            f"{corpus.root}: {others} of {len(corpus.records)} records are no "
            f"{' or '.join(spec.accepts)}; rows of kind {spec.kind} cannot be made of them"
        )


def _refuse_clips(corpus: Corpus) -> None:
    if not corpus.classes:
        raise DataError(
            f"{corpus.root}: a corpus of layout {corpus.layout} states no emotions, so nothing "
            "can be learnt about them from it; it is for the parts of the talking head"
        )
    clips = sum(record.kind == "video" for record in corpus.records)
    if clips:
        raise DataError(
            f"{corpus.root}: {clips} of {len(corpus.records)} records are clips; draw frames "
            f"first: visage ncaers {corpus.root} OUT, then visage prepare OUT"
        )


def _parts(
    rest: Sequence[tuple[str, Record]], files: CorpusFiles, spec: PrepareSpec
) -> Iterator[list[tuple[str, Record]]]:
    """Records by chunk: a chunk ends with the record that fills it, by count or by size.

    Where it ends depends on its own records alone, so what a killed job leaves is cut as it was.
    """
    part: list[tuple[str, Record]] = []
    size_bytes = 0
    for one, record in rest:
        part.append((one, record))
        found = files.version(record.path) if math.isfinite(spec.source_bytes_per_shard) else None
        size_bytes += 0 if found is None else found[0]
        if len(part) == spec.rows_per_shard or size_bytes >= spec.source_bytes_per_shard:
            yield part
            part, size_bytes = [], 0
    if part:
        yield part


def _chunk(
    split: Split,
    records: Sequence[Record],
    prints: Sequence[str],
    settings: str,
    *,
    keep_of: str | None = None,
) -> Chunk:
    text = "\n".join([settings, split, *prints])
    key = hashlib.sha256(text.encode()).hexdigest()[:32]
    return Chunk(
        key=key, split=split, records=tuple(records), fingerprints=tuple(prints), keep_of=keep_of
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Standing:
    """A finished shard with these settings."""

    key: str
    split: Split
    known: tuple[str, ...]
    """Fingerprints of its records."""


def _standing_shards(store: Store, settings: str) -> Iterator[_Standing]:
    sizes = {item.key: item.size_bytes for item in store.list("shards/")}
    for path in sizes:
        folder, _, name = path.rpartition("/")
        found = read_commit(store, folder) if name == MARKER else None
        if found is None or found.metadata.get("settings") != settings:
            continue
        for part in found.parts.values():
            if sizes.get(f"{folder}/{part.path}") != part.size_bytes:
                raise CorruptError(
                    f"{store.uri}/{folder}: {part.path} is missing or cut off, so this shard is "
                    "lost; delete it and run prepare again"
                )
        key = folder.rpartition("/")[2]
        known = known_fingerprints(store, key)
        yield _Standing(key=key, split=found.metadata["split"], known=tuple(known))


def _add(total: dict[str, int], more: Mapping[str, int]) -> None:
    for name, count in more.items():
        total[name] = total.get(name, 0) + count


def _reconcile(
    corpus: Corpus, prepared: int, rejected: Mapping[str, int], spec: PrepareSpec
) -> None:
    refused = sum(rejected.values())
    if prepared + refused != len(corpus.records):
        raise DataError(
            f"{corpus.root}: {len(corpus.records)} records, but {prepared} prepared and "
            f"{refused} rejected; run prepare again"
        )
    if not prepared or refused > spec.max_rejected_share * len(corpus.records):
        raise DataError(
            f"{corpus.root}: {refused} of {len(corpus.records)} records rejected "
            f"({', '.join(f'{code} {count}' for code, count in rejected.items())}); look at "
            "them, or raise max_rejected_share"
        )
