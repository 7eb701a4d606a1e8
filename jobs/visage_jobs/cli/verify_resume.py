"""`visage verify-resume`: prove from the ledger that nothing was lost or repeated."""

from __future__ import annotations

from typing import Annotated

import typer

from visage_jobs.cli.console import (
    JsonFlag,
    WorkspaceOption,
    emit,
    verb,
)


def register(app: typer.Typer) -> None:
    """Add the verb to the app."""
    app.command("verify-resume")(verify_resume)


@verb
def verify_resume(
    run: Annotated[str, typer.Argument(help="A run: a URI, or a name in the workspace.")],
    workspace: WorkspaceOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Compare what a run consumed with the order its spec prescribes, step by step.

    Whatever was killed, resumed or resized: every committed step must have read exactly its
    samples, once. Exit 1 if not.

    Example: visage verify-resume emotion-3fa9c1d2
    """
    from visage.training.verify import verify_run
    from visage_jobs.workspace import Workspace

    uri = run if "/" in run else Workspace.open(workspace).run(run)
    report = verify_run(uri)
    result = {
        "run": uri,
        "steps": report.steps,
        "samples": report.samples,
        "worlds": list(report.worlds),
        "exact": report.is_exact,
        "problems": list(report.problems),
    }

    def text() -> str:
        head = (
            f"{report.steps} steps, {report.samples} samples, "
            f"workers {' → '.join(map(str, report.worlds)) or 'none'}: "
        )
        if report.is_exact:
            return head + "exact (nothing lost, nothing repeated, nothing out of order)"
        return head + "NOT exact\n" + "\n".join(report.problems[:20])

    emit(result, as_json=as_json, table=text)
    if not report.is_exact:
        raise typer.Exit(1)
