"""Finding a talking head and its styles by name, for every verb that uses one.

A style is looked for among those that were made here (`visage transfer-style`, under `styles/` of
the workspace), then among those of the model.
"""

from __future__ import annotations

from dataclasses import dataclass

from visage.errors import CorruptError
from visage.inference.style_card import StyleCard, check_style_name, load_style_card
from visage.inference.talking_head import TalkingHead, load_talking_head
from visage.store.base import join_uri
from visage.store.open import open_store
from visage_jobs.workspace import Workspace
from visage_serve.pinned import HOW_TO_GET_A_HEAD, PinnedModel, pin_reference

__all__ = ["DEFAULT_MODEL", "FoundHead", "find_style", "find_talking_head", "styles_uri"]

DEFAULT_MODEL = "talking-head@champion"


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundHead:
    """A loaded model and what it is called."""

    head: TalkingHead
    pinned: PinnedModel


def find_talking_head(
    workspace: Workspace, model: str = DEFAULT_MODEL, *, device: str = "cpu"
) -> FoundHead:
    """The model behind an alias, a version or a URI, loaded and checked.

    Raises:
        NotFoundError: there is none; says how to get one.
        CorruptError: other weights lie there than were registered.
    """
    pinned = pin_reference(
        model, tracking_uri=workspace.tracking_uri(), how_to_get_one=HOW_TO_GET_A_HEAD
    )
    head = load_talking_head(pinned.uri, device=device)
    if head.digest != pinned.digest:
        raise CorruptError(f"{pinned.uri}: the model changed while it was read; try again")
    return FoundHead(head=head, pinned=pinned)


def find_style(workspace: Workspace, head: TalkingHead, name: str | None) -> StyleCard:
    """A style of the workspace or of the model; None is the model's default.

    Raises:
        SpecError: there is none of that name, or it belongs to another model.
    """
    if name is None:
        return head.style(None)
    check_style_name(name)
    store = open_store(workspace.root)
    if store.stat(f"styles/{name}/COMMIT") is not None:
        card = load_style_card(styles_uri(workspace, name))
        head.motion_in(card)  # refuses a style of another model before anything is rendered
        return card
    return head.style(name)


def styles_uri(workspace: Workspace, name: str) -> str:
    """Where a style that was made here lies."""
    return join_uri(workspace.styles(), name)
