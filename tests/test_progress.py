"""Tests of progress without a terminal: plain lines with the time that is left."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from muse_shortcut.commands import progress
from muse_shortcut.commands.progress import ProgressBar, duration


def test_plain_lines_tell_one_thing_each_and_the_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [0.0]
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    with ProgressBar("training", 2000) as bar:
        # A training that goes on from step 1,000.
        bar.show(1000, "step 1,000 of 2,000: validation 2.5 nats per token", line=True)
        for step in (1001, 1100, 1101, 2000):
            clock[0] += 0.0 if step == 1001 else 50.0 if step == 1100 else 1.0 if step == 1101 else 449.0
            bar.show(step, "loss 2.5")
    assert capsys.readouterr().err.splitlines() == [
        "step 1,000 of 2,000: validation 2.5 nats per token",
        "training 1100/2000 loss 2.5, about 8 min left",
        "training 2000/2000 loss 2.5",
    ]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.2, "1 s"), (89.4, "89 s"), (90, "2 min"), (3600, "60 min"), (5400, "1 h 30 min"), (360000, "100 h 0 min")],
)
def test_a_duration_is_formatted_for_people(seconds: float, said: str) -> None:
    assert duration(seconds) == said
