"""The command line as a person meets it: instant help, sentences, exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from corpora import write_corpus
from typer import Typer
from typer.main import get_command
from typer.testing import CliRunner

from visage_jobs.cli import app
from visage_jobs.cli.console import emit, verb

GOLDEN = Path(__file__).parent / "cli.json"


def _flags() -> dict[str, list[str]]:
    """Every verb with its options, as typed."""

    def walk(command: object, path: str) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for name, sub in getattr(command, "commands", {}).items():
            found.update(walk(sub, f"{path} {name}".strip()))
        if not found:
            options = [text for one in command.params for text in one.opts]  # type: ignore[attr-defined]
            found[path] = sorted(text for text in options if text.startswith("--"))
        return found

    return walk(get_command(app), "")


def test_verbs_and_flags_are_those_that_were_agreed_on() -> None:
    """A new flag is a promise: write it into cli.json on purpose."""
    assert _flags() == json.loads(GOLDEN.read_text())


def test_help_loads_nothing_heavy() -> None:
    heavy = ["torch", "ray", "mlflow", "cv2", "pyarrow", "pydantic", "numpy", "boto3"]
    code = f"import sys, visage_jobs.cli; print([m for m in {heavy} if m in sys.modules])"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


@pytest.mark.parametrize("verb", sorted(_flags()))
def test_every_verb_explains_itself(verb: str) -> None:
    result = CliRunner().invoke(app, [*verb.split(), "--help"])
    assert result.exit_code == 0
    assert len(result.output.split()) > 30


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["train", "emotion", "--data", "nowhere"], 1, "visage prepare"),
        (["train", "nothing", "--data", "tiny"], 2, "unknown recipe 'nothing'"),
        (["train", "emotion", "--data", "tiny", "--preset", "none"], 2, "shipped are"),
        (["train", "emotion", "--data", "tiny", "--set", "mode.x=1"], 2, "mode: no such key"),
        (["train", "emotion", "--data", "tiny", "--set", "epochs"], 2, "key=value"),
        (["train", "emotion", "--data", "tiny", "--workers", "3"], 2, "not divisible by 3"),
        (["evaluate", "emotion", "--data", "tiny"], 2, "--model"),
        (["evaluate", "emotion", "--data", "tiny", "--model", "x", "--split", "all"], 2, "train"),
        (["verify-resume", "nothing"], 1, "no training run there"),
        (["prepare", "/nowhere/at/all"], 1, "/nowhere/at/all"),
        (["prepare", ".", "--layout", "odd"], 2, "odd"),
    ],
)
def test_a_users_mistake_is_a_sentence_and_an_exit_code(
    words: list[str], code: int, told: str, tmp_path: Path
) -> None:
    write_corpus(tmp_path / "data" / "tiny")
    result = CliRunner().invoke(app, [*words, "--workspace", str(tmp_path)])
    assert result.exit_code == code, result.output
    assert told in result.output
    assert "Traceback" not in result.output


def test_a_dry_run_prints_the_resolved_spec_and_writes_nothing(tmp_path: Path) -> None:
    write_corpus(tmp_path / "data" / "tiny")
    words = ["train", "emotion", "--data", "tiny", "--dry-run", "--json", "--set", "epochs=3"]
    result = CliRunner().invoke(app, [*words, "--workspace", str(tmp_path)])
    assert result.exit_code == 0, result.output
    plan = json.loads(result.stdout)
    assert plan["spec"]["epochs"] == 3.0
    assert not (tmp_path / "runs").exists()


def test_examples_in_the_help_keep_their_brackets_and_their_paragraphs() -> None:
    told = CliRunner().invoke(app, ["synth", "--help"], env={"COLUMNS": "120"}).stdout
    assert "--set styles=[plain,rap]" in told
    assert "so a model that reads both is provably better" in " ".join(told.split())
    lines = [line.strip() for line in told.split("\n")]
    begun = next(at for at, line in enumerate(lines) if line.startswith("Face and setting"))
    assert len(lines[begun]) > 100  # a paragraph is wrapped by the terminal, not by its author


def test_what_a_library_prints_does_not_stand_before_the_answer() -> None:
    @verb
    def noisy() -> None:
        print("(raylet) a worker died")
        emit({"rows": 1}, as_json=True, table=lambda: "")

    noisy_app = Typer()
    noisy_app.command()(noisy)
    result = CliRunner().invoke(noisy_app, [])
    assert json.loads(result.stdout) == {"rows": 1}
    assert "a worker died" in result.stderr
