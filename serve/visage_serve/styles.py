"""The styles that a talking head is served with: those of the model, and those made by people.

What `visage transfer-style` puts into the workspace while the service runs is found at the next
request; a name there goes before the same name of the model, as it does for `visage animate`.
"""

from __future__ import annotations

from visage.errors import SpecError
from visage.inference.style_card import StyleCard, check_style_name, load_style_card
from visage.inference.talking_head import TalkingHead
from visage.store.base import join_uri
from visage.store.open import open_store
from visage_serve.refusal import Refusal
from visage_serve.wire import StyleReply, StylesReply

__all__ = ["StyleShelf"]

MARKER = "/COMMIT"


class StyleShelf:
    """Finds styles by name; its methods read from the store and are for threads."""

    def __init__(self, head: TalkingHead, styles_uri: str | None = None) -> None:
        """styles_uri: where made styles lie; None = the model's only."""
        self._head = head
        self._uri = styles_uri

    def list(self) -> StylesReply:
        """All names: the model's in its order, then what people made."""
        made = self._made()
        styles = [
            StyleReply(name=name, origin="made" if name in made else "model")
            for name in (*self._head.styles, *sorted(made - set(self._head.styles)))
        ]
        return StylesReply(styles=styles, default=self._head.style(None).name)

    def find(self, name: str) -> StyleCard:
        """A style by name.

        Raises:
            Refusal: 404 `unknown_style` naming those that there are, 422 `wrong_style` for one
                that was made for another model.
        """
        if self._is_made(name):
            card = load_style_card(join_uri(self._uri or "", name))
            try:
                self._head.motion_in(card)
            except SpecError as err:
                raise Refusal(422, "wrong_style", str(err), field="style") from None
            return card
        if name not in self._head.styles:
            known = ", ".join(each.name for each in self.list().styles)
            raise Refusal(
                404, "unknown_style", f"there is no style {name[:80]!r}; there are {known}",
                field="style",
            )  # fmt: skip
        return self._head.style(name)

    def _is_made(self, name: str) -> bool:
        if self._uri is None:
            return False
        try:
            check_style_name(name)
        except SpecError:  # could be no folder
            return False
        return open_store(self._uri).stat(name + MARKER) is not None

    def _made(self) -> set[str]:
        if self._uri is None:
            return set()
        keys = (each.key for each in open_store(self._uri).list())
        return {
            key.removesuffix(MARKER)
            for key in keys
            if key.endswith(MARKER) and key.count("/") == MARKER.count("/")
        }
