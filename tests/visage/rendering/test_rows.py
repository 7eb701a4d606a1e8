"""Promises of render tables: three formats say the same, and no path leaves its root."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from visage.data.corpus_files import open_files
from visage.errors import DataError, MediaError, NotFoundError, SpecError
from visage.rendering.rows import RenderRow, checked_path, is_clip, read_rows

ROWS = [
    {"portrait": "ann.png", "audio": "a/hello, you.wav", "style": "loud", "key": "one"},
    {"portrait": "bob.png", "audio": "bye.wav", "style": "", "key": ""},
]
READ = (
    RenderRow(name="one", portrait="ann.png", audio="a/hello, you.wav", style="loud"),
    RenderRow(name="row-000002", portrait="bob.png", audio="bye.wav"),
)


def _csv(path: Path, delimiter: str = ",") -> None:
    lines = [delimiter.join(ROWS[0])]
    lines += [delimiter.join(f'"{cell}"' for cell in row.values()) for row in ROWS]
    path.write_text("\ufeff" + "\r\n".join(lines), encoding="utf-8")


def _jsonl(path: Path) -> None:
    path.write_text("\n\n".join(json.dumps({k: v for k, v in row.items() if v}) for row in ROWS))


@pytest.mark.parametrize("kind", ["csv", "semicolon", "tab", "jsonl", "parquet"])
def test_all_formats_of_a_table_give_the_same_rows(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"rows.{kind if kind in ('jsonl', 'parquet') else 'csv'}"
    match kind:
        case "parquet":
            pq.write_table(pa.Table.from_pylist(ROWS), path)
        case "jsonl":
            _jsonl(path)
        case _:
            _csv(path, {"csv": ",", "semicolon": ";", "tab": "\t"}[kind])
    found = read_rows(str(path))
    assert found.rows == READ
    assert found.files.uri == str(tmp_path)
    assert found.notes == ()


def test_a_path_may_hold_what_some_take_for_the_end_of_a_line(tmp_path: Path) -> None:
    line = '{"portrait": "ann\u2028.png", "audio": "bye\x85.wav"}'
    (tmp_path / "rows.jsonl").write_text(line, encoding="utf-8")
    (row,) = read_rows(str(tmp_path / "rows.jsonl")).rows
    assert (row.portrait, row.audio) == ("ann\u2028.png", "bye\x85.wav")


def test_paths_may_begin_elsewhere_than_beside_the_table(tmp_path: Path) -> None:
    _jsonl(tmp_path / "rows.jsonl")
    found = read_rows(str(tmp_path / "rows.jsonl"), root=str(tmp_path / "media"))
    assert found.files.uri == str(tmp_path / "media")


def test_a_table_named_from_where_one_stands_means_the_same_to_every_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _jsonl(tmp_path / "rows.jsonl")
    monkeypatch.chdir(tmp_path)
    assert read_rows("rows.jsonl").files.uri == str(tmp_path)
    assert read_rows("./rows.jsonl", root="media").files.uri == str(tmp_path / "media")


def test_columns_that_are_not_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("portrait,audio,styel\na.png,b.wav,loud\n")
    assert read_rows(str(tmp_path / "rows.csv")).notes == ("columns not read: styel",)


@pytest.mark.parametrize(
    ("name", "body", "told"),
    [
        ("rows.csv", b"portrait,style\na.png,loud\n", "no column audio"),
        ("rows.csv", b"", "no column portrait and no audio"),
        ("rows.csv", b"portrait,audio\n", "no row"),
        ("rows.csv", b"\xff\xfe\x00", "not readable as csv"),
        ("rows.jsonl", b'{"portrait": 1', "not readable as jsonl"),
        ("rows.jsonl", b"[1]\n", "line 1 is no object"),
        ("rows.jsonl", b'{"portrait": "a", "audio": "b"}\n{"portrait": \n', "line 2: "),
        ("rows.jsonl", b"\n" + b"[" * 100_000, "line 2: "),
        ("rows.jsonl", b'{"portrait": "a", "audio": "b", "key": "\\ud800"}', r"row 1: '\\ud800'"),
        ("rows.jsonl", b'{"portrait": "a", "audio": "\\udc00"}', r"row 1: '\\udc00' is no text"),
        ("rows.parquet", b"PAR1", "not readable as parquet"),
        ("rows.csv", b"portrait,audio,key\na,b,k\nc,d,k\n", "'k' stands in rows 1 and 2"),
    ],
)
def test_a_damaged_table_is_refused_with_what_is_wrong(
    name: str, body: bytes, told: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(body)
    with pytest.raises(DataError, match=told):
        read_rows(str(tmp_path / name))


def test_a_table_that_is_not_there_and_one_of_another_kind(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"rows\.csv"):
        read_rows(str(tmp_path / "rows.csv"))
    with pytest.raises(SpecError, match=r"\.jsonl"):
        read_rows(str(tmp_path / "rows.xlsx"))


@pytest.mark.parametrize("path", ["../x.png", "/etc/passwd", "a/../../x.png", "a//b.png", "C:\\x"])
def test_a_path_that_leaves_its_root_is_refused_unopened(path: str, tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="--root") as caught:
        checked_path(open_files(tmp_path), path)
    assert caught.value.code == "not_found"


@pytest.mark.parametrize("path", ["a\0.png", "x" * 300, "ä" * 200 + "/a.png"])
def test_what_can_be_no_file_is_refused_unopened(path: str, tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="is no name of a file") as caught:
        checked_path(open_files(tmp_path), path)
    assert caught.value.code == "not_found"


def test_links_in_a_circle_are_no_file(tmp_path: Path) -> None:
    (tmp_path / "one.png").symlink_to(tmp_path / "two.png")
    (tmp_path / "two.png").symlink_to(tmp_path / "one.png")
    with pytest.raises(MediaError, match="is no name of a file") as caught:
        checked_path(open_files(tmp_path), "one.png")
    assert caught.value.code == "not_found"


def test_a_link_that_leaves_its_root_is_refused_and_one_inside_is_followed(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "secret.png").touch()
    (root / "true.png").touch()
    (root / "out.png").symlink_to(tmp_path / "secret.png")
    (root / "in.png").symlink_to(root / "true.png")
    files = open_files(root)
    assert checked_path(files, "in.png") == "in.png"
    with pytest.raises(MediaError, match="leads out of"):
        checked_path(files, "out.png")


def test_each_ravdess_take_is_said_by_a_resting_face_of_its_actor(tmp_path: Path) -> None:
    takes = [
        "Actor_01/01-01-03-01-01-01-01.mp4",  # happy
        "Actor_01/01-01-02-01-01-01-01.mp4",  # calm
        "Actor_01/01-01-01-01-02-01-01.mp4",  # neutral
        "Actor_01/01-01-01-01-01-01-01.mp4",  # neutral, the first
        "Actor_02/01-01-05-01-01-01-02.mp4",  # angry, and nothing calmer
        "Actor_03/01-01-05-01-01-01-03.mp4",
        "Actor_03/01-01-02-01-01-01-03.mp4",
    ]
    for take in takes:
        (tmp_path / take).parent.mkdir(exist_ok=True)
        (tmp_path / take).touch()
    found = read_rows(str(tmp_path))
    assert [row.audio for row in found.rows] == sorted(takes)
    portraits = {row.audio: row.portrait for row in found.rows}
    assert {portraits[take] for take in takes[:4]} == {takes[3]}
    assert portraits[takes[4]] == takes[4]
    assert portraits[takes[5]] == takes[6]
    assert all(is_clip(row.portrait) and row.style is None for row in found.rows)
