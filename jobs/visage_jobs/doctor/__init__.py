"""`visage doctor`: is everything here that the work needs, and if not, what to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import gettempdir

from visage_jobs.doctor.check import Check, guarded
from visage_jobs.workspace import Workspace

__all__ = ["Check", "run_doctor"]

Group = tuple[str, Callable[[], list[Check]]]


def run_doctor(
    workspace: Workspace, *, watch: Callable[[str], None] = lambda name: None
) -> list[Check]:
    """All checks in the order of repair; `watch` hears the name of each group as it begins."""
    found: list[Check] = []
    for name, run in _groups(workspace):
        watch(name)
        found.extend(guarded(name, run))
    return found


def _groups(workspace: Workspace) -> list[Group]:
    """Each group imports what it needs only when it runs."""
    from visage_jobs.doctor import machine, packages, services

    folder = Path(workspace.root) if workspace.is_local else Path(gettempdir())

    def store() -> list[Check]:
        is_s3 = workspace.root.startswith("s3://")
        opened = services.open_patient_store(workspace.root)
        checks = [services.check_store(opened, with_multipart=is_s3)]
        return [*checks, services.check_skew()] if is_s3 else checks

    return [
        ("python", lambda: [packages.check_python()]),
        ("packages", lambda: [packages.check_versions()]),
        ("imports", packages.check_imports),
        ("gpu", machine.check_gpus),
        ("faces", lambda: [services.check_faces()]),
        ("media sandbox", lambda: [machine.check_sandbox()]),
        ("shared memory", lambda: [machine.check_shared_memory()]),
        ("file limit", lambda: [machine.check_files()]),
        ("disk", lambda: [machine.check_disk(folder)]),
        ("clock", lambda: [machine.check_clock()]),
        ("store", store),
        ("mlflow", lambda: [services.check_tracking(workspace.tracking_uri())]),
    ]
