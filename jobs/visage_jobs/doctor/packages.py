"""Are the packages here the ones this version was built with, and do the heavy ones import?"""

from __future__ import annotations

import platform
import warnings
from collections.abc import Callable, Iterable
from importlib import import_module, metadata

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from visage.models.audio_backend import load_torchaudio
from visage_jobs.doctor.check import Check, fail, ok, warn

__all__ = ["check_imports", "check_python", "check_ranges", "check_versions"]

_IMPORTS = {
    "torch": "install torch and everything that needs it in one command, as `make setup` does",
    "torchaudio": "reinstall torchaudio in the pinned version",
    "ray": "reinstall ray in the pinned version",
}


def check_python() -> Check:
    """This Python is one that the package allows."""
    allowed = metadata.metadata("visage")["Requires-Python"]
    version = platform.python_version()
    if SpecifierSet(allowed).contains(version, prereleases=True):
        return ok("python", version)
    return fail(
        "python", f"{version}, needed {allowed}", "make a virtual environment with that Python"
    )


def check_versions() -> Check:
    """Every dependency is installed in the range the package states."""
    return check_ranges(metadata.requires("visage") or [], _installed)


def check_ranges(requirements: Iterable[str], installed: Callable[[str], str | None]) -> Check:
    """Compare requirement lines with what `installed` finds; extras are left out."""
    wrong, count = [], 0
    for line in requirements:
        wanted = Requirement(line)
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        count += 1
        found = installed(wanted.name)
        if found is None:
            wrong.append(f"{wanted.name} is missing")
        elif not wanted.specifier.contains(found, prereleases=True):
            wrong.append(f"{wanted.name} is {found}, needed {wanted.specifier}")
    if wrong:
        return fail("packages", "; ".join(wrong), "install again with the lock file (`make setup`)")
    return ok("packages", f"{count} packages in their ranges")


def check_imports() -> list[Check]:
    """The packages that break at import, rather than at installation, import."""
    return [_check_import(name, advice) for name, advice in _IMPORTS.items()]


def _check_import(name: str, advice: str) -> Check:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = load_torchaudio() if name == "torchaudio" else import_module(name)
    except (ImportError, OSError) as err:
        reason = (str(err).splitlines() or [type(err).__name__])[0][:160]
        severity = warn if name == "torchaudio" else fail  # only audio needs it
        return severity(name, f"does not import: {reason}", advice)
    return ok(name, str(getattr(module, "__version__", "imports")))


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
