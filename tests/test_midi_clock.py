"""Promises of time: seconds are those of the file that is written, whatever tempos a vocabulary knows."""

from __future__ import annotations

import json
from pathlib import Path

import mido
import numpy as np
import pytest
from conftest import RunCommand
from midi_pieces import tokenizer
from symusic import Note, Pedal, Score, Tempo, Track

from muse_tokenizers.base import Prompt, Wishes
from muse_tokenizers.midi.clock import pace_of
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


def _grown(prompt: Prompt[Score], wishes: Wishes, seed: int = 0, steps: int = 4000) -> np.ndarray:  # type: ignore[type-arg]
    """Random ids that the grammar allows, until it is finished."""
    remi, random = tokenizer("remi"), np.random.default_rng(seed)
    prompt = remi.timed(prompt, wishes)
    grammar = remi.grammar(prompt.ids, 1, wishes, None, prompt.clock)
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
    remi, score = tokenizer("remi"), _score([(0, bpm)], 24)
    prompt = remi.prompt(score)
    assert prompt.cut == pytest.approx(24 * 60 / bpm, abs=1e-3)
    pitches = [step[0] for step in remi.describe(prompt.ids, prompt) if step[0].kind == "pitch"]
    assert [token.start for token in pitches] == pytest.approx([beat * 60 / bpm for beat in range(24)], abs=2e-3)
    assert pitches[-1].end == pytest.approx((23 + 400 / 480) * 60 / bpm, rel=0.02)


def test_a_prompt_is_cut_by_the_seconds_of_its_file() -> None:
    # At 54 a bar of four beats lasts 4.44 s; the vocabulary's 56 would make it 4.29, and five bars of 22 s.
    prompt = tokenizer("remi").prompt(_score([(0, 54)]), 22.0)
    assert prompt.cut == pytest.approx(4 * 240 / 54)
    assert tokenizer("remi").cut_before(_score([(0, 54)]), 22.0) == pytest.approx(4 * 240 / 54)


def test_tempo_changes_inside_a_prompt_are_followed() -> None:
    score = _score([(0, 54), (1920, 118), (3840, 77.7)], 16)
    remi, times = tokenizer("remi"), TempoMap(score)
    prompt = remi.prompt(score)
    starts = [step[0].start for step in remi.describe(prompt.ids, prompt) if step[0].kind == "pitch"]
    assert starts == pytest.approx(times.seconds(480 * np.arange(16)).tolist(), abs=1e-6)


@pytest.mark.parametrize("bpm", [54, 118, 300, 10])
def test_what_follows_is_written_at_the_true_tempo_and_as_long_as_was_asked(bpm: int) -> None:
    remi = tokenizer("remi")
    prompt = remi.prompt(_score([(0, bpm)], 16))
    wishes = Wishes(seconds=9.0, keep_tempo=True, keep_instruments=True, silence=0.5)
    joined = remi.join(prompt, _grown(prompt, wishes))
    assert {tempo.mspq for tempo in joined.tempos} == {round(60e6 / bpm)}
    last = max(note.time for track in joined.tracks for note in track.notes)
    beyond = float(TempoMap(joined).seconds(last)) - prompt.cut
    assert 9.0 - 0.5 - 2.5 * 60 / bpm - 0.6 < beyond <= 9.0


def test_described_and_written_times_are_the_same() -> None:
    remi = tokenizer("remi")
    prompt = remi.prompt(_score([(0, 54), (3840, 118), (9000, 61.3)], 32))
    for wishes in (Wishes(seconds=6.0, silence=0.5), Wishes(seconds=6.0, silence=0.5, keep_tempo=True)):
        timed = remi.timed(prompt, wishes)
        ids = _grown(timed, wishes, seed=3)
        joined = remi.join(timed, ids)
        tokens = remi.describe(np.concatenate([timed.ids, ids]), timed)[len(timed.ids) :]
        told = sorted(step[0].start for step in tokens if step[0].kind in ("pitch", "drum"))
        written = sorted(
            float(TempoMap(joined).seconds(note.time))
            for track in joined.tracks
            for note in track.notes
            if note.time >= timed.cut_step * joined.ticks_per_quarter // 480
        )
        assert len(told) >= 5
        assert written == pytest.approx(told, abs=0.003)


def test_a_ritardando_before_the_cut_is_not_the_tempo_of_what_follows() -> None:
    ritardando = [(1920 * 15 + 480 * beat, 73 - 6 * (beat + 1)) for beat in range(4)]
    score = _score([(0, 73), *ritardando])
    pace = pace_of(score, 480 * 64)
    assert pace.prevailing == pytest.approx(73, abs=0.01)
    assert pace.last == pytest.approx(49, abs=0.01)
    remi = tokenizer("remi")
    prompt = remi.prompt(score)
    joined = remi.join(prompt, _grown(prompt, Wishes(bars=3, keep_tempo=True)))
    cut = 480 * 64 * joined.ticks_per_quarter // 480
    assert next(mspq for tick, mspq in _microseconds(joined) if tick >= cut) == round(60e6 / 73)


def test_a_tempo_that_is_asked_for_is_written_exactly() -> None:
    remi, score = tokenizer("remi"), _score([(0, 120)], 16)
    wishes = Wishes(tempo=90.0, seconds=5.0)
    prompt = remi.timed(remi.prompt(score), wishes)
    joined = remi.join(prompt, _grown(prompt, wishes))
    assert _microseconds(joined)[-1][1] == round(60e6 / 90)
    nothing = remi.timed(remi.prompt(None), wishes)
    assert {mspq for _, mspq in _microseconds(remi.join(nothing, _grown(nothing, wishes)))} == {round(60e6 / 90)}


def test_tempos_stay_in_the_range_of_the_prompt_unless_they_are_free() -> None:
    remi = tokenizer("remi")
    prompt = remi.prompt(_score([(0, 100), (9600, 112)], 48))

    def tempos(wishes: Wishes) -> set[float]:
        found: set[float] = set()
        for seed in range(6):
            joined = remi.join(prompt, _grown(prompt, wishes, seed))
            found |= {60e6 / mspq for tick, mspq in _microseconds(joined) if tick > 480 * 48}
        return found

    assert all(99 <= bpm <= 113 for bpm in tempos(Wishes(bars=4, keep_tempo=True)))
    assert not all(99 <= bpm <= 113 for bpm in tempos(Wishes(bars=4)))


def test_instruments_are_those_of_the_prompt_unless_any_may_play() -> None:
    remi = tokenizer("remi")
    prompt = remi.prompt(_score([(0, 100)], 16, program=56))

    def programs(wishes: Wishes) -> set[int]:
        return {track.program for track in remi.join(prompt, _grown(prompt, wishes)).tracks}

    assert programs(Wishes(bars=4, keep_instruments=True)) == {56}
    assert len(programs(Wishes(bars=4))) > 1
    assert programs(Wishes(bars=4, keep_instruments=True, instruments=("violin",))) == {40, 56}


def _two_hands() -> Score:
    score = Score(480)
    score.tempos.append(Tempo(0, 100))
    for name, base in (("right", 72), ("left", 45)):
        track = Track(program=0, is_drum=False, name=name)
        for beat in range(32):
            track.notes.append(Note(480 * beat, 400, base + beat % 7, 80))
        track.pedals.append(Pedal(0, 400))
        score.tracks.append(track)
    return score


def test_each_hand_is_continued_in_its_own_track() -> None:
    remi = tokenizer("remi")
    prompt = remi.prompt(_two_hands(), 10.0)
    rest = remi.encode(_two_hands())[len(prompt.ids) - 1 :]
    joined = remi.join(prompt, rest)
    for track, base in zip(joined.tracks, (72, 45), strict=True):
        assert len(track.notes) == 32
        assert {note.pitch for note in track.notes} <= set(range(base, base + 7))


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
