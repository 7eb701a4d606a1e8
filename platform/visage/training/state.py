"""The state of a run beside its weights: small, plain, JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from visage.errors import CorruptError

__all__ = ["Best", "RunState", "Validation"]

STATE_SCHEMA = "visage.checkpoint/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """One look at the validation split."""

    step: int
    score: float
    """What `best` maximises; accuracy for `emotion`."""
    loss: float
    means: dict[str, float] = field(default_factory=dict)
    """Everything else that the recipe measured; empty in older states."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Best:
    """The checkpoint with the best validation so far."""

    step: int
    score: float
    checkpoint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunState:
    """Position and history; `step` steps are done."""

    step: int = 0
    ledger: str | None = None
    """Newest ledger segment on this state's chain."""
    validations: tuple[Validation, ...] = ()
    best: Best | None = None
    scalers: dict[str, dict[str, float]] = field(default_factory=dict)
    """Gradient scaler state by phase."""

    def advanced(self) -> RunState:
        """One step further."""
        return replace(self, step=self.step + 1)

    def to_json(self) -> bytes:
        """The persisted form."""
        return json.dumps({"schema": STATE_SCHEMA, **asdict(self)}, sort_keys=True).encode()

    @classmethod
    def from_json(cls, body: bytes, *, origin: str) -> RunState:
        """Read a saved state; CorruptError names an unknown schema or damage."""
        try:
            values: dict[str, Any] = json.loads(body)
            schema = values.pop("schema")
            if schema != STATE_SCHEMA:
                raise CorruptError(
                    f"{origin}: checkpoint schema {schema!r}; this version reads {STATE_SCHEMA!r}"
                )
            values["validations"] = tuple(Validation(**one) for one in values["validations"])
            values["best"] = Best(**values["best"]) if values["best"] else None
            return cls(**values)
        except (ValueError, KeyError, TypeError) as err:
            raise CorruptError(f"{origin}: damaged state: {err}") from None
