"""One forking server and one undisturbed life for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from life import LifeServer, Lived, write_pictures


@pytest.fixture(scope="package")
def lives(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LifeServer]:
    """A server that lives the whole life of a small model as often as it is asked to."""
    folder = tmp_path_factory.mktemp("lives")
    write_pictures(folder / "pictures")
    server = LifeServer(folder)
    yield server
    server.close()


@pytest.fixture(scope="package")
def unbroken(lives: LifeServer, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Lived]:
    """The workspace of a life that nothing disturbed, and how that life went."""
    workspace = tmp_path_factory.mktemp("unbroken")
    lived = lives.live(workspace)
    assert lived.status == 0, lived.said
    return workspace, lived
