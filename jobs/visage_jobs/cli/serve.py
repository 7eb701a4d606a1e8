"""`visage serve`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from visage_jobs.cli.console import JsonFlag, SetOption, emit, say, verb

if TYPE_CHECKING:
    from visage.specs.serve import ServeSpec
    from visage_jobs.workspace import Workspace
    from visage_serve.pinned import PinnedModels


def register(app: typer.Typer) -> None:
    """Add the verb to the app."""
    app.command("serve")(serve)


@verb
def serve(
    model: Annotated[
        str | None,
        typer.Option(help="Emotion model: a registry reference, or a model's URI."),
    ] = None,
    talking_head: Annotated[
        str | None, typer.Option(help="Talking head, named likewise.  [all champions there are]")
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
    """Serve models: POST pictures to /v1/emotion, portrait and sound to /v1/talking-head, or open
    the page in a browser.

    Without names it serves every champion that is registered. Models are pinned by their digests
    and proven by real inferences before the first request. Ctrl-C or SIGTERM finishes what is in
    flight. There is no authentication, so it listens on this machine only, unless told otherwise.

    Example: visage serve --model emotion@champion --talking-head talking-head@champion
    """
    from visage.specs.serve import ServeSpec
    from visage_jobs.presets import find_preset
    from visage_jobs.workspace import Workspace

    spec = ServeSpec.load(
        find_preset(preset) if preset else None,
        assignments=assign or (),
        model=model,
        talking_head=talking_head,
        port=port,
        host=host,
        replicas=replicas,
    )
    spec = _in_workspace(spec, Workspace.open(workspace))
    if dry_run:
        _show_plan(spec, as_json=as_json)
    else:
        _serve_until_stopped(spec, address=address, as_json=as_json)


def _in_workspace(spec: ServeSpec, workspace: Workspace) -> ServeSpec:
    """The spec with registry and styles of the workspace, where it names none itself."""
    changes: dict[str, object] = {}
    if spec.tracking_uri is None:
        changes["tracking_uri"] = workspace.tracking_uri()
    if spec.heads.styles_uri is None:
        changes["heads"] = spec.heads.model_copy(update={"styles_uri": workspace.styles()})
    return spec.model_copy(update=changes)


def _show_plan(spec: ServeSpec, *, as_json: bool) -> None:
    from visage_jobs.serve import check_port
    from visage_serve.pinned import pin_models

    pinned = pin_models(spec)
    check_port(spec.host, spec.port)
    lines = [f"{one.title} from {one.uri}" for one in pinned.present()]
    lines.append(f"on {spec.host}:{spec.port}, {spec.replicas} replica(s); nothing was started")
    emit(
        {"models": _as_json(pinned), "spec": spec.model_dump(mode="json")},
        as_json=as_json,
        table=lambda: "\n".join(lines),
    )


def _serve_until_stopped(spec: ServeSpec, *, address: str | None, as_json: bool) -> None:
    from visage_jobs.serve import serving, wait_for_stop

    say("▸ starting Ray Serve …")
    with serving(spec, address=address) as endpoint:
        url, examples = endpoint.url, endpoint.examples()
        titles = " and ".join(one.title for one in endpoint.models.present())
        lines = [f"✓ {titles} at {url}", f"  page  {url}/"]
        emit(
            {"url": url, "models": _as_json(endpoint.models), "examples": examples},
            as_json=as_json,
            table=lambda: "\n".join([*lines, *(f"  try   {one}" for one in examples)]),
        )
        say("Ctrl-C to stop")
        reason = wait_for_stop()
        say(f"{reason}: finishing what is in flight …")
    say("✓ stopped")


def _as_json(pinned: PinnedModels) -> dict[str, object]:
    from dataclasses import asdict

    found: dict[str, object] = asdict(pinned)
    return found
