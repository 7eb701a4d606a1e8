"""The work of `visage synth`: choose the corpus, say what it costs, draw it, tell what is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from rich.table import Table

from visage.errors import SpecError
from visage.synth.caer import write_caer
from visage.synth.caer_s import write_caer_s
from visage.synth.common_voice import write_common_voice
from visage.synth.contact_sheet import write_contact_sheet
from visage.synth.cues import bayes_accuracy
from visage.synth.production import Progress, SynthReport
from visage.synth.ravdess import FPS, write_ravdess
from visage.synth.spec import (
    CaerSpec,
    CaerSSpec,
    CommonVoiceSpec,
    CorpusSpec,
    RavdessSpec,
    VoxCeleb2Spec,
)
from visage.synth.style_sheet import write_style_sheet
from visage.synth.voxceleb2 import write_voxceleb2

__all__ = ["draw", "forecast", "outcome", "refuse_without_target", "render", "sheet", "spec_of"]

_Spec = CaerSSpec | CaerSpec | RavdessSpec | VoxCeleb2Spec | CommonVoiceSpec
_WITHOUT_CLASSES: dict[str, tuple[type[RavdessSpec | VoxCeleb2Spec | CommonVoiceSpec], str]] = {
    "ravdess": (RavdessSpec, "--set actors=4 --set statements=2"),
    "voxceleb2": (VoxCeleb2Spec, "--set identities=12 --set clips=4"),
    "common-voice": (CommonVoiceSpec, "--set speakers=24 --set clips=8"),
}
# Measured on drawn corpora of the default size; the content hardly changes them.
_BYTES_A_PIXEL = {"jpg": 0.13, "png": 0.57}
_BYTES_A_VIDEO_PIXEL = {"caer": 0.033, "ravdess": 0.006, "voxceleb2": 0.009}
_TRUTH_BYTES_A_FRAME = 1_400
_SOUND_BYTES_A_SECOND = 12_000


def spec_of(layout: str, *, seed: int, per_class: int | None, assignments: Sequence[str]) -> _Spec:
    """The spec of a layout; raises SpecError for an unknown layout, key or value."""
    if layout == "caer-s":
        return CaerSSpec.load(seed=seed, per_class=per_class, assignments=assignments)
    if layout == "caer":
        return CaerSpec.load(seed=seed, per_class=per_class, assignments=assignments)
    if layout in _WITHOUT_CLASSES:
        spec_class, instead = _WITHOUT_CLASSES[layout]
        if per_class is not None:
            raise SpecError(f"{layout} has no --per-class; use {instead}")
        return spec_class.load(seed=seed, assignments=assignments)
    raise SpecError(
        f"no layout {layout!r}; choose caer-s, caer, ravdess, voxceleb2 or common-voice"
    )


def refuse_without_target(layout: str) -> NoReturn:
    """Raise SpecError: neither a folder nor a contact sheet was asked for."""
    raise SpecError(f"say where to: visage synth {layout} OUT (or --contact-sheet FILE alone)")


def forecast(spec: _Spec, out: Path | None) -> dict[str, object]:
    """Files and bytes before anything is drawn, and the best possible accuracies."""
    return {
        "layout": spec.layout,
        "root": None if out is None else str(out),
        "files": spec.total(),
        "size_bytes_estimate": round(spec.total() * _file_bytes(spec)),
        **_ceilings(spec),
    }


def draw(spec: _Spec, out: Path, *, workers: int | None, progress: Progress | None) -> SynthReport:
    """Draw the corpus; raises DataError if the folder holds another one."""
    if isinstance(spec, CaerSSpec):
        return write_caer_s(out, spec, workers=workers, progress=progress)
    if isinstance(spec, CaerSpec):
        return write_caer(out, spec, workers=workers, progress=progress)
    if isinstance(spec, VoxCeleb2Spec):
        return write_voxceleb2(out, spec, workers=workers, progress=progress)
    if isinstance(spec, CommonVoiceSpec):
        return write_common_voice(out, spec, workers=workers, progress=progress)
    return write_ravdess(out, spec, workers=workers, progress=progress)


def outcome(spec: _Spec, report: SynthReport) -> dict[str, object]:
    """What was made, as plain values."""
    return {
        "layout": report.layout,
        "root": str(report.root),
        "files": report.written + report.kept,
        "written": report.written,
        "kept": report.kept,
        "size_bytes": report.size_bytes,
        "seconds": round(report.seconds, 2),
        "files_per_s": round(report.written / max(report.seconds, 1e-6), 1),
        "counts": report.counts,
        **_ceilings(spec),
    }


def sheet(spec: _Spec, path: Path) -> Path:
    """Write a contact sheet of a caer-s or voxceleb2 spec; SpecError for another layout."""
    if isinstance(spec, VoxCeleb2Spec):
        return write_style_sheet(path, spec)
    if not isinstance(spec, CaerSSpec):
        raise SpecError(
            f"--contact-sheet shows pictures or styles; {spec.layout} has none, use caer-s or "
            "voxceleb2"
        )
    return write_contact_sheet(path, spec)


def render(result: Mapping[str, object]) -> Table:
    """A result as a table for people."""
    table = Table(show_header=False, box=None)
    for name, value in result.items():
        if name == "counts" and isinstance(value, Mapping):
            for split, classes in value.items():
                total = sum(classes.values())
                told = ", ".join(f"{label} {count}" for label, count in classes.items())
                table.add_row(f"  {split}", f"{total}: {told}")
        elif isinstance(value, Mapping):
            told = ", ".join(f"{cue} {share:.1%}" for cue, share in value.items())
            table.add_row(name.replace("_", " "), told)
        elif name.startswith("size_bytes") and isinstance(value, int):
            table.add_row(name.replace("size_bytes", "size").replace("_", " "), _size(value))
        elif value is not None:
            table.add_row(name.replace("_", " "), str(value))
    return table


def _file_bytes(spec: _Spec) -> float:
    """About how large one picture, clip or sound is, with its truth."""
    if isinstance(spec, CaerSSpec):
        return spec.width * spec.height * _BYTES_A_PIXEL[spec.image_format]
    if isinstance(spec, CaerSpec):
        return spec.width * spec.height * spec.frames * _BYTES_A_VIDEO_PIXEL["caer"]
    if isinstance(spec, CommonVoiceSpec):
        return 0.5 * (spec.shortest_s + spec.longest_s) * spec.bit_rate / 8
    if isinstance(spec, VoxCeleb2Spec):
        frame = spec.size**2 * _BYTES_A_VIDEO_PIXEL["voxceleb2"] + _TRUTH_BYTES_A_FRAME
        return spec.seconds * (spec.fps * frame + _SOUND_BYTES_A_SECOND * (1 + spec.sounds))
    pixels, frames = spec.width * spec.height, float(spec.duration_s * FPS)
    picture = pixels * frames * _BYTES_A_VIDEO_PIXEL["ravdess"]
    return picture + spec.duration_s * _SOUND_BYTES_A_SECOND


def _ceilings(spec: CorpusSpec) -> dict[str, object]:
    if isinstance(spec, CaerSSpec | CaerSpec):
        return {
            "best_possible_accuracy": {
                "face": round(bayes_accuracy(spec.cues, using="face"), 4),
                "context": round(bayes_accuracy(spec.cues, using="context"), 4),
                "both": round(bayes_accuracy(spec.cues, using="both"), 4),
            }
        }
    return {}


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.1f} MB"
