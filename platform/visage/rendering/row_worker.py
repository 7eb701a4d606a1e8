"""One row to its outcome: what a worker of a batch does, without any cluster.

Whatever is wrong with a row becomes its own outcome. What is wrong with the ground (the store is
away, no decoder starts, the model is another one) ends the job: all rows would fail alike.
"""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

from visage.data.corpus_files import CorpusFiles
from visage.errors import CorruptError, MediaError, SpecError, VisageError, about
from visage.faces.provider import FaceProvider
from visage.inference.style_card import StyleCard, load_style_card
from visage.inference.talking_head import TalkingHead
from visage.media.image import Image
from visage.media.limits import ImageLimits
from visage.media.sandbox import MediaSandbox, read_media
from visage.rendering.clip_store import ClipStore
from visage.rendering.keys import RenderSetting, RenderTask, StyleRef, sha256_or_none
from visage.rendering.outcome import Outcome, Rejected
from visage.rendering.portrait import Portrait, portrait_for
from visage.rendering.provenance import provenance_tags
from visage.rendering.renderer import render_clip
from visage.rendering.rows import is_clip
from visage.rendering.sound import open_sound

__all__ = ["RowWorker"]

log = logging.getLogger(__name__)


class RowWorker:
    """Holds one model and renders row after row."""

    def __init__(
        self,
        setting: RenderSetting,
        *,
        head: TalkingHead,
        provider: FaceProvider,
        sandbox: MediaSandbox,
        files: CorpusFiles,
        clips: ClipStore,
    ) -> None:
        """Check that this worker has the tools that the keys were made for.

        Raises:
            CorruptError: other weights.
            SpecError: another face provider.
        """
        if head.digest != setting.model_digest:
            raise CorruptError(
                f"{setting.model_uri}: the model changed while the job ran; run it again"
            )
        if provider.name != setting.faces:
            raise SpecError(
                f"this worker finds faces with {provider.name}, the job began with "
                f"{setting.faces}; name one that all nodes have (--faces dlib68)"
            )
        self._setting, self._head, self._provider = setting, head, provider
        self._sandbox, self._files, self._clips = sandbox, files, clips
        self._cards: dict[str, StyleCard] = {}
        self._portrait: tuple[str, Portrait] | None = None

    def __call__(self, task: RenderTask) -> Outcome:
        """Render and publish one row, or publish why not.

        Raises:
            VisageError: of the ground, not of the row.
        """
        with self._files.at_hand([task.portrait, task.audio]) as root:
            try:
                return self._rendered(task, root)
            except MediaError as err:
                told = str(err).replace(f"{root}/", "")
                outcome = Rejected(key=task.key, code=err.code, detail=told)
            except VisageError:
                raise
            except Exception as err:
                log.exception("row %s", task.key)
                outcome = Rejected(
                    key=task.key, code="failed", detail=f"{type(err).__name__}: {err}"
                )
        self._clips.reject(outcome)
        return outcome

    def _rendered(self, task: RenderTask, root: Path) -> Outcome:
        changed = [
            path
            for path, digest in (
                (task.portrait, task.portrait_sha256),
                (task.audio, task.audio_sha256),
            )
            if sha256_or_none(root / path) != digest
        ]
        if changed:
            return Rejected(
                key=task.key,
                code="changed",
                detail=f"{changed[0]}: another file than when the job began; run it again",
            )
        spec, style = self._setting.spec, self._card(task.style)
        portrait = self._seen(task, root)
        with tempfile.TemporaryDirectory(prefix="visage-render-") as folder:
            sound = open_sound(
                root / task.audio, self._sandbox, Path(folder), shortest_s=spec.shortest_s,
                longest_s=spec.longest_s,
            )  # fmt: skip
            clip = render_clip(
                self._head, portrait, sound, style, Path(folder) / "video.mp4", spec,
                tags=self._tags(task),
            )  # fmt: skip
            return self._clips.publish(task.key, clip, self._facts(task), is_silent=sound.is_silent)

    def _seen(self, task: RenderTask, root: Path) -> Portrait:
        """The portrait; rows of one person often follow each other, so the last one is kept."""
        if self._portrait is None or self._portrait[0] != task.portrait_sha256:
            with about(task.portrait):
                picture = self._picture(root / task.portrait)
                found = portrait_for(
                    self._head, picture, self._provider, self._setting.spec.portrait
                )
            self._portrait = (task.portrait_sha256, found)
        return self._portrait[1]

    def _picture(self, path: Path) -> Image:
        if is_clip(path.name):
            return self._sandbox.read_frame(path, 0)
        return self._sandbox.decode_image(read_media(path, max_bytes=ImageLimits().max_bytes))

    def _card(self, style: StyleRef) -> StyleCard:
        if style.digest not in self._cards:
            card = load_style_card(style.uri)
            if card.digest != style.digest:
                raise CorruptError(
                    f"{style.uri}: the style changed while the job ran; run it again"
                )
            self._cards[style.digest] = card
        return self._cards[style.digest]

    def _tags(self, task: RenderTask) -> dict[str, str]:
        return provenance_tags(
            model=self._setting.model,
            model_digest=self._setting.model_digest,
            portrait_sha256=task.portrait_sha256,
            audio_sha256=task.audio_sha256,
            style=task.style.name,
            style_digest=task.style.digest,
            settings_digest=self._setting.spec.digest(),
        )

    def _facts(self, task: RenderTask) -> dict[str, object]:
        setting = self._setting
        return {
            "portrait_sha256": task.portrait_sha256,
            "audio_sha256": task.audio_sha256,
            "model": {
                "title": setting.model,
                "uri": setting.model_uri,
                "digest": setting.model_digest,
            },
            "style": {"name": task.style.name, "digest": task.style.digest},
            "spec": setting.spec.model_dump(mode="json"),
            "faces": setting.faces,
        }
