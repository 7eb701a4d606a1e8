"""What the demo's page shows of the talking head: the video, frames to look at, and the numbers."""

from __future__ import annotations

from visage.metrics.head_tables import COLUMNS
from visage.tracking.head_evaluation import HeadEvaluation
from visage.tracking.report.content import ScoreTable, TalkingPart
from visage_jobs.demo_talking import TalkingDemo

__all__ = ["head_sentence", "talking_part"]


def talking_part(done: TalkingDemo) -> TalkingPart:
    """The section of the page; the video becomes part of it."""
    clip = done.video.clip
    return TalkingPart(
        video_mp4=clip.path.read_bytes(),
        caption=(
            f"A person whom nothing was trained on says a clip that nothing was trained on: "
            f"{clip.duration_s:.1f} s, {clip.frames} frames of {clip.size} pixels at "
            f"{clip.fps:g} a second, in style {done.video.style}, rendered in "
            f"{clip.seconds['all']:.0f} s. The networks are the small presets: they show that "
            "everything works, not how good it can become."
        ),
        sheet_jpeg=done.scores.sheet(),
        sheet_caption="Clips of unseen people: the truth, its motion painted, what was generated, "
        "a frozen face.",
        tables=(_score_table(done.scores), _style_table(done), _parts_table(done)),
    )


def head_sentence(found: HeadEvaluation) -> str:
    """The comparison in a sentence, for a terminal."""
    made, frozen, mean = (found.subjects[name] for name in ("generated", "frozen", "mean"))
    parts = [
        f"{title} {made[name].mean:.2f} (frozen face {frozen[name].mean:.2f}, mean motion "
        f"{mean[name].mean:.2f})"
        for name, title in (("lmd", "LMD"), ("d_a", "D-A"))
    ]
    opening = f"opening correlates {made['opening_r'].mean:.2f}"
    if "seen_r" in made:
        opening += f" ({made['seen_r'].mean:.2f} in the pictures)"
    return f"{', '.join(parts)}, {opening} over {found.clips} unseen clips"


def _score_table(found: HeadEvaluation) -> ScoreTable:
    shown = ("generated", "frozen", "mean", "painted", "truth")
    rows = []
    for column in COLUMNS:
        cells = []
        for name in shown:
            one = found.subjects.get(name, {}).get(column.name)
            cells.append("" if one is None else f"{one.mean:.3g} ± {one.deviation:.2g}")
        arrow = "↑" if column.better == "higher" else "↓"
        rows.append((f"{column.title} {arrow}", cells))
    return ScoreTable(
        title="Unseen people, against the truth",
        columns=(
            "generated",
            "frozen face",
            "mean motion",
            "true motion, painted",
            "the truth itself",
        ),
        rows=rows,
        hint=f"Mean and standard deviation over {found.clips} clips; landmarks in pixels of 512. "
        "Arrows say which way is better; r is the correlation of the opening of the mouth, seen r "
        "and seen gain are what is left of it in the pictures, in which mouths are looked for. The "
        "last two columns say what pictures can show: painted from true landmarks, and true ones.",
    )


def _style_table(done: TalkingDemo) -> ScoreTable:
    rows = [
        (name.upper(), [f"{value:.3f}" for value in (one.before, one.after, one.scaled)])
        for name, one in done.transferred.scores.items()
    ]
    return ScoreTable(
        title=f"A style taught from one clip: {done.transferred.card.name}",
        columns=("before", "after", "mouth only scaled"),
        rows=rows,
        hint=" ".join(
            (
                "Distance of generated motion from the end of that clip; lower is nearer.",
                *done.transferred.notes,
            )
        ),
    )


def _parts_table(done: TalkingDemo) -> ScoreTable:
    rows = [
        (
            recipe,
            [
                str(one.steps),
                one.score_name,
                "" if one.score is None else f"{one.score:.4g}",
            ],
        )
        for recipe, one in done.trained.items()
    ]
    return ScoreTable(
        title="What was trained",
        columns=("steps", "validation score", "value"),
        rows=rows,
        hint="Each part on two workers through Ray Train; higher scores are better.",
    )
