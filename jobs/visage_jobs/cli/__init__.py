"""The `visage` command: each verb is a module that imports what it needs when it runs.

Invariant: importing this package loads typer and nothing heavier, so that `visage --help` is
instant.
"""

from __future__ import annotations

import atexit
import os
import sys
from typing import NoReturn

import typer

from visage_jobs.cli import (
    animate,
    assemble,
    audit,
    demo,
    doctor,
    evaluate,
    ncaers,
    parts,
    prepare,
    promote,
    render,
    serve,
    synth,
    train,
    transfer_style,
    tune,
    verify_resume,
)

__all__ = ["app", "main"]

RETRY_LATER = 75

app = typer.Typer(
    name="visage",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help=(
        "Train, evaluate and serve talking heads and context-aware emotion recognition.\n\n"
        "Start with `visage demo`: the whole life of a model on a small corpus, in minutes."
    ),
)
for module in (
    demo,
    doctor,
    synth,
    audit,
    ncaers,
    prepare,
    train,
    transfer_style,
    tune,
    verify_resume,
    evaluate,
    promote,
    serve,
    assemble,
    animate,
    transfer_style,
    render,
    parts,
):
    module.register(app)


def main() -> None:
    """Entry point of the console script."""
    try:
        app()
    except SystemExit as done:
        if done.code == RETRY_LATER:
            _leave(RETRY_LATER)
        raise


def _leave(code: int) -> NoReturn:
    """End at once: whoever stopped us counts the seconds, and Python's goodbyes take several."""
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
