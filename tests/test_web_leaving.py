"""Tests of visitors who leave: their files are deleted, and nobody else's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_visits import Visit, registry

from muse_shortcut.errors import ArgumentsError
from muse_tokenizers.base import Waveform
from muse_web.session import Limits, Run, Source, Visitor, Visitors
from muse_web.streaming import generate
from muse_web.uploads import Uploads


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


# Sources


def visitor_run(visitor: Visitor, folder: Path) -> Run:
    return Visit(visitor, Uploads(folder), Limits(), registry()).ask(domain="text", amount=10, seed=0)


def test_who_leaves_is_forgotten(tmp_path: Path) -> None:
    visitors = Visitors(tmp_path, Limits())
    visitor = visitors.get("a")
    runs = [visitor_run(visitor, tmp_path) for _ in range(3)]
    list(generate(runs[0], visitor))
    assert files_in(visitor.folder)
    events = generate(runs[1], visitor)
    next(events)
    visitors.leave("a")
    assert visitor.removed
    assert not visitor.folder.exists()
    # One that is over stays as it is.
    assert [run.stop.is_set() for run in runs] == [False, True, True]
    assert "done" not in [part["type"] for part in events]
    assert not visitor.folder.exists()
    assert len(visitors) == 0
    assert visitors.get("a") is not visitor
    for nobody in ("b", None, ""):
        visitors.leave(nobody)


def test_who_lost_the_connection_is_waited_for_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    visitors = Visitors(tmp_path, Limits(disconnected_seconds=60, idle_seconds=1800))
    visitor = visitors.get("a")
    run = visitor_run(visitor, tmp_path)
    visitors.disconnect("a")
    # Nothing is written for who does not hear it.
    assert run.stop.is_set()
    now += 50
    assert visitors.get("a") is visitor
    now += 50
    visitors.sweep()
    assert visitors.get("a") is visitor
    visitors.disconnect("a")
    now += 61
    visitors.sweep()
    assert visitor.removed
    assert not visitor.folder.exists()
    visitors.disconnect("nobody")


def test_who_does_not_call_any_more_is_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    visitors = Visitors(tmp_path, Limits(idle_seconds=100))
    silent, served, calling = (visitors.get(key) for key in ("silent", "served", "calling"))
    visitor_run(served, tmp_path)
    now += 90
    visitors.get("calling")
    now += 20
    visitors.sweep()
    assert [one.removed for one in (silent, served, calling)] == [True, False, False]


def test_where_all_have_too_much_the_longest_idle_go(tmp_path: Path) -> None:
    visitors = Visitors(tmp_path, Limits(all_bytes=100_000))
    found = []
    for key in ("first", "second", "third"):
        found.append(visitors.get(key))
        piece = Waveform(samples=np.zeros((1, 12_000), dtype=np.float32), sample_rate=24_000)
        found[-1].sources["s"] = Source(
            id="s",
            domain="audio",
            name="s",
            file=None,
            checkpoint=None,
            piece=piece,  # type: ignore[arg-type]
        )
    visitors.sweep()
    assert [one.removed for one in found] == [True, False, False]


def test_a_full_house_sends_away_who_was_idle_longest_and_nobody_who_is_served(tmp_path: Path) -> None:
    visitors = Visitors(tmp_path, Limits(visitors=3))
    a, b, c = (visitors.get(key) for key in "abc")
    writing = visitor_run(b, tmp_path)
    finished = visitor_run(c, tmp_path)
    list(generate(finished, c))
    visitors.get("a")
    # From the longest idle: b, who is being served, c and a.
    d = visitors.get("d")
    assert (a.removed, b.removed, c.removed, d.removed) == (False, False, True, False)
    assert not c.folder.exists()
    assert len(visitors) == 3
    running = [visitor_run(visitor, tmp_path) for visitor in (a, d)]
    with pytest.raises(ArgumentsError, match=r"^3 visitors are being served, which is the most; try again later$"):
        visitors.get("e")
    assert not any(one.removed for one in (a, b, d))
    # Those who are there come and go as before.
    assert visitors.get("b") is b
    list(generate(running[0], a))
    visitors.get("e")
    assert (a.removed, b.removed, d.removed) == (True, False, False)
    assert not writing.stop.is_set()
