"""`visage prepare`: a corpus on disk becomes shards that training can read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from visage_jobs.cli.console import (
    AddressOption,
    DryRunFlag,
    JsonFlag,
    SetOption,
    WorkspaceOption,
    bar,
    emit,
    say,
    verb,
)

if TYPE_CHECKING:
    from rich.table import Table

    from visage.data.records import Corpus
    from visage_jobs.prepare import PrepareResult


def register(app: typer.Typer) -> None:
    """Add the verb to the app."""
    app.command("prepare")(prepare)


@verb
def prepare(
    corpus: Annotated[str, typer.Argument(help="Folder of the corpus (see `visage audit`).")],
    out: Annotated[
        str | None, typer.Option(help="Where shards go; default WORKSPACE/data/<folder name>.")
    ] = None,
    layout: Annotated[str, typer.Option(help="Layout of the corpus; auto finds out.")] = "auto",
    boxes: Annotated[str | None, typer.Option(help="Box lists of CAER-S, if elsewhere.")] = None,
    rows: Annotated[
        str, typer.Option(help="emotion, clips or speech; auto goes by what the corpus holds.")
    ] = "auto",
    weights: Annotated[str | None, typer.Option(help="Folder of face-alignment weights.")] = None,
    parser: Annotated[
        str | None, typer.Option(help="BiSeNet weights that label the face regions.")
    ] = None,
    drop_leaks: Annotated[
        bool, typer.Option("--drop-leaks", help="Audit first; leave out copies of test pictures.")
    ] = False,
    preset: Annotated[str | None, typer.Option(help="YAML file of prepare settings.")] = None,
    assign: SetOption = None,
    workspace: WorkspaceOption = None,
    address: AddressOption = None,
    dry_run: DryRunFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Decode, find faces, landmarks and regions, crop, and write Arrow shards with a manifest.

    Pictures of a corpus with emotions become faces and contexts; clips of talking people become
    trajectories at 60 Hz, log-mel frames, cropped pictures and style references.

    Resumable and incremental: what is prepared with the same settings is not prepared again, and
    what cannot be used becomes one rejection with a reason.

    Example: visage prepare ~/CAER-S --set input.face_size=96

    Example: visage prepare ~/voxceleb2 --rows clips --set size=256
    """
    from pathlib import Path

    from visage_jobs.prepare import PrepareJob, plan_prepare, run_prepare, spec_for
    from visage_jobs.presets import find_preset
    from visage_jobs.workspace import Workspace

    found = _read(corpus, layout=layout, boxes=boxes, drop_leaks=drop_leaks)
    kind = spec_for(found, rows)
    spec = kind.load(find_preset(preset) if preset else None, assignments=assign or ())
    target = out or Workspace.open(workspace).data(Path(corpus).resolve().name)
    job = PrepareJob(
        corpus=found,
        out=target,
        spec=spec,
        weights_dir=Path(weights) if weights else None,
        parser_weights=Path(parser) if parser else None,
        address=address,
    )
    if dry_run:
        _, plan, _ = plan_prepare(job)
        todo = plan.records - plan.standing_records
        result = {"records": plan.records, "to_prepare": todo, "shards": len(plan.chunks)}
        emit(result, as_json=as_json, table=lambda: f"would prepare {todo} of {plan.records}")
        return
    with bar(quiet=as_json) as progress:
        task = progress.add_task(f"preparing {found.layout}", total=None)
        done = run_prepare(
            job, progress=lambda at, total: progress.update(task, completed=at, total=total)
        )
    emit(_as_json(done), as_json=as_json, table=lambda: _table(done))


def _read(corpus: str, *, layout: str, boxes: str | None, drop_leaks: bool) -> Corpus:
    """The corpus with its notes told, and without leaks if so wished."""
    from visage.data.audit import audit_corpus
    from visage.data.leaks import without_leaks
    from visage.data.readers import read_corpus

    found = read_corpus(corpus, layout=layout, boxes=boxes)  # type: ignore[arg-type]  # unknown layouts are refused there
    if drop_leaks:
        found, _ = without_leaks(found, audit_corpus(found))
    for note in found.notes:
        say(f"note: {note}")
    return found


def _as_json(done: PrepareResult) -> dict[str, object]:
    return {
        "uri": done.uri,
        "digest": done.manifest.digest(),
        "prepared": done.prepared_records,
        "reused": done.reused_records,
        "rejected": done.manifest.rejected,
        "counts": done.manifest.counts,
        "faces": done.provider,
        "wall_s": done.wall_s,
        "stage_s": done.stage_s,
        "media_s": done.media_s,
        "media_per_core_s": done.media_per_core_s(),
        "per_core_s": done.records_per_core_s(),
    }


def _table(done: PrepareResult) -> Table:
    from rich.table import Table

    manifest = done.manifest
    table = Table(title=f"{done.uri}  ({manifest.digest()[:12]})", title_justify="left")
    table.add_column("class" if manifest.classes else "style")
    splits = list(manifest.counts)
    for split in splits:
        table.add_column(split, justify="right")
    names = manifest.classes or sorted({one for row in manifest.counts.values() for one in row})
    for name in names:
        table.add_row(name, *(str(manifest.counts[split].get(name, 0)) for split in splits))
    table.add_section()
    table.add_row("all", *(str(sum(manifest.counts[split].values())) for split in splits))
    rejected = ", ".join(f"{code} {count}" for code, count in manifest.rejected.items()) or "none"
    table.caption = (
        f"{done.prepared_records} prepared, {done.reused_records} reused, rejected: {rejected}\n"
        f"{done.wall_s:.1f} s; {_speed(done)}"
    )
    table.caption_justify = "left"
    return table


def _speed(done: PrepareResult) -> str:
    """What a core prepares in a second, and which stages take its time."""
    from visage.specs.prepare import SpeechPrepareSpec

    if not done.media_s:
        speeds = done.records_per_core_s().items()
        told = ", ".join(f"{name} {speed:.0f}" for name, speed in speeds)
        return f"records per core and second: {told or 'nothing to do'}"
    whole = sum(done.stage_s.values())
    stages = sorted(done.stage_s.items(), key=lambda stage: -stage[1])
    shares = ", ".join(f"{name} {spent / whole:.0%}" for name, spent in stages)
    what = "sound" if done.manifest.kind == SpeechPrepareSpec.kind else "video"
    rate = done.media_per_core_s()
    return f"{done.media_s:.1f} s of {what}, {rate:.3g} s of it per second of a core: {shares}"
