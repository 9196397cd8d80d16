"""Pairs note-ons and note-offs of a MIDI file, and ends notes without note-offs. Works on arrays of numbers only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["CHANNEL_MODES", "Messages", "Notes", "pair_notes"]

Numbers = NDArray[np.int64]
Bytes = NDArray[np.int16]
"""Bytes in a wider type, so that two data bytes fit into one number."""

CHANNEL_MODES = (120, 123, 124, 125, 126, 127)
"""Controllers that end all notes of a channel: All Sound Off, All Notes Off, and those that imply it."""
_RINGING = 16
"""Quarters after the last event of a file by which a note without an end is ended."""

_LONGEST = 1_000
"""Longest length of such a note in quarters: eight minutes at 120 beats per minute."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Messages:
    """The channel messages of a file as (N,) arrays, in the order of the tracks."""

    tick: Numbers
    track: Numbers
    channel: Numbers
    """Channel below 2048: 16 channels on each of 128 ports."""
    kind: Bytes
    """Upper half of the status byte: 8 note-off, 9 note-on, 11 controller, 12 program, 14 bend."""
    first: Bytes
    second: Bytes

    def of_kind(self, kind: int) -> Numbers:
        """Return the indices of the messages of a kind."""
        return np.flatnonzero(self.kind == kind)


@dataclass(frozen=True, kw_only=True, slots=True)
class Notes:
    """The notes of a file as (N,) arrays, in the order of their note-ons."""

    place: Numbers
    """Index of the note-on among the messages."""
    end: Numbers
    """Ticks."""
    unclosed: int
    """Number of notes without a note-off."""


def pair_notes(messages: Messages, track_ends: Numbers, ticks_per_quarter: int) -> Notes:
    """Pair the notes of a file.

    The first note-off of a pitch on a channel of a track ends its earliest note. If some notes remain, each of them and
    those that overlap them ends at the next note-on or note-off of its pitch on the channel, at the next event that
    ends all notes of the channel, or at the end of its track.

    Args:
        messages: Channel messages of the file.
        track_ends: (tracks,) ends of the tracks in ticks.
        ticks_per_quarter: Resolution; it determines the length of a note that begins at the end of its track.
    """
    places = np.flatnonzero((messages.kind == 8) | (messages.kind == 9))
    voice = ((messages.track[places] << 11 | messages.channel[places]) << 7) | messages.first[places]
    order = np.argsort(voice, kind="stable")
    places, voice = places[order], voice[order]
    strikes = (messages.kind[places] == 9) & (messages.second[places] > 0)
    strikes, places, voice = _without_unmatched_note_offs(strikes, places, voice)
    begins = np.flatnonzero(np.diff(voice, prepend=-1))
    rank = np.cumsum(np.diff(voice, prepend=-1) != 0) - 1
    on, off = np.flatnonzero(strikes), np.flatnonzero(~strikes)
    ons, offs = np.bincount(rank[on], minlength=len(begins)), np.bincount(rank[off], minlength=len(begins))
    number = np.arange(len(on)) - (np.cumsum(ons) - ons)[rank[on]]
    closed = number < offs[rank[on]]
    end = np.zeros(len(on), dtype=np.int64)
    partner = ((np.cumsum(offs) - offs)[rank[on]] + number)[closed]
    end[closed] = messages.tick[places[off[partner]]]
    unclosed = int((~closed).sum())
    if unclosed:
        # From the last time at which no note of the voice sounds.
        depth = np.cumsum(np.where(strikes, 1, -1))
        depth -= (depth - np.where(strikes, 1, -1))[begins][rank]
        silent = begins - 1
        quiet = np.flatnonzero(depth == 0)
        np.maximum.at(silent, rank[quiet], quiet)
        open_ = np.flatnonzero((on > silent[rank[on]]) & (ons > offs)[rank[on]])
        end[open_] = _likely_ends(messages, places[on[open_]], track_ends, ticks_per_quarter)
    back = np.argsort(places[on], kind="stable")
    return Notes(place=places[on][back], end=end[back], unclosed=unclosed)


def _without_unmatched_note_offs(
    strikes: NDArray[np.bool_], places: Numbers, voice: Numbers
) -> tuple[NDArray[np.bool_], Numbers, Numbers]:
    """Remove note-offs for which no note sounds; voices are contiguous."""
    step = np.where(strikes, 1, -1)
    rank = np.cumsum(np.diff(voice, prepend=-1) != 0) - 1
    begins = np.flatnonzero(np.diff(voice, prepend=-1))
    total = np.cumsum(step)
    base = (total - step)[begins][rank] if len(begins) else total
    # Each voice starts far below the previous one, so that the running minimum restarts with it.
    far = rank * (2 * len(step) + 2)
    depth = total - base - far
    before = np.concatenate(([0], np.minimum.accumulate(depth)[:-1])) if len(depth) else depth
    stray = ~strikes & (depth < np.minimum(before, -far))
    return strikes[~stray], places[~stray], voice[~stray]


def _likely_ends(messages: Messages, places: Numbers, track_ends: Numbers, ticks_per_quarter: int) -> Numbers:
    """Estimate the ends of the notes that have no note-off."""
    tick, channel = messages.tick[places], messages.channel[places]
    pitch = channel << 7 | messages.first[places]
    last = int(messages.tick.max())
    end = np.minimum(track_ends[messages.track[places]], last + _RINGING * ticks_per_quarter)
    end = np.where(end > tick, np.minimum(end, tick + _LONGEST * ticks_per_quarter), tick + ticks_per_quarter)
    others = np.flatnonzero((messages.kind == 8) | (messages.kind == 9))
    other_pitch = messages.channel[others] << 7 | messages.first[others]
    end = np.minimum(end, _next(pitch, tick, other_pitch, messages.tick[others]))
    modes = np.flatnonzero((messages.kind == 11) & np.isin(messages.first, CHANNEL_MODES))
    return np.minimum(end, _next(channel, tick, messages.channel[modes], messages.tick[modes]))


def _next(key: Numbers, tick: Numbers, other_key: Numbers, other_tick: Numbers) -> Numbers:
    """Return the tick of the next event with the same key and a later time; a very large number if there is none."""
    far = np.iinfo(np.int64).max
    others = np.append(np.sort(other_key << 31 | other_tick), far)
    found = others[np.searchsorted(others, key << 31 | tick, side="right")]
    return np.where(found >> 31 == key, found & (2**31 - 1), far)
