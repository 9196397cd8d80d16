"""Tests of reading sound files with changed headers: reading ends soon, with sound or one line."""

from __future__ import annotations

import argparse
from pathlib import Path

import fuzz_audio
import pytest
from fuzzing import Progress, run_range


def test_changed_headers_of_sound_are_read_or_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    progress = Progress(first=0, count=100)
    assert run_range(fuzz_audio.make_fuzz(argparse.Namespace()), progress, tmp_path)
    assert progress.findings == []
    assert progress.outcomes["read"] > 20
    assert progress.outcomes["refused"] > 20
    assert capfd.readouterr() == ("", "")


def test_seeds_are_all_read() -> None:
    for data in fuzz_audio.seeds():
        assert fuzz_audio.attempt({"sound": data}, Path()) == "read"
