"""What every verb shows a person: errors as sentences, tables or JSON, bars with rate and ETA.

Results go to stdout, everything else to stderr, so that `visage … --json | jq` always works.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import json
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Annotated, Literal, ParamSpec, TextIO

import typer

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = [
    "AddressOption",
    "DryRunFlag",
    "FacesOption",
    "JsonFlag",
    "SetOption",
    "Stages",
    "WorkspaceOption",
    "bar",
    "emit",
    "ending_clean",
    "say",
    "verb",
]

P = ParamSpec("P")
_stdout: ContextVar[TextIO | None] = ContextVar("stdout", default=None)
"""Where the running verb's answer goes; None = sys.stdout."""

JsonFlag = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Override one spec key, e.g. model.dropout=0.3."
    ),
]


WorkspaceOption = Annotated[
    str | None, typer.Option("--workspace", help="Folder or s3:// prefix; default ./workspace.")
]
AddressOption = Annotated[
    str | None, typer.Option("--address", help="Ray cluster; default this machine.")
]
FacesOption = Annotated[
    Literal["auto", "dlib68", "fan"], typer.Option(help="What finds face and landmarks.")
]
DryRunFlag = Annotated[bool, typer.Option("--dry-run", help="Say what would be done.")]


def verb(function: Callable[P, None]) -> Callable[P, None]:
    """Turn VisageError into one sentence on stderr and its exit code; no traceback for user errors.

    Stdout is for the answer alone (`emit`): what libraries print meanwhile goes to stderr, or a
    worker's end, which Ray prints, would stand in front of the JSON.
    """

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        from visage.errors import VisageError

        given = _stdout.set(sys.stdout)
        try:
            with contextlib.redirect_stdout(sys.stderr):
                function(*args, **kwargs)
        except VisageError as err:
            typer.secho(f"error: {err}", fg=typer.colors.RED, err=True)
            raise typer.Exit(err.exit_code) from None
        except KeyboardInterrupt:
            typer.secho("interrupted; what was committed is kept", fg=typer.colors.YELLOW, err=True)
            raise typer.Exit(130) from None
        finally:
            _stdout.reset(given)

    run.__doc__ = _paragraphs(function.__doc__ or "")
    return run


def _paragraphs(doc: str) -> str:
    """A docstring whose paragraphs are a line each, for the terminal to wrap as wide as it is."""
    blocks = inspect.cleandoc(doc).replace("[", r"\[").split("\n\n")  # brackets are markup to rich
    return "\n\n".join(" ".join(block.split("\n")) for block in blocks)


@contextmanager
def ending_clean() -> Iterator[None]:
    """Inside, SIGTERM and a terminal that closes end the verb as Ctrl-C does.

    What stands half-made is then removed, as Python's own way to die would not.
    """

    def interrupt(*_: object) -> None:
        for one in before:
            signal.signal(one, signal.SIG_IGN)  # once is enough; cleaning up takes a moment
        raise KeyboardInterrupt

    before = {one: signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGHUP)}
    for one, handler in before.items():
        if handler is not signal.SIG_IGN:  # nohup wishes that it goes on
            signal.signal(one, interrupt)
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def say(text: str) -> None:
    """One line for a person, on stderr."""
    typer.echo(text, err=True)


def emit(result: Mapping[str, object], *, as_json: bool, table: Callable[[], object]) -> None:
    """Print a result: JSON on stdout, or what `table` returns (a rich renderable or text)."""
    if as_json:
        typer.echo(json.dumps(result, indent=2, default=str), file=_stdout.get())
        return
    from rich.console import Console

    shown = table()
    is_text = isinstance(shown, str)  # a command to paste stays whole
    Console(file=_stdout.get()).print(shown, soft_wrap=is_text)


class Stages:
    """Times named stages and prints each as it ends; `seconds` says where the time went."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Announce, run and time one stage; a failed stage is not recorded."""
        say(f"▸ {name} …")
        start = self._clock()
        yield
        self.seconds[name] = self._clock() - start
        say(f"✓ {name}  {self.seconds[name]:.1f} s")

    def summary(self) -> str:
        """One line: the total and each stage, longest first."""
        total = sum(self.seconds.values())
        parts = sorted(self.seconds.items(), key=lambda item: -item[1])
        return f"{total:.1f} s: " + ", ".join(f"{name} {spent:.1f}" for name, spent in parts)


@contextmanager
def bar(*, quiet: bool = False) -> Iterator[Progress]:
    """A progress bar on stderr with count, rate and time left; silent when `quiet`.

    Add tasks with `progress.add_task("preparing", total=n)`, move them with `progress.advance`.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        """Items per second over the recent past."""

        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text(f"{speed:.1f}/s" if speed else "-/s")

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(file=sys.stderr), disable=quiet) as progress:
        yield progress
