"""Makes sounds in the layout of Common Voice: speakers who differ in pitch and vocal tract.

<root>/cv-corpus-<release>/<locale>/{clips/*.mp3, train.tsv, dev.tsv, test.tsv, validated.tsv, …}
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from visage.errors import DataError
from visage.media.audio_writer import write_sound
from visage.seeds import rng_of, seed_of
from visage.synth.phonemes import SILENCE
from visage.synth.production import (
    Progress,
    Stopwatch,
    SynthReport,
    claim,
    produce,
    size_of,
    write_atomically,
    write_truth,
)
from visage.synth.spec import CommonVoiceSpec
from visage.synth.speech import speak, voice_of
from visage.synth.styles import style_of
from visage.synth.utterance import Utterance, compose

__all__ = ["Reading", "readings_of", "write_common_voice"]

INDEX_SCHEMA = "visage.synth-sounds/1"
_COLUMNS = (
    "client_id", "path", "sentence_id", "sentence", "sentence_domain", "up_votes", "down_votes",
    "age", "gender", "accents", "variant", "locale", "segment",
)  # fmt: skip
_EMPTY_LISTS = ("invalidated.tsv", "other.tsv")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One sound: who reads in which style, for the how-manieth time."""

    speaker: int
    index: int
    style: str
    list: str
    """train, dev or test."""
    folder: str
    """`cv-corpus-…/<locale>`."""
    file: str

    @property
    def path(self) -> str:
        """Relative to the root."""
        return f"{self.folder}/clips/{self.file}"


@dataclass(frozen=True, slots=True)
class _Job:
    root: str
    spec: CommonVoiceSpec
    reading: Reading


def write_common_voice(
    out: str | Path,
    spec: CommonVoiceSpec | None = None,
    *,
    workers: int | None = None,
    progress: Progress | None = None,
) -> SynthReport:
    """Make the sounds in the folder `out`, keeping what an earlier run of the same spec has made.

    Args:
        out: The root of the corpus; created if absent.
        spec: What to make; the defaults of CommonVoiceSpec if not given.
        workers: Processes; one a core by default.
        progress: Called with sounds done and sounds in all.

    Raises:
        DataError: the folder holds something else, or cannot be written.
    """
    chosen, root, watch = spec or CommonVoiceSpec(), Path(out), Stopwatch()
    claim(root, chosen)
    readings = readings_of(chosen)
    jobs = [_Job(str(root), chosen, reading) for reading in readings]
    written, kept = produce(jobs, _record, workers=workers, progress=progress)
    said = {reading.path: _utterance(chosen, reading) for reading in readings}
    _write_lists(root, chosen, readings, said)
    write_truth(root, (_index_row(reading, said[reading.path]) for reading in readings))
    counts: dict[str, dict[str, int]] = {}
    for reading in readings:
        row = counts.setdefault(reading.list, dict.fromkeys(chosen.styles, 0))
        row[reading.style] += 1
    return SynthReport(
        root=root,
        layout=chosen.layout,
        written=written,
        kept=kept,
        size_bytes=size_of(root, (reading.path for reading in readings)),
        seconds=watch.seconds(),
        counts=counts,
    )


def readings_of(spec: CommonVoiceSpec) -> list[Reading]:
    """All sounds, sorted by path; speakers never stand in two lists."""
    dev = max(1, round(spec.speakers * spec.dev_fraction))
    test = max(1, round(spec.speakers * spec.test_fraction))
    folder = f"cv-corpus-{spec.release}/{spec.locale}"
    readings = []
    for speaker in range(1, spec.speakers + 1):
        listed = "test" if speaker <= test else "dev" if speaker <= test + dev else "train"
        for index in range(spec.clips):
            number = (speaker - 1) * spec.clips + index + 1
            readings.append(
                Reading(
                    speaker=speaker,
                    index=index,
                    style=spec.styles[index % len(spec.styles)],
                    list=listed,
                    folder=folder,
                    file=f"common_voice_{spec.locale}_{number:08d}.mp3",
                )
            )
    return readings


def _utterance(spec: CommonVoiceSpec, reading: Reading) -> Utterance:
    rng = rng_of(_seed(spec, reading), "words")
    duration_s = round(float(rng.uniform(spec.shortest_s, spec.longest_s)), 3)
    return compose(style_of(reading.style), duration_s=duration_s, rng=rng)


def _seed(spec: CommonVoiceSpec, reading: Reading) -> int:
    return seed_of(spec.seed, "reading", reading.speaker, reading.index)


def _record(job: _Job) -> bool:
    """Write one sound unless it is there."""
    spec, reading = job.spec, job.reading
    path = Path(job.root) / reading.path
    if path.is_file() and path.stat().st_size > 0:
        return False
    voice = voice_of(reading.speaker, is_female=reading.speaker % 2 == 0, seed=spec.seed)
    sound = speak(
        _utterance(spec, reading),
        voice,
        sample_rate=spec.sample_rate,
        rng=rng_of(_seed(spec, reading), "noise"),
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_sound(path, sound, spec.sample_rate, kind="mp3", bit_rate=spec.bit_rate)
    except OSError as err:
        raise DataError(f"{path}: cannot be written: {err}") from None
    return True


def _write_lists(
    root: Path, spec: CommonVoiceSpec, readings: list[Reading], said: dict[str, Utterance]
) -> None:
    folder = root / readings[0].folder
    rows = {reading.path: _row(spec, reading, said[reading.path]) for reading in readings}
    for name in ("train", "dev", "test"):
        mine = [rows[reading.path] for reading in readings if reading.list == name]
        write_atomically(folder / f"{name}.tsv", _table(_COLUMNS, mine))
    write_atomically(folder / "validated.tsv", _table(_COLUMNS, rows.values()))
    for name in _EMPTY_LISTS:
        write_atomically(folder / name, _table(_COLUMNS, ()))
    lengths = (
        (reading.file, str(round(1000 * said[reading.path].duration_s))) for reading in readings
    )
    write_atomically(folder / "clip_durations.tsv", _table(("clip", "duration[ms]"), lengths))


def _row(spec: CommonVoiceSpec, reading: Reading, utterance: Utterance) -> tuple[str, ...]:
    sentence = _text(utterance)
    values = {
        "client_id": hashlib.sha512(f"{spec.seed}/{reading.speaker}".encode()).hexdigest(),
        "path": reading.file,
        "sentence_id": hashlib.sha256(sentence.encode()).hexdigest(),
        "sentence": sentence,
        "up_votes": "2",
        "down_votes": "0",
        "gender": "male_masculine" if reading.speaker % 2 else "female_feminine",
        "locale": spec.locale,
    }
    return tuple(values.get(name, "") for name in _COLUMNS)


def _text(utterance: Utterance) -> str:
    """What is said, a phrase a word."""
    letters = "".join(phone.symbol for phone in utterance.phones)
    return letters.strip(SILENCE).replace(SILENCE, " ")


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> bytes:
    return "".join("\t".join(row) + "\n" for row in (header, *rows)).encode()


def _index_row(reading: Reading, utterance: Utterance) -> dict[str, object]:
    return {
        "schema": INDEX_SCHEMA,
        "path": reading.path,
        "list": reading.list,
        "speaker": reading.speaker,
        "style": reading.style,
        "duration_s": utterance.duration_s,
        "phones": [[one.symbol, round(one.start_s, 4)] for one in utterance.phones],
    }
