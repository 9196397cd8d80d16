"""Some mutated MIDI files, none of which may raise another exception; CI tries more (benchmarks/fuzz_midi.py)."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from fuzz_midi import fuzz_midi
from fuzzing import Progress, run_range

from muse_tokenizers.midi import domain


def test_two_hundred_mutated_files_give_no_foreign_exception(tmp_path: Path) -> None:
    progress = Progress(first=0, count=200)
    assert run_range(fuzz_midi(), progress, tmp_path)
    assert progress.findings == []
    assert progress.outcomes["read"] + progress.outcomes["repaired"] > 80


def test_a_reader_that_lets_nonsense_pass_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(domain, "parse_score", lambda *_: 1 // 0)
    progress = Progress(first=0, count=3)
    assert run_range(fuzz_midi(), progress, tmp_path)
    assert sum(progress.kinds.values()) == 3
    assert all(kind.startswith("ZeroDivisionError") for kind in progress.kinds)


def test_a_number_is_always_the_same_file() -> None:
    assert [fuzz_midi().make(Random(n)) for n in range(20)] == [fuzz_midi().make(Random(n)) for n in range(20)]
