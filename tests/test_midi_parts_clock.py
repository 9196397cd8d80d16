"""The times of scores in parts: those of ids are those of the written file, at the tempo of the prompt or another."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import mido
import numpy as np
import pytest
from midi_pieces import draw, kinds, scale, tempo_rows
from small_parts import continued, domain, ids_of, random_score

from muse_tokenizers.midi.constraints import MidiConstraints
from muse_tokenizers.midi.tempo_map import TempoMap


def written_onsets(data: bytes) -> list[float]:
    now, onsets = 0.0, []
    for message in mido.MidiFile(file=io.BytesIO(data)):
        now += message.time
        if message.type == "note_on" and message.velocity:
            onsets.append(now)
    return onsets


RUBATO = [(beat / 2, 80 + 31 * float(np.sin(beat / 7))) for beat in range(48)]


@pytest.mark.parametrize("constraints", [
    MidiConstraints(seconds=8.0), MidiConstraints(seconds=8.0, keep_tempo=True),
    MidiConstraints(seconds=8.0, tempo=61.7),
])  # fmt: skip
@pytest.mark.parametrize("tempos", [((0, 120),), ((0, 53.3),), ((0, 313.0),), RUBATO])
def test_elapsed_described_and_written_times_agree(tempos: Any, constraints: MidiConstraints) -> None:
    midi, constraints = domain(), replace(constraints, silence=1.0)
    for piece, seed in ((random_score(3, tempos=tempos), 0), (None, 1)):
        prompt = midi.timed(midi.prompt(piece, None if piece is None else 7.0), constraints)
        grammar = midi.grammar(prompt.ids, 1, constraints, clock=prompt.clock)
        ids = draw(grammar, 300, seed, kinds(midi), 1.0)[0]
        whole = ids[: midi.tokenizer.whole_length(ids[:, 0].tolist())]
        tokens = [step[0] for step in midi.tokenizer.describe(np.concatenate([prompt.ids, ids]), prompt)]
        assert grammar.elapsed[0] == pytest.approx(tokens[-1].start - prompt.split_point, abs=1e-6)
        joined = midi.join(prompt, whole)
        told = sorted(token.start for token in tokens[len(prompt.ids) :] if token.kind in ("pitch", "drum"))
        written = [onset for onset in written_onsets(midi.dumps(joined)) if onset >= prompt.split_point - 5e-4]
        assert len(written) > 2
        # A note is left out if one of the prompt outlasts it.
        nearest = np.abs(np.subtract.outer(written, told)).min(axis=1)
        assert nearest.max() < 1e-3
        assert midi.dumps(midi.join(prompt, whole)) == midi.dumps(joined)


def test_after_a_ritardando_the_prevailing_tempo_goes_on() -> None:
    slowing = [(60 + beat, 73 - 6 * (beat + 1)) for beat in range(4)]
    score = scale(16, tempos=[(0, 73), *slowing])
    for constraints, first in ((MidiConstraints(bars=3, keep_tempo=True), 73), (MidiConstraints(bars=3, tempo=99), 99)):
        prompt, joined = continued(score, None, constraints)
        factor = joined.ticks_per_quarter // 480
        after = [mspq for tick, mspq in tempo_rows(joined) if tick >= prompt.split_index * factor]
        assert after[0] == round(60e6 / first)
        assert first == 73 or len(after) == 1


@pytest.mark.parametrize("beats_per_minute", [10.0, 54.0, 118.3, 400.0])
def test_a_requested_tempo_is_exact_with_and_without_a_prompt(beats_per_minute: float) -> None:
    constraints = MidiConstraints(tempo=beats_per_minute, bars=3)
    for seed in range(3):
        prompt, joined = continued(scale(4, tempos=[(0, 100)]), None, constraints, seed)
        assert tempo_rows(joined)[1:] == [
            (prompt.split_index * joined.ticks_per_quarter // 480, round(60e6 / beats_per_minute))
        ]
        _, alone = continued(None, None, constraints, seed)
        assert tempo_rows(alone) == [(0, round(60e6 / beats_per_minute))]


def test_tempos_stay_in_the_range_of_the_prompt_unless_they_are_free() -> None:
    score = scale(12, tempos=[(0, 100), (20, 112)])

    def tempos(constraints: MidiConstraints) -> set[float]:
        rows = [tempo_rows(continued(score, None, constraints, seed)[1]) for seed in range(6)]
        return {60e6 / mspq for found in rows for tick, mspq in found if tick > 0}

    assert all(99 <= tempo <= 113 for tempo in tempos(MidiConstraints(bars=6, keep_tempo=True)))
    assert not all(99 <= tempo <= 113 for tempo in tempos(MidiConstraints(bars=6)))


def test_the_times_of_an_hour_are_those_of_its_file() -> None:
    score = scale(1000, tempos=[(4 * bar, 60 + 40 * float(np.sin(bar))) for bar in range(1000)])
    prompt = domain().prompt(score)
    ids = ids_of("Position_0 Pitch_36 Duration_48 Bar Position_24 Pitch_37 Duration_48")
    tokens = [step[0] for step in domain().tokenizer.describe(np.concatenate([prompt.ids, ids]), prompt)]
    told = [token.start for token in tokens if token.kind == "pitch"]
    joined = domain().join(prompt, ids)
    times = TempoMap(joined).seconds([note.time for note in joined.tracks[0].notes])
    assert times[-1] > 3600
    assert told == pytest.approx(times.tolist(), abs=1e-3)
    assert prompt.split_point == pytest.approx(told[-2], abs=1e-6)
