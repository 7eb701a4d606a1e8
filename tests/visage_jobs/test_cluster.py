"""Whose Ray a command uses."""

from __future__ import annotations

import pytest

from visage_jobs.cluster import ray_session


@pytest.mark.parametrize(
    ("asked", "joined"), [(None, "local"), ("ray://head:10001", "ray://head:10001")]
)
def test_a_command_joins_another_head_only_if_it_was_told_to(
    asked: str | None, joined: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Left to itself, Ray joins whatever head was started on this machine, and then refuses."""
    import ray

    seen: list[object] = []
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **given: seen.append(given["address"]))
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    with ray_session(address=asked):
        pass
    assert seen == [joined]
