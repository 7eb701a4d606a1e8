"""What a batch has to do: which rows stand, which cannot be rendered, and one task a missing video.

Files are hashed, never decoded; so a plan of a finished batch costs the reading of its inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from visage.errors import MediaError, SpecError
from visage.rendering.clip_store import ClipStore
from visage.rendering.keys import RenderSetting, RenderTask, StyleRef, file_digests, row_key
from visage.rendering.outcome import Outcome, Rejected
from visage.rendering.rows import RenderRow, RenderTable, checked_path

__all__ = ["BatchPlan", "plan_batch"]

FindStyle = Callable[[str | None], StyleRef]
"""A style by its name, None = the default; SpecError if it cannot be used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchPlan:
    """Every row of the table has a key here, or has ended."""

    table: RenderTable
    ended: dict[str, Rejected] = field(default_factory=dict)
    """By the row's name: what has no key, because an input or the style is missing."""
    keys: dict[str, str] = field(default_factory=dict)
    """Row's name → key; rows of equal content share one."""
    standing: dict[str, Outcome] = field(default_factory=dict)
    """By key: what former jobs ended."""
    tasks: tuple[RenderTask, ...] = ()
    """What is left, each key once, in the order of the table."""

    def outcomes(self, made: Mapping[str, Outcome]) -> dict[str, Outcome]:
        """By the row's name, once `made` tells by key how the tasks ended; others are left out."""
        known = {**self.standing, **made}
        by_row: dict[str, Outcome] = dict(self.ended)
        by_row.update({name: known[key] for name, key in self.keys.items() if key in known})
        return by_row

    @property
    def rows_to_render(self) -> int:
        """Rows that wait for a task; as many as tasks, unless rows are doubled."""
        return sum(key not in self.standing for key in self.keys.values())


def plan_batch(
    table: RenderTable,
    setting: RenderSetting,
    *,
    clips: ClipStore,
    find_style: FindStyle,
    retry_rejected: bool = False,
) -> BatchPlan:
    """Hash the inputs, find keys, and leave out what stands.

    Args:
        retry_rejected: Whether rows that a former job rejected are tried again.
    """
    ended: dict[str, Rejected] = {}
    usable: list[tuple[RenderRow, StyleRef]] = []
    styles = _Styles(find_style)
    for row in table.rows:
        refused = _refused(row, table)
        style = None if refused else styles.of(row.style)
        if isinstance(style, StyleRef):
            usable.append((row, style))
        else:
            ended[row.name] = refused or _no_style(style or "")
    digests = file_digests(table.files, _paths(row for row, _ in usable))
    keys: dict[str, str] = {}
    tasks: dict[str, RenderTask] = {}
    for row, style in usable:
        portrait, audio = digests[row.portrait], digests[row.audio]
        if portrait is None or audio is None:
            ended[row.name] = _missing(row.portrait if portrait is None else row.audio, table)
            continue
        key = row_key(
            setting, portrait_sha256=portrait, audio_sha256=audio, style_digest=style.digest
        )
        keys[row.name] = key
        if key not in tasks:
            tasks[key] = RenderTask(
                key=key, portrait=row.portrait, audio=row.audio, portrait_sha256=portrait,
                audio_sha256=audio, style=style,
            )  # fmt: skip
    standing = clips.standing(tasks, with_rejected=not retry_rejected)
    return BatchPlan(
        table=table,
        ended=ended,
        keys=keys,
        standing=standing,
        tasks=tuple(task for key, task in tasks.items() if key not in standing),
    )


class _Styles:
    """Each name is looked up once."""

    def __init__(self, find: FindStyle) -> None:
        self._find = find
        self._known: dict[str | None, StyleRef | str] = {}

    def of(self, name: str | None) -> StyleRef | str:
        """The style, or why it cannot be used."""
        if name not in self._known:
            try:
                self._known[name] = self._find(name)
            except SpecError as err:
                self._known[name] = str(err)
        return self._known[name]


def _refused(row: RenderRow, table: RenderTable) -> Rejected | None:
    for column, path in (("portrait", row.portrait), ("audio", row.audio)):
        if not path:
            return Rejected(key="", code="not_found", detail=f"the row names no {column}")
        try:
            checked_path(table.files, path)
        except MediaError as err:
            return Rejected(key="", code=err.code, detail=str(err))
    return None


def _no_style(reason: str) -> Rejected:
    return Rejected(key="", code="unknown_style", detail=reason)


def _missing(path: str, table: RenderTable) -> Rejected:
    return Rejected(
        key="", code="not_found", detail=f"{path}: there is no such file under {table.files.uri}"
    )


def _paths(rows: Iterable[RenderRow]) -> list[str]:
    return [path for row in rows for path in (row.portrait, row.audio)]
