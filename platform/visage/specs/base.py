"""The base of all specs: frozen, validated, closed to unknown keys, with one digest.

A value is looked up in one order: the default in the class, then a YAML preset, then `--set a.b=c`.
The digest is taken over the resolved values, so two ways of saying the same thing are the same
spec.
"""

from __future__ import annotations

import copy
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from visage.errors import SpecError

__all__ = ["Spec", "parse_assignment"]

EXPONENT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")


class Spec(BaseModel):
    """A frozen, closed, digestible description of one piece of work."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )

    @classmethod
    def parse(cls, values: Mapping[str, object], *, origin: str = "spec") -> Self:
        """Validate plain values; raises SpecError naming each field, the reason and the origin."""
        try:
            return cls.model_validate(values)
        except ValidationError as err:
            raise SpecError(_explain(err, origin)) from None

    @classmethod
    def load(
        cls, preset: Path | None = None, *, assignments: Iterable[str] = (), **overrides: object
    ) -> Self:
        """Defaults, then the YAML file `preset`, then overrides, then `a.b=c` assignments."""
        values: dict[str, Any] = {}
        if preset is not None:
            values = _read_yaml(preset)
        given = {name: value for name, value in overrides.items() if value is not None}
        values.update(copy.deepcopy(given))  # assignments must not write into the caller's values
        for text in assignments:
            path, value = parse_assignment(text)
            _assign(values, path, value, text)
        return cls.parse(values, origin=str(preset) if preset else "spec")

    def digest(self) -> str:
        """SHA-256 of the resolved values: the identity of this spec."""
        body = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(body.encode()).hexdigest()

    def to_yaml(self) -> str:
        """The resolved values as YAML, to be written next to what they produced."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)

    def differences(self, other: Spec) -> list[str]:
        """Sentences `a.b: 1 here, 2 there` for every field in which the two specs differ."""
        mine = _flatten(self.model_dump(mode="json"))
        theirs = _flatten(other.model_dump(mode="json"))
        return [
            f"{key}: {mine.get(key, 'absent')} here, {theirs.get(key, 'absent')} there"
            for key in sorted({*mine, *theirs})
            if mine.get(key) != theirs.get(key)
        ]


def parse_assignment(text: str) -> tuple[tuple[str, ...], object]:
    """Split `a.b=c` into its path and its value, read as YAML: 3, 1e-3, true, [1, 2], text."""
    path, equals, value = text.partition("=")
    if not equals or not path.strip():
        raise SpecError(
            f"--set {text!r}: write it as key=value, for example --set model.dropout=0.3"
        )
    try:
        parsed = yaml.safe_load(value) if value else ""
    except yaml.YAMLError:
        raise SpecError(f"--set {text!r}: {value!r} is not a YAML value; quote it") from None
    return tuple(path.strip().split(".")), _with_numbers(parsed)


def _with_numbers(value: object) -> object:
    """The value with texts such as 1e-3 read as numbers: YAML 1.1 does not, but people do."""
    match value:
        case str():
            return float(value) if EXPONENT.fullmatch(value) else value
        case list():
            return [_with_numbers(one) for one in value]
        case dict():
            return {key: _with_numbers(one) for key, one in value.items()}
    return value


def _assign(values: dict[str, Any], path: tuple[str, ...], value: object, text: str) -> None:
    at = values
    for name in path[:-1]:
        at = at.setdefault(name, {})
        if not isinstance(at, dict):
            raise SpecError(f"--set {text!r}: {name!r} is a value, it has no keys under it")
    at[path[-1]] = value


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise SpecError(f"{path}: no such preset") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as err:
        raise SpecError(f"{path}: not readable as YAML: {err}") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise SpecError(f"{path}: a preset is a mapping of keys to values")
    return values


def _explain(err: ValidationError, origin: str) -> str:
    lines = []
    for problem in err.errors():
        field = ".".join(str(part) for part in problem["loc"]) or "(whole)"
        if problem["type"] == "extra_forbidden":
            lines.append(f"{origin}: {field}: no such key; check the spelling")
        else:
            lines.append(f"{origin}: {field}: {problem['msg'].removeprefix('Value error, ')}")
    return "\n".join(lines)


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat.update(_flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat
