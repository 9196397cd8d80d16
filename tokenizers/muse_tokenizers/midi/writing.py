"""Writes scores as MIDI files (RP-001, format 1): a track for tempo, metre and key, then one for each part."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from muse_tokenizers.errors import UnwritablePieceError
from muse_tokenizers.midi.channels import RESET, SUSTAIN
from muse_tokenizers.midi.scores import event_of_marker
from muse_tokenizers.midi.smf import KEY_SIGNATURE, LYRIC, PORT, TEMPO, TIME_SIGNATURE, TRACK_NAME

if TYPE_CHECKING:
    from symusic.core import ScoreTick as Score
    from symusic.core import TrackTick as Track

__all__ = ["dump_score", "write_score"]

_CHANNELS = tuple(channel for channel in range(16) if channel != 9)
"""Channels of a port without the drum channel."""
_DRUMS = 9
_PORTS = 128
_PRESSED = 64
_BANKS = (0, 32)
"""Controllers that select a bank of programs; they take effect at the next program change."""
_OFF, _STATE, _ON, _OFF_AT_ONCE = range(4)
"""Order of events at one tick: ends, changes, beginnings, and ends of notes without length."""

_Event = tuple[int, int, bytes]
"""Tick, order, and the bytes after the delta time."""


def write_score(score: Score, path: Path) -> None:
    """Write a MIDI file.

    Raises:
        UnwritablePieceError: The file could not be written.
    """
    try:
        path.write_bytes(dump_score(score))
    except OSError as error:
        raise UnwritablePieceError(f"cannot write {path}: {error.strerror}") from error


def dump_score(score: Score) -> bytes:
    """Return a score as the bytes of a MIDI file; equal scores give equal bytes.

    Each part has its own channel, the drums the tenth. If there are more than fifteen others, parts of one program
    share a channel if their controllers are equal; the rest goes to further ports with sixteen channels each.
    """
    tracks, states = [_chunk(_conductor(score))], dict[tuple[int, int], tuple[Any, ...]]()
    for track, place in zip(score.tracks, _places(score), strict=True):
        state = _state_of(track)
        tracks.append(_chunk(_part(track, *place, alone=states.get(place) != state)))
        states[place] = state
    head = b"MThd" + (6).to_bytes(4) + (1).to_bytes(2) + len(tracks).to_bytes(2)
    return b"".join([head, int(score.ticks_per_quarter).to_bytes(2), *tracks])


def _places(score: Score) -> list[tuple[int, int]]:
    """Return the port and channel of each track."""
    crowded = sum(not track.is_drum for track in score.tracks) > len(_CHANNELS)
    programs: dict[int, int] = {}
    states: dict[int, dict[Any, int]] = {}
    found = []
    for place, track in enumerate(score.tracks):
        kind = -1 if track.is_drum else track.program if crowded else 128 + place
        if not track.is_drum:
            programs.setdefault(kind, len(programs))
        known = states.setdefault(kind, {})
        found.append((kind, known.setdefault(_state_of(track), len(known))))
    # On further ports each channel has the program of the first port, for players that ignore ports.
    ports = -(-len(programs) // len(_CHANNELS))
    numbers = {
        (kind, variant): programs[kind] + variant * ports * len(_CHANNELS) for kind, variant in found if kind >= 0
    }
    if max(numbers.values(), default=0) >= _PORTS * len(_CHANNELS):
        # There are so many that the ports must be filled.
        numbers = {key: number for number, key in enumerate(numbers)}
    places = []
    for kind, variant in found:
        port, channel = (variant, -1) if kind < 0 else divmod(numbers[kind, variant], len(_CHANNELS))
        places.append((port % _PORTS, _DRUMS if kind < 0 else _CHANNELS[channel]))
    return places


def _state_of(track: Track) -> tuple[Any, ...]:
    """Return a key that is equal for tracks that can share a channel."""
    columns = (track.controls.numpy(), track.pitch_bends.numpy(), track.pedals.numpy())
    return track.program, *(column[name].tobytes() for column in columns for name in sorted(column))


def _chunk(events: Iterable[_Event]) -> bytes:
    content = bytearray()
    now = 0
    # Packed into one integer each: tuples would take as much memory as the events.
    for tick, _, data in sorted(events, key=lambda event: 8 * event[0] + event[1]):
        content += _number(max(tick, now) - now)
        content += data
        now = max(tick, now)
    content += b"\x00\xff\x2f\x00"
    return b"MTrk" + len(content).to_bytes(4) + bytes(content)


def _number(value: int) -> bytes:
    """Return a variable-length quantity.

    >>> _number(200).hex()
    '8148'
    """
    found = [value & 0x7F]
    while value := value >> 7:
        found.append(value & 0x7F | 0x80)
    return bytes(reversed(found))


def _meta(kind: int, data: bytes) -> bytes:
    return bytes((0xFF, kind)) + _number(len(data)) + data


def _words(text: str) -> bytes:
    return text.encode("utf-8", "replace")


def _conductor(score: Score) -> Iterator[_Event]:
    for metre in score.time_signatures:
        data = bytes((metre.numerator, metre.denominator.bit_length() - 1, 24, 8))
        yield metre.time, 0, _meta(TIME_SIGNATURE, data)
    for key in score.key_signatures:
        yield key.time, 1, _meta(KEY_SIGNATURE, bytes((key.key & 0xFF, key.tonality)))
    for tempo in score.tempos:
        yield tempo.time, 2, _meta(TEMPO, min(max(tempo.mspq, 1), 2**24 - 1).to_bytes(3))
    for marker in score.markers:
        kind, text = event_of_marker(marker.text)
        yield marker.time, -1 if kind == TRACK_NAME else 3, _meta(kind, _words(text))


def _part(track: Track, port: int, channel: int, alone: bool) -> Iterator[_Event]:
    """Yield the events of a track; one that shares the channel of an equal earlier track (not `alone`) has its
    state."""
    if port:
        yield 0, -1, _meta(PORT, bytes((port,)))
    if track.name:
        yield 0, -1, _meta(TRACK_NAME, _words(track.name))
    for lyric in track.lyrics:
        yield lyric.time, _STATE, _meta(LYRIC, _words(lyric.text))
    yield from _state(track, channel) if alone else [(0, _STATE, bytes((0xC0 | channel, track.program)))]
    on, off = 0x90 | channel, 0x80 | channel
    columns = track.notes.numpy()
    names = ("time", "pitch", "duration", "velocity")
    for time, pitch, length, velocity in sorted(zip(*(columns[name].tolist() for name in names), strict=True)):
        if velocity > 0:
            yield time, _ON, bytes((on, pitch, velocity))
            yield time + max(length, 0), _OFF if length > 0 else _OFF_AT_ONCE, bytes((off, pitch, 64))


def _state(track: Track, channel: int) -> Iterator[_Event]:
    """Yield the program, and the controllers and bends in their order."""
    controls = _controls(track)
    program = bytes((0xC0 | channel, track.program))
    # A bank takes effect at the next program change, so one follows.
    banks = {time: place for place, (time, number, _) in enumerate(controls) if number in _BANKS}
    if 0 not in banks:
        yield 0, _STATE, program
    for place, (time, number, value) in enumerate(controls):
        yield time, _STATE, bytes((0xB0 | channel, number, value))
        if banks.get(time) == place:
            yield time, _STATE, program
    for bend in track.pitch_bends:
        value = min(max(bend.value + 8192, 0), 16383)
        yield bend.time, _STATE, bytes((0xE0 | channel, value & 0x7F, value >> 7))


def _controls(track: Track) -> list[tuple[int, int, int]]:
    """Return tick, number and value of the controllers of a track, and of those for its pedals if it has none."""
    columns = track.controls.numpy()
    rows = list(zip(*(columns[name].tolist() for name in ("time", "number", "value")), strict=True))
    there = {(time, value >= _PRESSED) for time, number, value in rows if number == SUSTAIN}
    there |= {(time, False) for time, number, _ in rows if number == RESET}
    pedals = [(pedal.time, pedal.end) for pedal in track.pedals if pedal.duration > 0]
    releases = [(end, SUSTAIN, 0) for _, end in pedals if (end, False) not in there]
    presses = [(time, SUSTAIN, 127) for time, _ in pedals if (time, True) not in there]
    # At one tick a release comes before a press, or the pedal would stay up; the score's own controllers keep their
    # order, on which some of them (RPN 101, 100, 6, 38) depend.
    return sorted([*releases, *rows, *presses], key=lambda row: row[0])
