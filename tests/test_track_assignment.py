"""Tests of the assignment of new notes to the tracks of one instrument."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np

from muse_tokenizers.midi.track_assignment import TrackLine, _divide, assign_drums, assign_tracks


@dataclass(frozen=True)
class Struck:
    time: int
    pitch: int
    length: int = 10

    @property
    def end(self) -> int:
        return self.time + self.length


def _lines(*pitches: int) -> list[TrackLine]:
    return [TrackLine.of([Struck(-20, pitch)]) for pitch in pitches]


def test_a_note_goes_to_the_track_around_which_it_lies() -> None:
    notes = [Struck(0, 74), Struck(10, 47), Struck(20, 70), Struck(30, 50)]
    assert assign_tracks(_lines(72, 48), notes) == [0, 1, 0, 1]
    assert assign_tracks(_lines(48, 72), notes) == [1, 0, 1, 0]


def test_a_chord_is_divided_where_the_hands_meet_and_never_crosses() -> None:
    chord = [Struck(0, pitch) for pitch in (40, 47, 52, 64, 67, 72)]
    assert assign_tracks(_lines(70, 45), chord) == [1, 1, 1, 0, 0, 0]


def test_no_hand_reaches_further_than_it_can_while_the_other_is_free() -> None:
    # The octaves below middle C would all be nearer to the right hand, which holds a note high above.
    lines = _lines(72, 40)
    lines[0].held = [(79, 100)]
    assert assign_tracks(lines, [Struck(0, 57)]) == [1]


def test_a_line_that_wanders_keeps_its_notes() -> None:
    rising = [Struck(10 * n, 60 + n // 2) for n in range(40)]
    below = [Struck(10 * n, 40 + n // 3) for n in range(40)]
    notes = sorted([*rising, *below], key=lambda note: (note.time, note.pitch))
    given = assign_tracks(_lines(60, 40), notes)
    assert [number for note, number in zip(notes, given, strict=True) if note in rising] == [0] * 40
    assert [number for note, number in zip(notes, given, strict=True) if note in below] == [1] * 40


def test_later_notes_do_not_move_earlier_ones() -> None:
    random = np.random.default_rng(0)
    notes = [Struck(10 * n, int(random.integers(30, 90))) for n in range(60)]
    whole = assign_tracks(_lines(70, 50, 40), notes)
    for length in (1, 7, 30, 59):
        assert assign_tracks(_lines(70, 50, 40), notes[:length]) == whole[:length]


def test_a_drum_goes_where_it_is_played_most_and_a_new_one_to_the_busiest_track() -> None:
    kick, cymbals = np.array([36, 36, 38]), np.array([42, 42, 46, 42, 36])
    assert assign_drums([kick, cymbals], [36, 42, 38, 51]) == [0, 1, 0, 1]


def _costs(lines: Sequence[TrackLine], pitches: Sequence[int]) -> Iterator[tuple[float, tuple[int, ...]]]:
    """Every way to divide pitches among lines, and what it costs: the module's docstring, spelled out."""
    for ranks in combinations_with_replacement(range(len(lines)), len(pitches)):
        cost = 0.0
        for rank, line in enumerate(lines):
            own = [pitch for pitch, taken in zip(pitches, ranks, strict=True) if taken == rank]
            if not own:
                continue
            together = [*own, *(pitch for pitch, _ in line.held)]
            away = crossed = 0.0
            for pitch in own:
                away += abs(pitch - line.centre)
                crossed += 6.0 * sum(pitch < other for below in lines[:rank] for other, _ in below.held)
                crossed += 6.0 * sum(pitch > other for above in lines[rank + 1 :] for other, _ in above.held)
            cost = cost + (away + 3.0 * max(0, max(together) - min(together) - 14)) + crossed
        yield cost, ranks


def test_of_all_divisions_the_cheapest_is_taken_and_of_equals_the_first() -> None:
    random = np.random.default_rng(0)
    ties = 0
    for _ in range(400):
        lines = _lines(*sorted(random.integers(45, 75, random.integers(2, 6)).tolist()))
        for line in lines:
            line.held = [(pitch, 100) for pitch in random.integers(40, 80, random.integers(0, 4)).tolist()]
            line.centre += float(random.integers(0, 3)) / 2
        lines.sort(key=lambda line: line.centre)
        pitches = sorted(random.integers(40, 80, random.integers(1, 6)).tolist())
        costs = sorted(_costs(lines, pitches))
        ties += costs[0][0] == costs[1][0]
        assert _divide(lines, pitches) == list(costs[0][1])
    assert ties > 10
