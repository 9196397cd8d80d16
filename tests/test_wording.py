"""Tests of formatted numbers."""

from __future__ import annotations

import re
from pathlib import Path

from conftest import RunCommand
from midi_pieces import scale

from muse_tokenizers.midi.writing import dump_score
from muse_tokenizers.wording import counted

ONE_OF_MANY = re.compile(r"(?<![\d.,])1 (files|pieces|seconds|minutes|tokens|steps|bytes|notes|tracks|runs)\b")


def test_one_thing_is_in_the_singular() -> None:
    assert [counted(number, "file") for number in (0, 1, 2, 1_000)] == ["0 files", "1 file", "2 files", "1,000 files"]
    assert counted(1, "piece", ">6,") == "     1 piece"
    assert counted(1.0, "minute", "g") == "1 minute"
    assert counted(1.0, "minute", ".1f") == "1.0 minutes"


def test_a_store_of_one_piece_is_described_in_the_singular_and_each_name_once(run: RunCommand, tmp_path: Path) -> None:
    music = tmp_path / "music"
    music.mkdir()
    (music / "song.mid").write_bytes(dump_score(scale(8)) + b"junk")
    (music / "letter.doc").write_text("Dear all")
    done = run("prepare", "midi", music, "--workers", 1, "--out", tmp_path / "store")
    assert done.code == 0, done.err
    assert not ONE_OF_MANY.search(done.out), done.out
    assert "tokens of 1 piece, " in done.out
    assert "not used        1 file, listed in" in done.out
    assert "     1  song.mid: 4 bytes after its last track left out" in done.out
