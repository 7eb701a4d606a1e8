"""Intermediate style patterns (ISPs), computed once for each neutral picture, reference and model.

A pattern shows the neutral picture's person in the reference's motion. It depends on nothing else,
costs a teraflop at published size, and the generator asks for the same four in every frame of a
style, so it is kept: in memory up to a limit, and in a folder or bucket if one is given (through
`visage.store.commit`, so that readers see whole patterns or none).

Invariant: a pattern is the same whether it was just computed, remembered or read back. What is
handed out is always the stored form, eight bits a channel.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from visage.errors import AlreadyExistsError, CorruptError, SpecError
from visage.store.base import Store
from visage.store.commit import commit, read_commit, read_part

__all__ = ["Mapper", "StylePatterns", "content_key"]

Mapper = Callable[[Tensor, Tensor], Tensor]
"""(neutral (3, S, S), references (R, 3, S, S)) to patterns (R, 3, O, O), all in [-1, 1]: a
`StyleMapping` or anything like it."""

PART = "pattern.safetensors"
DEFAULT_LIMIT_BYTES = 1 << 30


class StylePatterns:
    """A bounded memory of patterns in front of a mapper; safe to share between threads."""

    def __init__(
        self,
        mapper: Mapper,
        *,
        model_digest: str,
        limit_bytes: int = DEFAULT_LIMIT_BYTES,
        store: Store | None = None,
    ) -> None:
        """Wrap a mapper.

        Args:
            mapper: Called without gradients, only for patterns not known yet.
            model_digest: Identity of the mapper's weights and spec; another digest, other keys.
            limit_bytes: Most that memory holds; what was not used for longest goes first.
            store: Where patterns outlive the process.

        Raises:
            SpecError: no digest, or a limit that is not positive.
        """
        if not model_digest:
            raise SpecError("style patterns need the digest of the model that makes them")
        if limit_bytes < 1:
            raise SpecError(f"style patterns: limit_bytes {limit_bytes} must be at least 1")
        self._mapper, self._digest, self._store = mapper, model_digest, store
        self._limit_bytes, self._held_bytes = limit_bytes, 0
        self._known: OrderedDict[str, Tensor] = OrderedDict()
        self._lock = threading.Lock()
        self.computed = 0
        """Patterns that the mapper had to compute so far."""

    def __call__(
        self, neutral: Tensor, references: Tensor, *, key: bytes | str | None = None
    ) -> Tensor:
        """The pattern of each reference.

        Args:
            neutral: (3, S, S) in [-1, 1].
            references: (R, 3, S, S) in [-1, 1].
            key: Identity of all these pictures in this order (such as a row's style key). None
                takes it from their values, one by one, so that styles can share patterns.

        Returns:
            (R, 3, O, O) in [-1, 1] on the references' device, without gradient.
        """
        size = references.shape[-1]
        if key is None:
            of_neutral = content_key(neutral)
            sources = [f"{of_neutral}:{content_key(one)}" for one in references]
        else:
            text = key if isinstance(key, str) else key.hex()
            sources = [f"{text}:{index}" for index in range(len(references))]
        names = [_name(self._digest, size, source) for source in sources]
        with self._lock:
            found = self._found(names, neutral, references)
        return torch.stack([_restored(one) for one in found]).to(references.device)

    def of_batch(self, pictures: Tensor, keys: Tensor | None = None) -> Tensor:
        """Patterns of a batch of styles; equal rows are computed once.

        Args:
            pictures: (N, 1 + R, 3, S, S) in [-1, 1], the neutral one first.
            keys: (N, B) uint8, a style key a row; None takes the pictures' values.

        Returns:
            (N, R, 3, O, O) in [-1, 1].
        """
        names = [None] * len(pictures) if keys is None else [bytes(k.tolist()) for k in keys.cpu()]
        return torch.stack([
            self(row[0], row[1:], key=name) for row, name in zip(pictures, names, strict=True)
        ])  # fmt: skip

    def _found(self, names: Sequence[str], neutral: Tensor, references: Tensor) -> list[Tensor]:
        at_hand = {name: one for name in names if (one := self._recalled(name)) is not None}
        missing = [name for name in dict.fromkeys(names) if name not in at_hand]
        if missing:
            rows = [names.index(name) for name in missing]
            with torch.no_grad():
                made = self._mapper(neutral, references[rows])
            self.computed += len(missing)
            for name, pattern in zip(missing, made, strict=True):
                at_hand[name] = self._published(name, _stored(pattern))
                self._remember(name, at_hand[name])
        return [at_hand[name] for name in names]

    def _recalled(self, name: str) -> Tensor | None:
        if name in self._known:
            self._known.move_to_end(name)
            return self._known[name]
        found = self._read(name)
        if found is not None:
            self._remember(name, found)
        return found

    def _remember(self, name: str, pattern: Tensor) -> None:
        self._known[name] = pattern
        self._held_bytes += pattern.nbytes
        while self._held_bytes > self._limit_bytes and len(self._known) > 1:
            _, forgotten = self._known.popitem(last=False)
            self._held_bytes -= forgotten.nbytes

    def _published(self, name: str, pattern: Tensor) -> Tensor:
        """What stands in the store: this one, or another device's that came first."""
        if self._store is None:
            return pattern
        body = safetensors.torch.save({"pattern": pattern})
        try:
            commit(self._store, name, {PART: body}, metadata={"model": self._digest})
        except AlreadyExistsError:  # equal up to rounding, but of two only one may be used
            standing = self._read(name)
            return pattern if standing is None else standing
        return pattern

    def _read(self, name: str) -> Tensor | None:
        if self._store is None or read_commit(self._store, name) is None:
            return None
        try:
            return safetensors.torch.load(read_part(self._store, name, PART))["pattern"]
        except (SafetensorError, KeyError) as err:
            where = f"{self._store.uri}/{name}"
            raise CorruptError(f"{where}: not a style pattern; delete this folder") from err


def content_key(picture: Tensor) -> str:
    """SHA-256 of a picture's shape and values, whatever its device or memory layout."""
    values = picture.detach().float().cpu().contiguous()
    head = "x".join(str(side) for side in values.shape).encode()
    return hashlib.sha256(head + b":" + values.numpy().tobytes()).hexdigest()


def _name(digest: str, size: int, source: str) -> str:
    return hashlib.sha256(f"isp/1:{digest}:{size}:{source}".encode()).hexdigest()


def _stored(pattern: Tensor) -> Tensor:
    """[-1, 1] to uint8 on the CPU."""
    levels = (pattern.detach().float().clamp(-1, 1) + 1) * 127.5
    return levels.round().to(torch.uint8).cpu().contiguous()


def _restored(pattern: Tensor) -> Tensor:
    return pattern.float() / 127.5 - 1
