"""`visage animate`: one portrait says one recording, on this machine.

The portrait and the sound are untrusted: both are decoded in the sandbox.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from visage.errors import MediaError, SpecError, about
from visage.faces import ProviderName, open_provider
from visage.faces.provider import FaceProvider
from visage.inference.style_card import StyleCard
from visage.inference.talking_head import TalkingHead
from visage.media.limits import ImageLimits
from visage.media.sandbox import MediaSandbox, read_media
from visage.rendering.portrait import Portrait, portrait_for
from visage.rendering.provenance import file_digest, provenance_tags
from visage.rendering.renderer import RenderedClip, render_clip, video_size
from visage.rendering.retiming import frame_total
from visage.rendering.sound import Sound, open_sound
from visage.rendering.style_clip import card_of_clip, clip_spec_for
from visage.specs.render import RenderSpec
from visage_jobs.talking_heads import DEFAULT_MODEL, FoundHead, find_style, find_talking_head
from visage_jobs.workspace import Workspace

__all__ = ["AnimateJob", "AnimatePlan", "Animated", "plan_animate", "run_animate"]

PORTRAIT_LIMITS = ImageLimits(max_bytes=256 * 2**20)
"""A camera's whole picture without loss: it is one's own, and one at a time."""
Note = Callable[[str], None]
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class AnimateJob:
    """What to render."""

    workspace: Workspace
    portrait: Path
    audio: Path
    out: Path
    style: str | None = None
    """A name; None = the model's default, or what `style_clip` shows."""
    style_clip: Path | None = None
    model: str = DEFAULT_MODEL
    spec: RenderSpec = field(default_factory=RenderSpec)
    device: str = "cpu"
    faces: ProviderName = "auto"
    """Which provider finds face and landmarks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Animated:
    """What was made."""

    clip: RenderedClip
    model: str
    style: str
    notes: tuple[str, ...]
    """What a person should know: silence, a style that shows little."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnimatePlan:
    """What would be made: all inputs are usable, nothing was written."""

    model: str
    style: str
    frames: int
    size: int
    """Side of the video, pixels."""
    duration_s: float
    """Of the sound."""


def plan_animate(job: AnimateJob, *, note: Note = lambda text: None) -> AnimatePlan:
    """Look at everything that a video is made of, but make none.

    Raises:
        NotFoundError, MediaError, SpecError: as `run_animate`.
    """
    with _ready(job, note) as (found, _, style, sound):
        return AnimatePlan(
            model=found.pinned.title,
            style=style.name,
            frames=frame_total(sound.duration_s, job.spec.fps),
            size=video_size(found.head, job.spec),
            duration_s=sound.duration_s,
        )


def run_animate(
    job: AnimateJob,
    *,
    progress: Progress = lambda done, total: None,
    note: Note = lambda text: None,
) -> Animated:
    """Render one video; it appears under its name when it is whole.

    Raises:
        NotFoundError: no model; says how to get one.
        MediaError: the portrait, the sound or the style clip cannot be used; `code` says why.
        SpecError: an argument is wrong, or there is no such style.
    """
    notes: list[str] = []

    def told(text: str) -> None:
        notes.append(text)
        note(text)

    with _ready(job, told) as (found, portrait, style, sound):
        clip = _rendered(job, found, portrait, style, sound, progress)
    return Animated(clip=clip, model=found.pinned.title, style=style.name, notes=tuple(notes))


@contextmanager
def _ready(job: AnimateJob, told: Note) -> Iterator[tuple[FoundHead, Portrait, StyleCard, Sound]]:
    """What a video is made of, decoded and found usable."""
    _check(job)
    found = find_talking_head(job.workspace, job.model, device=job.device)
    provider = open_provider(job.faces)
    with MediaSandbox() as sandbox, tempfile.TemporaryDirectory(prefix="visage-sound-") as folder:
        portrait = _portrait(job, sandbox, provider, found.head)
        style = _style(job, sandbox, provider, found.head, told)
        sound = open_sound(
            job.audio, sandbox, Path(folder), shortest_s=job.spec.shortest_s,
            longest_s=job.spec.longest_s,
        )  # fmt: skip
        if sound.is_silent:
            told(f"{job.audio}: the sound is silent; the face will only blink and sway")
        yield found, portrait, style, sound


def _check(job: AnimateJob) -> None:
    if job.style is not None and job.style_clip is not None:
        raise SpecError("--style and --style-clip: give one of them")
    if job.out.suffix.lower() not in (".mp4", ".m4v"):
        raise SpecError(f"--out {job.out}: the video is an MP4; name it so, for example out.mp4")
    folder = job.out.absolute().parent
    if not folder.is_dir():
        raise SpecError(f"--out {job.out}: there is no folder {folder}")
    if job.out.is_dir():
        raise SpecError(f"--out {job.out}: this is a folder; name a file")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise SpecError(f"--out {job.out}: nothing may be written to {folder}")
    for flag, path in (("--portrait", job.portrait), ("--audio", job.audio),
                       ("--style-clip", job.style_clip)):  # fmt: skip
        if path is None:
            continue
        if not path.is_file():
            raise SpecError(f"{flag} {path}: there is no such file")
        if job.out.exists() and job.out.samefile(path):
            raise SpecError(f"--out {job.out}: this is {flag}, which would be lost; name another")


def _portrait(
    job: AnimateJob, sandbox: MediaSandbox, provider: FaceProvider, head: TalkingHead
) -> Portrait:
    try:
        data = read_media(job.portrait, max_bytes=PORTRAIT_LIMITS.max_bytes)
    except MediaError as err:
        advice = "; save it as a JPEG, or make it smaller" if err.code == "too_large" else ""
        raise MediaError(err.code, f"{err}{advice}") from None
    with about(job.portrait):
        image = sandbox.decode_image(data, limits=PORTRAIT_LIMITS)
        return portrait_for(head, image, provider, job.spec.portrait)


def _style(
    job: AnimateJob,
    sandbox: MediaSandbox,
    provider: FaceProvider,
    head: TalkingHead,
    note: Callable[[str], None],
) -> StyleCard:
    if job.style_clip is None:
        return find_style(job.workspace, head, job.style)
    with about(job.style_clip):
        card = card_of_clip(
            job.style_clip, name=job.style_clip.stem, provider=provider, sandbox=sandbox,
            spec=clip_spec_for(head),
        )  # fmt: skip
    for template, share in card.missing():
        note(
            f"{job.style_clip}: shows no clear {template} (coverage {share:.0%}); the nearest "
            "frame stands for it"
        )
    # nothing of it is published, so the clip itself says which style the video shows
    return replace(card, digest=file_digest(job.style_clip))


def _rendered(
    job: AnimateJob,
    found: FoundHead,
    portrait: Portrait,
    style: StyleCard,
    sound: Sound,
    progress: Progress,
) -> RenderedClip:
    tags = provenance_tags(
        model=found.pinned.title,
        model_digest=found.pinned.digest,
        portrait_sha256=file_digest(job.portrait),
        audio_sha256=file_digest(job.audio),
        style=style.name,
        style_digest=style.digest,
        settings_digest=job.spec.digest(),
    )
    return render_clip(
        found.head, portrait, sound, style, job.out, job.spec, tags=tags, progress=progress
    )
