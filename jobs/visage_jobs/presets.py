"""Presets that ship with the package, and how a verb finds one by name or by path."""

from __future__ import annotations

from pathlib import Path

from visage.errors import SpecError

__all__ = ["default_preset", "find_preset", "preset_names"]

FOLDER = Path(__file__).parent / "configs"


def preset_names(verb: str = "") -> list[str]:
    """Names of the shipped presets, those of one verb if it is given."""
    return sorted(path.stem for path in FOLDER.glob(f"{verb}*.yaml"))


def default_preset(recipe: str) -> str:
    """The training preset of a recipe where none is named."""
    return "emotion-modern" if recipe == "emotion" else f"{recipe}-small"


def find_preset(name: str) -> Path:
    """The file of a shipped preset, or the file itself if a path is given."""
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        return path
    shipped = FOLDER / f"{name}.yaml"
    if not shipped.is_file():
        raise SpecError(f"no preset {name!r}; shipped are {', '.join(preset_names())}; "
                        "or give a path ending in .yaml")  # fmt: skip
    return shipped
