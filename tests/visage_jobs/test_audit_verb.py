"""`visage audit` and `visage ncaers`: what a person sees, and the exit codes scripts rely on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from made_scenes import scene
from typer.testing import CliRunner, Result

from visage.media.image import encode_png
from visage.media.video_writer import write_video
from visage_jobs.cli import audit, ncaers


@pytest.fixture(scope="module")
def app() -> typer.Typer:
    """The two verbs under test."""
    app = typer.Typer(pretty_exceptions_enable=False)
    audit.register(app)
    ncaers.register(app)
    return app


def run(app: typer.Typer, *arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def pictures(root: Path, **seeds: int) -> Path:
    for split, seed in seeds.items():
        path = root / split / "Happy" / f"[b]{split}.png"
        path.parent.mkdir(parents=True)
        path.write_bytes(encode_png(scene(seed)))
    return root


def clips(root: Path) -> Path:
    for split, seed in (("train", 1), ("test", 2)):
        path = root / split / "Happy" / "0001.mp4"
        path.parent.mkdir(parents=True)
        write_video(path, [scene(seed, height=48, width=64)] * 4, fps=12)
    return root


def test_a_leak_ends_with_1_and_names_the_files(app: typer.Typer, tmp_path: Path) -> None:
    result = run(app, "audit", pictures(tmp_path, train=1, test=1))

    assert result.exit_code == 1
    assert "1 leaks between splits" in result.stdout
    assert "[b]test.png" in result.stdout.replace("\n", "")


def test_a_clean_corpus_ends_with_0(app: typer.Typer, tmp_path: Path) -> None:
    result = run(app, "audit", pictures(tmp_path, train=1, test=2))

    assert result.exit_code == 0
    assert "no content stands in more than one split" in result.stdout


def test_json_alone_stands_on_stdout_and_keeps_the_exit_code(
    app: typer.Typer, tmp_path: Path
) -> None:
    result = run(app, "audit", pictures(tmp_path, train=1, test=1), "--json")

    summary = json.loads(result.stdout)
    assert result.exit_code == 1
    assert summary["leaks"] == {"bytes train+test": 1}
    assert summary["has_leaks"] is True


def test_tables_are_written_on_request(app: typer.Typer, tmp_path: Path) -> None:
    root = pictures(tmp_path / "corpus", train=1, test=1)

    run(app, "audit", root, "--out", tmp_path / "tables")

    assert len(list((tmp_path / "tables").glob("*.parquet"))) == 5


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [(["nowhere"], 1, "no such folder"), ([".", "--layout", "caers"], 2, "choose auto or one of")],
)
def test_errors_are_sentences_with_their_exit_code(
    app: typer.Typer, arguments: list[str], code: int, said: str
) -> None:
    result = run(app, "audit", *arguments)

    assert result.exit_code == code
    assert said in result.stderr
    assert "Traceback" not in result.output


def test_a_dry_run_of_ncaers_counts_and_writes_nothing(app: typer.Typer, tmp_path: Path) -> None:
    root, out = clips(tmp_path / "CAER"), tmp_path / "out"

    result = run(app, "ncaers", root, out, "--dry-run", "--json", "--parts", "3")

    assert result.exit_code == 0
    assert json.loads(result.stdout)["pictures"] == 6
    assert not out.exists()


def test_a_build_of_ncaers_is_clean_by_its_own_audit(app: typer.Typer, tmp_path: Path) -> None:
    root, out = clips(tmp_path / "CAER"), tmp_path / "out"

    built = run(app, "ncaers", root, out, "--faces", "none")
    checked = run(app, "audit", out)

    assert (built.exit_code, checked.exit_code) == (0, 0)
    assert "no source video stands in more than one split" in built.stdout
    assert "read as ncaer-s: 4 records" in checked.stdout.replace("\n", "")
