"""Tests of changed soundfonts: they give sound or one line, and the process survives."""

from __future__ import annotations

import argparse
from pathlib import Path

import fuzz_soundfonts
import pytest
from fuzzing import Progress, run_range


def test_changed_soundfonts_are_played_or_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    progress = Progress(first=0, count=12)
    assert run_range(fuzz_soundfonts.make_fuzz(argparse.Namespace()), progress, tmp_path)
    assert progress.findings == []
    assert progress.done == 12
    assert progress.outcomes["played"] > 2
    assert any(outcome.startswith("cannot play with the soundfont FONT: ") for outcome in progress.outcomes)
    assert capfd.readouterr() == ("", "")
