"""Sidecars of version 1 reproduce their ids, and their notes in the tracks of that version."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from midi_pieces import DRUMS, domain, make_score, program_of

from muse_shortcut.generation.request import Request
from muse_shortcut.generation.sidecar import read_sidecar, sidecar_text
from muse_tokenizers.base import Prompt


def hands() -> Any:
    """Drums, a right hand and a left hand."""
    score = make_score({DRUMS: [(i, 0.5, 36, 90) for i in range(16)], 0: [(i, 0.9, 76 + i % 5, 80) for i in range(16)]})
    score.tracks.append(make_score({0: [(i, 0.9, 40 + i % 5, 80) for i in range(16)]}).tracks[0])
    midi = domain("remi")
    return midi.loads(midi.dumps(score))


def new_notes(name: str, prompt: Prompt[Any]) -> list[tuple[int, set[int]]]:
    """Program and new pitches of each track, where the piece goes on as it does."""
    midi = domain(name)
    joined = midi.join(prompt, midi.tokenizer.encode(hands())[len(prompt.ids) - 1 :])
    assert prompt.piece is not None
    before = [len(track.notes) for track in prompt.piece.tracks] + [0] * 9
    return [
        (program_of(track), {note.pitch for note in list(track.notes)[count:]})
        for track, count in zip(joined.tracks, before, strict=False)
    ]


def sidecar(path: Path, name: str, prompt: Prompt[Any], **changed: Any) -> Path:
    text = sidecar_text(
        domain(name), Request(prompt=prompt), checkpoint="0" * 64, candidate=0, ids=np.zeros((0, 1), dtype=np.int64),
        log_probability=0.0, name="hands", source=None, sound=None,
    )  # fmt: skip
    content = json.loads(text) | changed
    if content["version"] == 1:
        del content["prompt"]["divided"]
        content["prompt"].pop("timed")
    path.write_text(json.dumps(content))
    return path


RIGHT, LEFT = set(range(76, 81)), set(range(40, 45))


@pytest.mark.parametrize(
    ("name", "today", "then"),
    [
        ("remi", [(0, RIGHT), (0, LEFT), (DRUMS, {36})], [(0, RIGHT | LEFT), (0, set()), (DRUMS, {36})]),
        ("performance", [(0, RIGHT), (0, LEFT), (DRUMS, set())], [(0, RIGHT | LEFT), (0, set()), (DRUMS, set())]),
    ],
)
def test_notes_of_a_sidecar_of_version_1_go_to_the_first_track_of_their_instrument(
    name: str, today: Any, then: Any, tmp_path: Path
) -> None:
    prompt = domain(name).prompt(hands(), 4.0)
    lines: list[str] = []

    def read(**changed: Any) -> Prompt[Any]:
        path = sidecar(tmp_path / "hands.json", name, prompt, **changed)
        found: Prompt[Any] = read_sidecar(path, domain(name), warn=lines.append).request.prompt
        return found

    def in_order(rows: Any) -> Any:
        return sorted(rows, key=lambda row: (row[0], -max(row[1], default=0)))

    assert in_order(new_notes(name, read())) == in_order(today)
    assert lines == []
    earlier = read(version=1)
    assert in_order(new_notes(name, earlier)) == in_order(then)
    what = "the same ids and notes are generated again, but the .mid has the current format"
    assert lines == [f"{tmp_path / 'hands.json'} has version 1: {what}"]
    # What was made again says so in its own sidecar.
    again = read_sidecar(sidecar(tmp_path / "again.json", name, earlier), domain(name), warn=lines.append)
    assert (again.request.prompt.divided, len(lines)) == (False, 1)
