from __future__ import annotations

import json
from pathlib import Path

GOLDEN = Path(__file__).parent / "golden" / "openapi.json"


def test_the_schema_of_the_endpoint_is_the_one_that_clients_were_written_for(bench):
    """If the change is meant: write the new schema to the file, and think of who reads the old."""
    found = bench().ask("GET", "/openapi.json").json()
    found["info"].pop("version")
    assert found == json.loads(GOLDEN.read_text())
