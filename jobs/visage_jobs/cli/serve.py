"""`visage serve`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from visage_jobs.cli.console import JsonFlag, SetOption, emit, say, verb

if TYPE_CHECKING:
    from visage.specs.serve import ServeSpec


def register(app: typer.Typer) -> None:
    """Add the verb to the app."""
    app.command("serve")(serve)


@verb
def serve(
    model: Annotated[
        str | None,
        typer.Option(help="A registry reference, or a model's URI.  [emotion@champion]"),
    ] = None,
    port: Annotated[int | None, typer.Option(help="TCP port to listen on.  [8000]")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.  [127.0.0.1]")] = None,
    replicas: Annotated[
        int | None, typer.Option(help="Processes that each hold the model.  [1]")
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="YAML file with keys of the serve spec.")
    ] = None,
    assign: SetOption = None,
    workspace: Annotated[str | None, typer.Option(help="Folder or s3:// prefix.")] = None,
    address: Annotated[str | None, typer.Option(help="Ray cluster; default this machine.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check model and port, start nothing.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Serve a model: POST pictures to /v1/emotion, or open the page in a browser.

    The model is found in the registry, pinned by its digest, and proven by a real inference before
    the first request. Ctrl-C or SIGTERM finishes what is in flight. There is no authentication, so
    it listens on this machine only, unless told otherwise.

    Example: visage serve --model emotion@champion --port 8000
    """
    from visage.specs.serve import ServeSpec
    from visage_jobs.presets import find_preset
    from visage_jobs.workspace import Workspace

    spec = ServeSpec.load(
        find_preset(preset) if preset else None,
        assignments=assign or (),
        model=model,
        port=port,
        host=host,
        replicas=replicas,
    )
    if spec.tracking_uri is None:
        found = Workspace.open(workspace).tracking_uri()
        spec = spec.model_copy(update={"tracking_uri": found})
    if dry_run:
        _show_plan(spec, as_json=as_json)
    else:
        _serve_until_stopped(spec, address=address, as_json=as_json)


def _show_plan(spec: ServeSpec, *, as_json: bool) -> None:
    from dataclasses import asdict

    from visage_jobs.serve import check_port
    from visage_serve.pinned import pin_model

    pinned = pin_model(spec)
    check_port(spec.host, spec.port)
    emit(
        {"model": asdict(pinned), "spec": spec.model_dump(mode="json")},
        as_json=as_json,
        table=lambda: (
            f"{pinned.title} from {pinned.uri}\n"
            f"on {spec.host}:{spec.port}, {spec.replicas} replica(s); nothing was started"
        ),
    )


def _serve_until_stopped(spec: ServeSpec, *, address: str | None, as_json: bool) -> None:
    from dataclasses import asdict

    from visage_jobs.serve import serving, wait_for_stop

    say("▸ starting Ray Serve …")
    with serving(spec, address=address) as endpoint:
        emit(
            {"url": endpoint.url, "model": asdict(endpoint.model), "example": endpoint.example()},
            as_json=as_json,
            table=lambda: (
                f"✓ {endpoint.model.title} answers at {endpoint.url}\n"
                f"  page  {endpoint.url}/\n"
                f"  try   {endpoint.example()}"
            ),
        )
        say("Ctrl-C to stop")
        reason = wait_for_stop()
        say(f"{reason}: finishing what is in flight …")
    say("✓ stopped")
