"""Reads MIDI files as scores. A score that is read here is accepted by everything else."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from itertools import pairwise
from math import ceil
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from muse_tokenizers.contents import LOOKED_AT, check_content
from muse_tokenizers.errors import UnreadablePieceError, Warn, warn_about, warn_about_file
from muse_tokenizers.midi import smf
from muse_tokenizers.midi.channels import BEND, RESET, SUSTAIN, Part, find_parts
from muse_tokenizers.midi.notes import Messages, Notes, pair_notes
from muse_tokenizers.midi.scores import as_marker, without_late_texts
from muse_tokenizers.midi.smf import (
    MAXIMUM_TRACKS,
    DamagedFileError,
    MidiFile,
    OversizedFileError,
    Repairs,
    TrackEvents,
)
from muse_tokenizers.midi.tempo_map import TempoMap

if TYPE_CHECKING:
    from symusic.core import ScoreTick as Score
    from symusic.core import TrackTick as Track

__all__ = ["MAXIMUM_NOTES", "MAXIMUM_SECONDS", "parse_score", "read_score"]

MAXIMUM_NOTES = 200_000
"""Several times as many as in any recorded performance. MidiTok takes up to 1.4 KiB for a note: 300 MiB in all."""
MAXIMUM_SECONDS = 4 * 3600
MAXIMUM_BYTES = 64 * 2**20
MAXIMUM_CONTROLS = 800_000
"""Largest number of controllers of all parts, each of which has those of its channel."""
MAXIMUM_QUARTERS = 50_000
"""Longest piece in quarters: four hours at 208 beats per minute. At any resolution of MIDI, 31 bits suffice for it and
a continuation."""
MAXIMUM_BARS = 60_000
_SHORTEST_QUARTER = 20_000
"""Shortest quarter in microseconds: 3,000 beats per minute. At tempos of millions, a second of music has too many
bars."""
_DRUMS = 9
"""Drum channel of each port, counted from 0."""
_PRESSED = 64
"""Smallest controller value at which a pedal is down."""

_Event = tuple[int, bytes]


def read_score(path: Path, warn: Warn = warn_about_file) -> Score:
    """Read a MIDI file.

    Args:
        path: Path of the file.
        warn: Called with one line for everything that was repaired.

    Raises:
        UnreadablePieceError: The file does not exist, is not MIDI, is damaged beyond repair, has no notes, or is too
            long.
    """
    try:
        size = path.stat().st_size
        if size > MAXIMUM_BYTES:
            raise UnreadablePieceError(
                f"{path} has {size / 2**20:.0f} MiB; allowed: up to {MAXIMUM_BYTES // 2**20} MiB"
            )
        data = path.read_bytes()
    except OSError as error:
        raise UnreadablePieceError(f"cannot read {path}: {error.strerror}") from error
    return parse_score(data, str(path), warn)


def parse_score(data: bytes, name: str, warn: Warn = warn_about_file) -> Score:
    """Read a score from the bytes of a MIDI file; `name` is its name in messages.

    Raises:
        UnreadablePieceError: As for `read_score`.
    """
    if not data:
        raise UnreadablePieceError(f"{name} is empty")
    check_content(data[:LOOKED_AT], "midi", name, warn)
    repairs = Repairs()
    try:
        file = smf.parse_file(data, repairs)
    except DamagedFileError as error:
        kind = "not a MIDI file" if b"MThd" not in data[: smf.JUNK] else "a damaged MIDI file"
        raise UnreadablePieceError(f"{name} is {kind}: {error}") from error
    except OversizedFileError as error:
        raise UnreadablePieceError(f"{name} has {error}") from error
    score = _score(file, name, repairs)
    warn_about([f"{name}: {line}" for line in repairs.lines()], name, warn)
    return score


def _score(file: MidiFile, name: str, repairs: Repairs) -> Score:
    from symusic import Score

    offsets = _offsets(file, repairs)
    messages = _messages(file.tracks, offsets)
    count = int(((messages.kind == 9) & (messages.second > 0)).sum())
    if count == 0:
        raise UnreadablePieceError(f"{name} has no notes")
    if count > MAXIMUM_NOTES:
        raise UnreadablePieceError(f"{name} has {count:,} notes; allowed: up to {MAXIMUM_NOTES:,}")
    ends = np.array([offset + track.end for offset, track in zip(offsets, file.tracks, strict=True)], dtype=np.int64)
    notes = pair_notes(messages, ends, file.ticks_per_quarter)
    if notes.unclosed:
        repairs.add(
            "{count} note{s} without a note-off, ended at the next of the pitch, at All Notes Off, or with the track",
            count=notes.unclosed,
        )
    parts = _parts(messages, notes, name)
    last = max(int(notes.end.max()), int(messages.tick.max()), *(m[0] + o for m, o in _last_meta(file, offsets)))
    _check_ticks(last, file.ticks_per_quarter, name)
    score = Score(file.ticks_per_quarter)
    _add_meta(score, file, offsets, repairs)
    _check_length(score, last, name)
    for part in parts:
        score.tracks.append(_track(file, messages, notes, part))
    _add_words(score, file, parts, offsets)
    return score


def _parts(messages: Messages, notes: Notes, name: str) -> list[Part]:
    """Return the parts of a file by track; the number is checked while they are built."""
    parts, controls = [], 0
    for part in find_parts(messages, notes):
        parts.append(part)
        controls += len(part.controls)
        if len(parts) > MAXIMUM_TRACKS:
            raise UnreadablePieceError(f"{name} has too many instruments; allowed: up to {MAXIMUM_TRACKS:,}")
        if controls > MAXIMUM_CONTROLS:
            raise UnreadablePieceError(f"{name} has too many controllers; allowed: up to {MAXIMUM_CONTROLS:,}")
    return sorted(parts, key=lambda part: (part.track, part.channel, part.program))


def _offsets(file: MidiFile, repairs: Repairs) -> list[int]:
    """Return the tick at which each track begins: tracks of format 2 are consecutive."""
    if file.file_format < 2 or len(file.tracks) < 2:
        return [0] * len(file.tracks)
    repairs.add(f"its {len(file.tracks)} tracks are pieces of their own (format 2); read one after the other")
    offsets, at = [], 0
    for track in file.tracks:
        offsets.append(at)
        at += _whole_bars(track, file.ticks_per_quarter)
    return offsets


def _whole_bars(track: TrackEvents, ticks_per_quarter: int) -> int:
    """Return the length of a track in ticks, rounded up to a bar line."""
    metres = [(tick, data) for tick, kind, data in track.meta if kind == smf.TIME_SIGNATURE and not _metre(data)]
    since, data = max(metres, key=itemgetter(0), default=(0, b"\x04\x02"))
    bar = Fraction(4 * data[0] * ticks_per_quarter, 1 << data[1])
    return since + ceil(ceil((track.end - since) / bar) * bar)


def _messages(tracks: list[TrackEvents], offsets: list[int]) -> Messages:
    columns = [np.frombuffer(track.channel, dtype=np.int64) for track in tracks if track.channel]
    numbers = [number for number, track in enumerate(tracks) if track.channel]
    packed = np.concatenate(columns) if columns else np.zeros(0, dtype=np.int64)
    sizes = [len(column) for column in columns]
    offset = np.repeat(np.array([offsets[number] for number in numbers], dtype=np.int64), sizes)
    status = (packed >> 16 & 255).astype(np.int16)
    return Messages(
        tick=(packed >> 31) + offset,
        track=np.repeat(np.array(numbers, dtype=np.int64), sizes),
        channel=(packed >> 24 & 127) << 4 | status & 15,
        kind=status >> 4,
        first=(packed >> 8 & 255).astype(np.int16),
        second=(packed & 255).astype(np.int16),
    )


def _last_meta(file: MidiFile, offsets: list[int]) -> Iterable[tuple[tuple[int, int, bytes], int]]:
    return ((track.meta[-1], offset) for track, offset in zip(file.tracks, offsets, strict=True) if track.meta)


def _check_ticks(last: int, ticks_per_quarter: int, name: str) -> None:
    quarters = last / ticks_per_quarter
    if quarters > MAXIMUM_QUARTERS:
        raise UnreadablePieceError(f"{name} has {quarters:,.0f} quarters; allowed: up to {MAXIMUM_QUARTERS:,}")


def _check_length(score: Score, last: int, name: str) -> None:
    seconds = float(TempoMap(score).seconds(last))
    if seconds > MAXIMUM_SECONDS:
        raise UnreadablePieceError(
            f"{name} is {seconds / 3600:.1f} hours long; allowed: up to {MAXIMUM_SECONDS // 3600} hours"
        )
    metres = [(item.time, 4 * item.numerator / item.denominator) for item in score.time_signatures]
    bars = sum(
        (end - start) / score.ticks_per_quarter / quarters
        for (start, quarters), (end, _) in pairwise([(0, 4.0), *metres, (last, 4.0)])
    )
    if bars > MAXIMUM_BARS:
        raise UnreadablePieceError(f"{name} has {bars:,.0f} bars; allowed: up to {MAXIMUM_BARS:,}")


# Global events


def _add_meta(score: Score, file: MidiFile, offsets: list[int], repairs: Repairs) -> None:
    from symusic import KeySignature, Tempo, TimeSignature

    tempos = {time: int.from_bytes(data[:3]) for time, data in _metas(file, offsets, smf.TEMPO, _tempo, repairs)}
    metres = dict(_metas(file, offsets, smf.TIME_SIGNATURE, _metre, repairs))
    keys = dict(_metas(file, offsets, smf.KEY_SIGNATURE, _key, repairs))
    if file.quarter is not None:
        if tempos:
            repairs.add("{count} tempo{s} left out: its ticks are parts of a second", count=len(tempos))
        tempos = {0: file.quarter}
    elif file.file_format == 2:
        # Each piece starts with MIDI's default tempo and metre unless it sets others.
        for offset in sorted(set(offsets)):
            tempos.setdefault(offset, 500_000)
            metres.setdefault(offset, b"\x04\x02")
    for time, microseconds in sorted(tempos.items()):
        tempo = Tempo(time, 120.0)
        tempo.mspq = microseconds
        score.tempos.append(tempo)
    for time, data in sorted(metres.items()):
        score.time_signatures.append(TimeSignature(time, data[0], 1 << data[1]))
    for time, data in sorted(keys.items()):
        score.key_signatures.append(KeySignature(time, _signed(data[0]), data[1]))


def _metas(file: MidiFile, offsets: list[int], kind: int, problem: Any, repairs: Repairs) -> list[_Event]:
    """Return the valid events of a kind in all tracks as (tick, data); the last one at a tick counts."""
    found: list[_Event] = []
    for number, (track, offset) in enumerate(zip(file.tracks, offsets, strict=True)):
        for tick, other, data in track.meta:
            if other == kind:
                wrong = problem(data)
                if wrong:
                    repairs.add(wrong, f"track {number + 1}, tick {tick}")
                else:
                    found.append((tick + offset, data))
    return found


def _tempo(data: bytes) -> str | None:
    sound = len(data) >= 3 and int.from_bytes(data[:3]) >= _SHORTEST_QUARTER
    return None if sound else "{count} tempo{s} beyond 3,000 beats per minute left out"


def _metre(data: bytes) -> str | None:
    sound = len(data) >= 2 and data[0] > 0 and data[1] <= 7
    return None if sound else "{count} impossible time signature{s} left out"


def _key(data: bytes) -> str | None:
    sound = len(data) >= 2 and -7 <= _signed(data[0]) <= 7 and data[1] <= 1
    return None if sound else "{count} impossible key signature{s} left out"


def _signed(byte: int) -> int:
    return byte - 256 if byte > 127 else byte


# Tracks


def _track(file: MidiFile, messages: Messages, notes: Notes, part: Part) -> Track:
    from symusic import ControlChange, Note, Pedal, PitchBend, Track

    name = next((data for _, kind, data in file.tracks[part.track].meta if kind == smf.TRACK_NAME), b"")
    track = Track(program=part.program, is_drum=part.channel & 15 == _DRUMS, name=_text(name))
    place = notes.place[part.notes]
    order = np.argsort(messages.tick[place], kind="stable")
    place, end = place[order], notes.end[part.notes][order]
    time = messages.tick[place]
    track.notes = Note.from_numpy(
        time=time.astype(np.int32),
        duration=(end - time).astype(np.int32),
        pitch=messages.first[place].astype(np.int8),
        velocity=messages.second[place].astype(np.int8),
    )
    time, number, value = part.controls.T
    bent = number == BEND
    if bent.any():
        track.pitch_bends = PitchBend.from_numpy(time=time[bent].astype(np.int32), value=value[bent].astype(np.int32))
    if not bent.all():
        track.controls = ControlChange.from_numpy(
            time=time[~bent].astype(np.int32),
            number=number[~bent].astype(np.uint8),
            value=value[~bent].astype(np.uint8),
        )
        down, up = _pedals(time[~bent], number[~bent], value[~bent])
        if len(down):
            track.pedals = Pedal.from_numpy(time=down.astype(np.int32), duration=(up - down).astype(np.int32))
    return track


def _pedals(
    time: NDArray[np.int64], number: NDArray[np.int64], value: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the ticks at which the pedal of a channel goes down and up."""
    some = (number == SUSTAIN) | (number == RESET)
    time, pressed = time[some], (number[some] == SUSTAIN) & (value[some] >= _PRESSED)
    change = np.diff(pressed.astype(np.int8), prepend=0)
    down, up = time[change == 1], time[change == -1]
    # A pedal that is never released has no length.
    down = down[: len(up)]
    return down[up > down], up[up > down]


def _add_words(score: Score, file: MidiFile, parts: list[Part], offsets: list[int]) -> None:
    """Markers, and what is kept as markers: texts, copyright notices, and the title, which is the name of a first track
    without notes. Lyrics of a track without notes go with the first track that has some."""
    from symusic import TextMeta

    markers = [
        TextMeta(tick + offset, _text(data) if kind == smf.MARKER else as_marker(kind, _text(data)))
        for track, offset in zip(file.tracks, offsets, strict=True)
        for tick, kind, data in track.meta
        if kind in (smf.MARKER, smf.TEXT, smf.COPYRIGHT)
    ]
    if all(part.track for part in parts):
        titles = [_text(data) for _, kind, data in file.tracks[0].meta if kind == smf.TRACK_NAME]
        markers[:0] = [TextMeta(0, as_marker(smf.TRACK_NAME, title)) for title in titles[:1] if title]
    score.markers = sorted(markers, key=lambda marker: marker.time)
    score.markers = without_late_texts(score)
    for number, (track, offset) in enumerate(zip(file.tracks, offsets, strict=True)):
        target = next((place for place, part in enumerate(parts) if part.track == number), 0)
        lyrics = [TextMeta(tick + offset, _text(data)) for tick, kind, data in track.meta if kind == smf.LYRIC]
        if lyrics:
            both = [*score.tracks[target].lyrics, *lyrics]
            score.tracks[target].lyrics = sorted(both, key=lambda lyric: lyric.time)


def _text(data: bytes) -> str:
    """Decode text: the standard says ASCII, current files have UTF-8, and older ones mostly Latin-1."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    return text.replace("\0", "")
