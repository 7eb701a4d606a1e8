"""`visage synth` from the outside."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from visage_jobs.cli import app

SMALL = ["--set", "height=128", "--set", "width=171", "--set", "identities=6", "--workers", "1"]


def test_a_corpus_is_drawn_and_told_as_json(tmp_path: Path) -> None:
    sheet = tmp_path / "look.jpg"
    command = ["synth", "caer-s", str(tmp_path / "c"), "--per-class", "3", "--json", *SMALL]
    result = CliRunner().invoke(app, [*command, "--contact-sheet", str(sheet)])
    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)
    assert told["files"] == told["written"] == 21
    assert told["best_possible_accuracy"]["both"] > told["best_possible_accuracy"]["face"] + 0.1
    assert sheet.read_bytes().startswith(b"\xff\xd8")
    again = json.loads(CliRunner().invoke(app, command).stdout)
    assert (again["written"], again["kept"]) == (0, 21)


def test_a_dry_run_counts_and_leaves_no_trace(tmp_path: Path) -> None:
    out = tmp_path / "none"
    for layout, files in (
        ("caer-s", 1400),
        ("caer", 140),
        ("ravdess", 30),
        ("voxceleb2", 48),
        ("common-voice", 192),
    ):
        result = CliRunner().invoke(app, ["synth", layout, str(out), "--dry-run", "--json"])
        told = json.loads(result.stdout)
        assert told["files"] == files
        assert told["size_bytes_estimate"] > 1e5
    assert not out.exists()
    table = CliRunner().invoke(app, ["synth", "caer-s", str(out), "--dry-run"]).stdout
    assert "best possible accuracy" in table
    assert "MB" in table


def test_clips_are_drawn_and_told_as_a_table(tmp_path: Path) -> None:
    small = ["--set", "height=128", "--set", "width=170", "--workers", "1"]
    arguments = ["--per-class", "3", "--set", "frames=2", "--set", "identities=3"]
    result = CliRunner().invoke(app, ["synth", "caer", str(tmp_path / "v"), *arguments, *small])
    assert result.exit_code == 0, result.stderr
    assert "train" in result.stdout
    assert len(list((tmp_path / "v").rglob("*.avi"))) == 21


def test_people_who_speak_are_drawn_with_a_sheet_of_their_styles(tmp_path: Path) -> None:
    few = ["identities=2", "test_identities=1", "clips=1", "seconds=0.5", "size=128", "styles=rap"]
    command = ["synth", "voxceleb2", str(tmp_path / "v"), "--workers", "1", "--json"]
    command += [part for one in few for part in ("--set", one)]
    sheet = tmp_path / "look.jpg"
    result = CliRunner().invoke(app, [*command, "--contact-sheet", str(sheet)])
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["counts"] == {"dev": {"rap": 1}, "test": {"rap": 1}}
    assert sheet.read_bytes().startswith(b"\xff\xd8")


def test_speakers_are_recorded_and_told_as_a_table(tmp_path: Path) -> None:
    few = ["--set", "speakers=3", "--set", "clips=1", "--set", "longest_s=2", "--workers", "1"]
    result = CliRunner().invoke(app, ["synth", "common-voice", str(tmp_path / "v"), *few])
    assert result.exit_code == 0, result.stderr
    assert "train" in result.stdout
    assert len(list((tmp_path / "v").rglob("*.mp3"))) == 3


def test_what_cannot_be_drawn_ends_with_2_and_a_sentence(tmp_path: Path) -> None:
    for arguments, words in (
        (["caer-x", "out"], "choose caer-s"),
        (["caer-s"], "say where to"),
        (["ravdess", "out", "--per-class", "3"], "no --per-class"),
        (["voxceleb2", "out", "--per-class", "3"], "identities=12"),
        (["voxceleb2", "out", "--set", "styles=metal"], "choose from plain, ballad, rap, opera"),
        (["common-voice", "--contact-sheet", str(tmp_path / "x.jpg")], "use caer-s or voxceleb2"),
        (["caer", "out", "--set", "height=131"], "even"),
        (["caer-s", "out", "--set", "hieght=131"], "check the spelling"),
        (["caer", "--contact-sheet", str(tmp_path / "x.jpg")], "use caer-s"),
    ):
        result = CliRunner().invoke(app, ["synth", *arguments])
        assert result.exit_code == 2, result.output
        assert words in result.stderr
