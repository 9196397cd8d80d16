"""Tests of time: seconds are those of the written file, whatever tempos the vocabulary has."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import mido
import numpy as np
import pytest
from conftest import RunCommand
from midi_pieces import domain, draw
from small_visits import visit
from symusic import Note, Pedal, Score, Tempo, Track

from muse_shortcut.api.options import build_request
from muse_shortcut.config import SamplingConfig
from muse_shortcut.generation.engine import Request
from muse_shortcut.generation.sidecar import read_sidecar, sidecar_text
from muse_tokenizers.base import Prompt
from muse_tokenizers.midi.clock import pace_of
from muse_tokenizers.midi.constraints import MidiConstraints
from muse_tokenizers.midi.tempo_map import TempoMap


def _score(tempos: list[tuple[int, float]], beats: int = 64, *, program: int = 0) -> Score:
    """Quarters in 4/4 at 480 ticks."""
    score = Score(480)
    for tick, bpm in tempos:
        score.tempos.append(Tempo(tick, bpm))
    track = Track(program=program, is_drum=False, name="")
    for beat in range(beats):
        track.notes.append(Note(480 * beat, 400, 60 + beat % 12, 80))
    score.tracks.append(track)
    return score


def _grown(prompt: Prompt[Score], constraints: MidiConstraints, seed: int = 0, steps: int = 4000) -> np.ndarray:  # type: ignore[type-arg]
    """Random ids that the grammar allows, until it is finished."""
    remi, random = domain("remi"), np.random.default_rng(seed)
    prompt = remi.timed(prompt, constraints)
    grammar = remi.grammar(prompt.ids, 1, constraints, None, prompt.clock)
    made: list[int] = []
    while len(made) < steps:
        allowed = np.flatnonzero(grammar.allowed()[0, 0])
        if grammar.finished[0]:
            break
        made.append(int(random.choice(allowed)))
        grammar.advance(np.array([[made[-1]]]))
    return np.array(made)[:, None]


def _microseconds(score: Score) -> list[tuple[int, int]]:
    return [(tempo.time, tempo.mspq) for tempo in score.tempos]


@pytest.mark.parametrize("bpm", [10, 54, 118, 300])
def test_places_of_a_prompt_are_those_of_its_file(bpm: int) -> None:
    remi, score = domain("remi"), _score([(0, bpm)], 24)
    prompt = remi.prompt(score)
    assert prompt.split_point == pytest.approx(24 * 60 / bpm, abs=1e-3)
    pitches = [step[0] for step in remi.tokenizer.describe(prompt.ids, prompt) if step[0].kind == "pitch"]
    assert [token.start for token in pitches] == pytest.approx([beat * 60 / bpm for beat in range(24)], abs=2e-3)
    assert pitches[-1].end == pytest.approx((23 + 400 / 480) * 60 / bpm, rel=0.02)


def test_a_prompt_is_cut_by_the_seconds_of_its_file() -> None:
    # At 54 a bar of four beats lasts 4.44 s; the vocabulary's 56 would make it 4.29, and five bars of 22 s.
    prompt = domain("remi").prompt(_score([(0, 54)]), 22.0)
    assert prompt.split_point == pytest.approx(4 * 240 / 54)
    assert domain("remi").find_split_point(_score([(0, 54)]), 22.0) == pytest.approx(4 * 240 / 54)


def test_tempo_changes_inside_a_prompt_are_followed() -> None:
    score = _score([(0, 54), (1920, 118), (3840, 77.7)], 16)
    remi, times = domain("remi"), TempoMap(score)
    prompt = remi.prompt(score)
    starts = [step[0].start for step in remi.tokenizer.describe(prompt.ids, prompt) if step[0].kind == "pitch"]
    assert starts == pytest.approx(times.seconds(480 * np.arange(16)).tolist(), abs=1e-6)


@pytest.mark.parametrize("bpm", [54, 118, 300, 10])
def test_the_continuation_has_the_true_tempo_and_the_requested_length(bpm: int) -> None:
    remi = domain("remi")
    prompt = remi.prompt(_score([(0, bpm)], 16))
    constraints = MidiConstraints(seconds=9.0, keep_tempo=True, keep_instruments=True, silence=0.5)
    joined = remi.join(prompt, _grown(prompt, constraints))
    assert {tempo.mspq for tempo in joined.tempos} == {round(60e6 / bpm)}
    last = max(note.time for track in joined.tracks for note in track.notes)
    beyond = float(TempoMap(joined).seconds(last)) - prompt.split_point
    assert 9.0 - 0.5 - 2.5 * 60 / bpm - 0.6 < beyond <= 9.0


_RUBATO = [(480 * beat, 74 + 19 * float(np.sin(beat / 5)) + beat % 3) for beat in range(32)]
"""As somebody plays: a tempo for every beat."""


@pytest.mark.parametrize("tempos", [[(0, 54), (3840, 118), (9000, 61.3)], [(0, 300)], [(0, 11)], _RUBATO])
def test_described_and_written_times_are_the_same(tempos: list[tuple[int, float]]) -> None:
    remi = domain("remi")
    prompt = remi.prompt(_score(tempos, 32))
    for keep_tempo in (False, True):
        constraints = MidiConstraints(seconds=6.0, silence=0.5, keep_tempo=keep_tempo)
        timed = remi.timed(prompt, constraints)
        ids = _grown(timed, constraints, seed=3)
        joined = remi.join(timed, ids)
        tokens = remi.tokenizer.describe(np.concatenate([timed.ids, ids]), timed)[len(timed.ids) :]
        told = sorted(step[0].start for step in tokens if step[0].kind in ("pitch", "drum"))
        written = sorted(
            float(TempoMap(joined).seconds(note.time))
            for track in joined.tracks
            for note in track.notes
            if note.time >= timed.split_index * joined.ticks_per_quarter // 480
        )
        assert len(told) >= 5
        assert written == pytest.approx(told, abs=0.003)


def test_a_ritardando_before_the_split_point_is_not_the_tempo_of_the_continuation() -> None:
    ritardando = [(1920 * 15 + 480 * beat, 73 - 6 * (beat + 1)) for beat in range(4)]
    score = _score([(0, 73), *ritardando])
    pace = pace_of(score, 480 * 64)
    assert pace.prevailing == pytest.approx(73, abs=0.01)
    assert pace.last == pytest.approx(49, abs=0.01)
    remi = domain("remi")
    prompt = remi.prompt(score)
    joined = remi.join(prompt, _grown(prompt, MidiConstraints(bars=3, keep_tempo=True)))
    split_point = 480 * 64 * joined.ticks_per_quarter // 480
    assert next(mspq for tick, mspq in _microseconds(joined) if tick >= split_point) == round(60e6 / 73)


def test_a_tempo_that_has_held_for_a_while_is_a_new_one_and_no_ritardando() -> None:
    allegro = pace_of(_score([(0, 60), (480 * 40, 126)]), 480 * 52)  # 12 beats of it: 5.7 s
    assert allegro.prevailing == pytest.approx(126, abs=0.01)
    assert allegro.slowest == pytest.approx(60, abs=0.01)
    assert allegro.fastest == pytest.approx(126, abs=0.01)


def test_a_closing_bar_that_is_slower_neither_prevails_nor_widens_the_range() -> None:
    closing = pace_of(_score([(0, 73), (480 * 60, 55)]), 480 * 64)  # 4 beats of it: 4.4 s
    assert closing.last == pytest.approx(55, abs=0.01)
    for bpm in (closing.prevailing, closing.slowest, closing.fastest):
        assert bpm == pytest.approx(73, abs=0.01)


def test_a_tempo_is_called_as_it_is_written() -> None:
    remi = domain("remi")
    prompt = remi.prompt(_score([(0, 54), (480 * 8, 57)], 16))
    labels = [step[0].label for step in remi.tokenizer.describe(prompt.ids, prompt) if step[0].kind == "tempo"]
    assert labels == ["54 bpm"]  # To the vocabulary both are 56.
    constraints = MidiConstraints(tempo=90.0, bars=1)
    timed = remi.timed(prompt, constraints)
    ids = _grown(timed, constraints)
    described = remi.tokenizer.describe(np.concatenate([timed.ids, ids]), timed)[len(timed.ids) :]
    assert [step[0].label for step in described if step[0].kind == "tempo"] == ["90 bpm"]
    place = next(place for place, step in enumerate(described) if step[0].kind == "tempo")
    before = np.concatenate([timed.ids, ids[:place]])
    assert remi.labels_after(before, 0, [int(ids[place, 0])], timed) == ["90 bpm"]


def test_a_requested_tempo_is_written_exactly() -> None:
    remi, score = domain("remi"), _score([(0, 120)], 16)
    constraints = MidiConstraints(tempo=90.0, seconds=5.0)
    prompt = remi.timed(remi.prompt(score), constraints)
    joined = remi.join(prompt, _grown(prompt, constraints))
    assert _microseconds(joined)[-1][1] == round(60e6 / 90)
    nothing = remi.timed(remi.prompt(None), constraints)
    assert {mspq for _, mspq in _microseconds(remi.join(nothing, _grown(nothing, constraints)))} == {round(60e6 / 90)}


def test_tempos_stay_in_the_range_of_the_prompt_unless_they_are_free() -> None:
    remi = domain("remi")
    prompt = remi.prompt(_score([(0, 100), (9600, 112)], 48))

    def tempos(constraints: MidiConstraints) -> set[float]:
        found: set[float] = set()
        for seed in range(6):
            joined = remi.join(prompt, _grown(prompt, constraints, seed))
            found |= {60e6 / mspq for tick, mspq in _microseconds(joined) if tick > 480 * 48}
        return found

    assert all(99 <= bpm <= 113 for bpm in tempos(MidiConstraints(bars=4, keep_tempo=True)))
    assert not all(99 <= bpm <= 113 for bpm in tempos(MidiConstraints(bars=4)))


def test_instruments_are_those_of_the_prompt_unless_any_may_play() -> None:
    remi = domain("remi")
    prompt = remi.prompt(_score([(0, 100)], 16, program=56))

    def programs(constraints: MidiConstraints) -> set[int]:
        return {track.program for track in remi.join(prompt, _grown(prompt, constraints)).tracks}

    assert programs(MidiConstraints(bars=4, keep_instruments=True)) == {56}
    assert len(programs(MidiConstraints(bars=4))) > 1
    assert programs(MidiConstraints(bars=4, keep_instruments=True, instruments=("violin",))) == {40, 56}


@pytest.mark.parametrize(
    ("asked", "keeps"),
    [
        ({}, (True, True)),
        ({"instruments": " Any"}, (False, True)),
        ({"instruments": ["any", "piano"]}, (False, True)),
        ({"tempo": "Free"}, (True, False)),
    ],
)
def test_any_and_free_are_how_it_was_before(asked: dict[str, Any], keeps: tuple[bool, bool], tmp_path: Path) -> None:
    remi = domain("remi")
    prompt = remi.prompt(_score([(0, 100)], 16))
    by_options = build_request(remi, prompt, SamplingConfig(), asked).constraints
    by_page = visit(tmp_path).example("midi", **asked).request.constraints
    for constraints in (by_options, by_page):
        assert (constraints.keep_instruments, constraints.keep_tempo) == keeps
        assert (constraints.instruments, constraints.tempo) == ((), None)


def test_a_sidecar_from_before_prompts_had_times_repeats_as_it_was(tmp_path: Path) -> None:
    remi = domain("remi")
    prompt = replace(remi.prompt(_score([(0, 54)], 16)), clock=None)
    constraints = MidiConstraints(bars=2)
    request = Request(prompt=prompt, constraints=constraints, seed=1)
    grammar = remi.grammar(prompt.ids, 1, constraints, None, None)
    ids = draw(grammar, 60, 5)[0]
    details: dict[str, Any] = {"checkpoint": "", "candidate": 0, "log_probability": -1.0, "name": "old"}
    content = json.loads(sidecar_text(remi, request, ids=ids, source=None, sound=None, **details))
    del content["prompt"]["timed"], content["constraints"]["keep_instruments"], content["constraints"]["keep_tempo"]
    (tmp_path / "old.json").write_text(json.dumps(content))
    read = read_sidecar(tmp_path / "old.json", remi).request
    assert read.constraints == constraints
    assert read.prompt.clock is None
    assert remi.dumps(remi.join(read.prompt, ids)) == remi.dumps(remi.join(prompt, ids))


def _two_hands(program: int = 0, bases: tuple[int, ...] = (72, 45), *, is_drum: bool = False) -> Score:
    score = Score(480)
    score.tempos.append(Tempo(0, 100))
    for base in bases:
        track = Track(program=program, is_drum=is_drum, name=f"around {base}")
        for beat in range(32):
            track.notes.append(Note(480 * beat, 400, base + beat % 7, 80))
        track.pedals.append(Pedal(0, 400))
        score.tracks.append(track)
    return score


def _continued_by_itself(name: str, score: Score) -> Score:
    """Ten seconds of a score, and the rest of it as the continuation."""
    form = domain(name)
    prompt = form.prompt(score, 10.0)
    return form.join(prompt, form.tokenizer.encode(score)[len(prompt.ids) - 1 :])


@pytest.mark.parametrize(("name", "program"), [("remi", 0), ("performance", 0), ("performance", 4)])
def test_each_hand_is_continued_in_its_own_track(name: str, program: int) -> None:
    joined = _continued_by_itself(name, _two_hands(program))
    assert [track.program for track in joined.tracks] == [program, program]
    for track, base in zip(joined.tracks, (72, 45), strict=True):
        assert len(track.notes) == 32
        assert {note.pitch for note in track.notes} <= set(range(base, base + 7))


def test_each_drum_is_continued_in_the_track_that_plays_it() -> None:
    bases = (35, 42, 49)
    joined = _continued_by_itself("remi", _two_hands(bases=bases, is_drum=True))
    assert [{note.pitch for note in track.notes} for track in joined.tracks] == [set(range(b, b + 7)) for b in bases]


def test_the_command_tells_and_keeps_the_seconds_of_the_file(
    run: RunCommand, random_checkpoint: Path, tmp_path: Path
) -> None:
    _score([(0, 54)], 32).dump_midi(tmp_path / "slow.mid")
    words = (
        "--prompt",
        tmp_path / "slow.mid",
        "--seconds",
        "6",
        "--seed",
        "1",
        "--explain",
        "0:36",
        "--sound",
        "false",
    )
    found = run("generate", "midi", "--checkpoint", random_checkpoint, "--out", tmp_path, *words)
    assert found.code == 0, found.err
    told = json.loads((tmp_path / "slow-1.explain.json").read_text())["tokens"][0]["start"]
    onsets, now = [], 0.0
    for message in mido.MidiFile(tmp_path / "slow-1.mid"):
        now += message.time
        if message.type == "note_on" and message.velocity:
            onsets.append(now)
    assert min(abs(onset - told) for onset in onsets) < 0.005
    assert told >= 36
    again = run(
        "generate",
        "midi",
        "--checkpoint",
        random_checkpoint,
        "--from-json",
        tmp_path / "slow-1.json",
        "--out",
        tmp_path / "b",
    )
    assert again.code == 0, again.err
    assert (tmp_path / "b" / "slow-1.mid").read_bytes() == (tmp_path / "slow-1.mid").read_bytes()


def test_a_long_prompt_of_fine_ticks_is_joined_within_the_limits_of_a_file() -> None:
    # 181 ticks per quarter would be multiplied by 24, and the last note then lie beyond 28 bits.
    score = Score(181)
    score.tempos.append(Tempo(0, 3000.0))
    track = Track(program=0, is_drum=False, name="")
    for tick in (0, 181, 181 * 40_000):
        track.notes.append(Note(tick, 100, 60, 80))
    score.tracks.append(track)
    for form in ("remi", "performance"):
        midi = domain(form)
        prompt = midi.prompt(score)
        joined = midi.join(prompt, midi.prompt(None).ids[:0])
        assert joined.end() < 2**28
        assert len(midi.loads(midi.dumps(joined)).tracks[0].notes) == 3
