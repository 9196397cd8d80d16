"""Assigns the notes of a MIDI file to parts, with their programs and controllers. The state of a channel is shared by
all tracks.

A part is what one track plays on one channel with one program. Works on arrays of numbers only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from muse_tokenizers.midi.notes import CHANNEL_MODES, Messages, Notes

__all__ = ["BEND", "RESET", "SUSTAIN", "Part", "find_parts"]

Numbers = NDArray[np.int64]

SUSTAIN = 64
"""The controller of the sustain pedal."""
RESET = 121
"""The controller that resets the others, including the pedal."""
BEND = 128
"""Number that represents pitch bends among the controllers; their values are from -8192 to 8191."""
_SHARED = frozenset({6, 38, 96, 97, 98, 99, 100, 101, RESET, *CHANNEL_MODES})
"""Controllers whose meaning depends on their order, or that affect the whole channel."""
_PRESSED = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """The notes of one track on one channel with one program."""

    track: int
    channel: int
    program: int
    notes: Numbers
    """Indices into the notes of the file."""
    controls: Numbers
    """(M, 3) tick, controller or `BEND`, and value, in order of time."""


def find_parts(messages: Messages, notes: Notes) -> Iterator[Part]:
    """Yield the parts of a file, channel by channel."""
    channel = messages.channel[notes.place]
    programs, bends, controls = messages.of_kind(12), messages.of_kind(14), messages.of_kind(11)
    states = np.sort(np.concatenate([controls, bends]))
    for one in np.unique(channel).tolist():
        own = np.flatnonzero(channel == one)
        changes = programs[messages.channel[programs] == one]
        state = states[messages.channel[states] == one]
        playing = np.unique(messages.track[notes.place[own]])
        if _disagree(messages, changes, playing):
            # Tracks with contradictory programs were written by software that ignores channels: each keeps its own.
            for track in playing.tolist():
                mine = own[messages.track[notes.place[own]] == track]
                seen = [
                    some[(messages.track[some] == track) | ~np.isin(messages.track[some], playing)]
                    for some in (changes, state)
                ]
                yield from _parts_of_channel(messages, notes, mine, seen[0], seen[1])
        else:
            yield from _parts_of_channel(messages, notes, own, changes, state)


def _disagree(messages: Messages, changes: Numbers, playing: Numbers) -> bool:
    """Whether two tracks that play on a channel set two programs at the same tick."""
    changes = changes[np.isin(messages.track[changes], playing)]
    if len(np.unique(messages.track[changes])) < 2:
        return False
    programs: dict[int, tuple[int, int]] = {}
    for place in changes.tolist():
        tick, track, program = (int(column[place]) for column in (messages.tick, messages.track, messages.first))
        if tick in programs and programs[tick][0] != track and programs[tick][1] != program:
            return True
        programs[tick] = track, program
    return False


def _parts_of_channel(
    messages: Messages, notes: Notes, own: Numbers, changes: Numbers, state: Numbers
) -> Iterator[Part]:
    places = notes.place[own]
    track, program = messages.track[places], np.zeros(len(own), dtype=np.int64)
    if len(changes):
        for one in np.unique(track).tolist():
            mine = track == one
            program[mine] = _programs(messages, places[mine], changes, one)
    found = np.unique(program).tolist()
    if len(found) == 1:
        controls = {found[0]: _in_time(messages, state)}
    else:
        first = int(program[np.argmin(messages.tick[places])])
        controls = _share_out(messages, np.concatenate([changes, state]), found, first)
    for one in np.unique(track).tolist():
        for number in found:
            members = own[(track == one) & (program == number)]
            if len(members):
                channel = int(messages.channel[places[0]])
                yield Part(track=one, channel=channel, program=number, notes=members, controls=controls[number])


def _programs(messages: Messages, places: Numbers, changes: Numbers, track: int) -> Numbers:
    """Return the program of each note-on of a track: the last one set before it, or set at its tick by another
    track."""

    def key(some: Numbers) -> Numbers:
        # At equal ticks other tracks come first, and the track itself keeps its order.
        own = messages.track[some] == track
        found: Numbers = messages.tick[some] << 32 | own.astype(np.int64) << 31 | np.where(own, some, 0)
        return found

    keys = key(changes)
    order = np.argsort(keys, kind="stable")
    values = np.concatenate(([0], messages.first[changes[order]]))
    found: Numbers = values[np.searchsorted(keys[order], key(places), side="right")]
    return found


def _in_time(messages: Messages, state: Numbers) -> Numbers:
    """Return the controllers in order of time, (M, 3); equal ones of several tracks at one tick are merged."""
    state = state[np.lexsort((state, messages.tick[state]))]
    bent = messages.kind[state] == 14
    first, second = messages.first[state], messages.second[state]
    number, value = np.where(bent, BEND, first), np.where(bent, (second << 7 | first) - 8192, second)
    rows = np.stack([messages.tick[state], number, value], axis=1)
    tracks = messages.track[state]
    if len(rows) < 2 or not np.diff(tracks).any():
        return rows
    begins = np.flatnonzero(np.diff(rows[:, 0], prepend=-1) | np.diff(tracks, prepend=-1))
    blocks = dict.fromkeys(block.tobytes() for block in np.split(rows, begins[1:]))
    return np.frombuffer(b"".join(blocks), dtype=np.int64).reshape(-1, 3)


def _share_out(messages: Messages, events: Numbers, programs: list[int], current: int) -> dict[int, Numbers]:
    """Distribute the controllers of a channel among its programs.

    A program gets the controllers that come while it is active, and those in effect when it becomes active. The release
    of a pedal goes to all programs with the pedal down.
    """
    events = events[np.lexsort((events, messages.tick[events]))]
    rows: dict[int, list[tuple[int, int, int]]] = {program: [] for program in programs}
    heard: dict[int, dict[int, int]] = {program: {} for program in programs}
    state: dict[int, int] = {}
    columns = (column[events].tolist() for column in (messages.tick, messages.kind, messages.first, messages.second))
    for tick, kind, first, second in zip(*columns, strict=True):
        if kind == 12:
            if first in rows and first != current:
                current = first
                for number, value in state.items():
                    if heard[current].get(number) != value:
                        rows[current].append((tick, number, value))
                heard[current] = state.copy()
            continue
        number, value = (BEND, (second << 7 | first) - 8192) if kind == 14 else (first, second)
        targets = [current]
        if number in _SHARED:
            targets = programs
            if number == RESET:
                for known in (state, *heard.values()):
                    known.clear()
        else:
            state[number] = value
            if number == SUSTAIN and value < _PRESSED:
                under = [program for program in programs if heard[program].get(SUSTAIN, 0) >= _PRESSED]
                targets = sorted({current, *under})
        for program in targets:
            rows[program].append((tick, number, value))
            if number not in _SHARED:
                heard[program][number] = value
    return {program: np.array(found, dtype=np.int64).reshape(-1, 3) for program, found in rows.items()}
