"""Tests of the shared part of the fuzzing scripts: numbers determine inputs, and findings are saved."""

from __future__ import annotations

from pathlib import Path
from random import Random

import fuzzing
import pytest
from fuzzing import Files, Fuzz, Progress, change_bytes, run_range


def attempt(files: Files, folder: Path) -> str:
    first = files["a.bin"][:1]
    if first == b"\x03":
        raise ValueError("three")
    while first == b"\x04":
        pass
    return "low" if first < b"\x10" else "high"


def make(random: Random) -> Files:
    return {"a.bin": bytes([random.randrange(32)])}


FUZZ = Fuzz(name="toy", make=make, attempt=attempt)


def test_every_number_is_counted_and_findings_are_kept_with_their_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fuzzing, "SECONDS", 0.05)
    progress = Progress(first=100, count=60)
    assert run_range(FUZZ, progress, tmp_path)
    inputs = {number: make(Random(number))["a.bin"] for number in range(100, 160)}
    bad = [number for number, data in inputs.items() if data in (b"\x03", b"\x04")]
    assert [finding.number for finding in progress.findings] == bad
    assert set(progress.kinds) == {"ValueError in test_fuzzing.py:attempt", "too slow in test_fuzzing.py:attempt"}
    assert sum(progress.outcomes.values()) == 60
    assert progress.outcomes["high"] == sum(data >= b"\x10" for data in inputs.values())
    for number in bad:
        assert (tmp_path / "findings" / str(number) / "a.bin").read_bytes() == inputs[number]


def test_a_run_resumes_where_it_stopped(tmp_path: Path) -> None:
    calm = Fuzz(name="calm", make=make, attempt=lambda files, _: "high" if files["a.bin"] >= b"\x10" else "low")
    whole = Progress(first=0, count=50)
    assert run_range(calm, whole, tmp_path)
    half = Progress(first=0, count=20)
    assert run_range(calm, half, tmp_path)
    half.count = 50
    half.save(tmp_path / "half.json")
    rest = Progress.load(tmp_path / "half.json")
    assert run_range(calm, rest, tmp_path, skip=frozenset({30}))
    assert sum(rest.outcomes.values()) == sum(whole.outcomes.values()) - 1


def test_bytes_are_changed_in_the_same_way_for_the_same_number() -> None:
    data = bytes(range(100))
    changed = [change_bytes(Random(number), data, (b"\xff\x2f\x00",)) for number in range(50)]
    assert changed == [change_bytes(Random(number), data, (b"\xff\x2f\x00",)) for number in range(50)]
    assert len(set(changed)) > 40
