"""Promises of the lines that muse-generate prints about a prompt and about what is new."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from conftest import RunCommand

from muse_shortcut.api.continuation import Continuation
from muse_shortcut.api.model import load
from muse_shortcut.commands.command_line import Terminal
from muse_shortcut.commands.generate import _last_lines
from muse_shortcut.commands.outputs import print_lengths


def test_of_a_long_prompt_the_end_is_printed_and_how_much_of_it_the_model_sees(run: RunCommand, tmp_path: Path) -> None:
    path = tmp_path / "big.txt"
    path.write_text("".join(f"This is line {number} of a long letter.\n" for number in range(300)))
    done = run("generate", path, "--bytes", 5, "--trace", "false", "--seed", 1, "--out", tmp_path / "out")
    assert done.code == 0, done.err
    assert "\n…This is line 290 of" in done.out
    assert "line 289" not in done.out
    [line] = [line for line in done.out.splitlines() if line.startswith("the prompt is longer")]
    seen = int(line.split(" the last ")[1].split(" bytes of it")[0].replace(",", ""))
    assert 500 < seen < path.stat().st_size // 2


def test_a_short_prompt_is_printed_as_it_is_and_a_long_line_by_its_last_characters() -> None:
    for text in ("", "one", "a\n" * 10, "x" * 800):
        assert _last_lines(text) == text
    assert _last_lines("a" + "b\n" * 10) == "a" + "b\n" * 10
    assert _last_lines("a\n" + "b\n" * 10) == "…" + "b\n" * 10
    assert _last_lines("y" + "x" * 800) == "…" + "x" * 800


def lengths_line(asked: float | None, found: list[float], capsys: pytest.CaptureFixture[str]) -> str:
    """The last line of a generation of so many seconds, of which candidates of the found lengths came."""
    request = SimpleNamespace(prompt=SimpleNamespace(piece=None), constraints=SimpleNamespace(length=asked))
    written = [
        SimpleNamespace(faults=[], continuation=SimpleNamespace(request=request, length={"seconds": one, "bars": 1}))
        for one in found
    ]
    print_lengths(cast("Any", written), Terminal("muse-generate"))
    return capsys.readouterr().err.strip()


def test_a_note_that_rings_on_does_not_count_as_more_than_was_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert lengths_line(30, [29.6, 30.4], capsys) == "prompt: none; new: 29.6 to 30.4 s, 1 bar"
    said = "prompt: none; new: 0.90 to 1.00 s, 1 bar; the last note rings on until 5.5 s"
    assert lengths_line(1, [0.9, 5.54], capsys) == said
    assert lengths_line(None, [5.54], capsys) == "prompt: none; new: 5.54 s, 1 bar"


def test_a_time_in_sound_is_the_first_frame_at_or_after_it() -> None:
    model = load("audio", device="cpu")
    rate = model.domain.steps_per_second
    assert rate is not None
    steps = list(model.stream("speech", prompt_seconds=1, max_new_tokens=12, seed=1, trace=False))
    assert len(steps) == 12
    [made] = model.continue_("speech", prompt_seconds=1, max_new_tokens=12, seed=1, trace=False)
    assert isinstance(made, Continuation)
    for step in range(8):
        time = made.start + step / rate
        assert made.step_at(time) == made.step_at(round(time, 2)) == step
        assert made.step_at(time + 0.6 / rate) == step + 1
    assert ", 12 steps, " in repr(made)
