"""Parses Standard MIDI Files (RP-001) into chunks and events. Knows nothing of scores.

Damaged files are read as far as other programs read them, and each repair is recorded. An event whose meaning is
unclear raises `DamagedFileError` with track and tick.
"""

from __future__ import annotations

import struct
from array import array
from dataclasses import dataclass, field

from muse_tokenizers.wording import counted

__all__ = [
    "JUNK",
    "MAXIMUM_TRACKS",
    "DamagedFileError",
    "MidiFile",
    "OversizedFileError",
    "Repairs",
    "TrackEvents",
    "parse_file",
]

LATEST_TICK = 2**31 - 1
JUNK = 65_536
"""Number of bytes in which a header is searched."""
_FRAMES = {232: 24, 231: 25, 227: 29, 226: 30}
"""SMPTE frame rates by the first byte of the division; 29 means 30000/1001."""
_SYSTEM = {0xF1: 1, 0xF2: 2, 0xF3: 1}
"""Number of data bytes of system messages; the others have none."""
TEXT, COPYRIGHT, TRACK_NAME, LYRIC, MARKER, TEMPO, TIME_SIGNATURE, KEY_SIGNATURE = 1, 2, 3, 5, 6, 0x51, 0x58, 0x59
"""Types of meta events."""
_KEPT = frozenset((TEXT, COPYRIGHT, TRACK_NAME, LYRIC, MARKER, TEMPO, TIME_SIGNATURE, KEY_SIGNATURE))
PORT, _END_OF_TRACK = 0x21, 0x2F
_END = b"\xff\x2f\x00"
MAXIMUM_TRACKS = 1_000
MAXIMUM_STRIKES = 2_000_000
MAXIMUM_OTHERS = 800_000
"""Largest numbers of note-ons and note-offs, and of other events: several times those of four hours of recorded piano.
An event of two bytes takes a hundred times as much memory during parsing."""
MAXIMUM_META = 300_000
"""Largest number of tempos, metres, keys, names and texts; these take even more memory."""
MAXIMUM_WORDS = 4 * 2**20
"""Largest size of these in bytes."""


class DamagedFileError(Exception):
    """Why a MIDI file cannot be read, in a few words."""


class OversizedFileError(Exception):
    """A MIDI file exceeds a limit."""

    def __init__(self, what: str, most: int) -> None:
        super().__init__(f"too many {what}; allowed: up to {most:,}")


class Repairs:
    """Repairs of a file: the number of each kind, and the first position."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[int, str]] = {}

    def add(self, what: str, place: str = "", count: int = 1) -> None:
        """Record a repair; `what` may contain the count, as in "{count} data bytes above 127 set to 127"."""
        before, first = self._found.get(what, (0, place))
        self._found[what] = (before + count, first)

    def lines(self) -> list[str]:
        """Return one line per kind of repair."""
        found = []
        for what, (count, place) in self._found.items():
            text = what.replace("{count}", f"{count:,}").replace("{s}", "" if count == 1 else "s")
            first = "the first in " if count > 1 else ""
            found.append(f"{text} ({first}{place})" if place else text)
        return found


@dataclass(slots=True)
class TrackEvents:
    """The events of one track, in its order."""

    channel: array[int] = field(default_factory=lambda: array("q"))
    """Channel messages packed into integers: tick << 31 | port << 24 | status << 16 | first data byte << 8 | second."""
    meta: list[tuple[int, int, bytes]] = field(default_factory=list)
    """(tick, kind, data) of the global events: tempos, metres, keys, names, texts."""
    end: int = 0
    """Tick at which the track ends."""


@dataclass(slots=True)
class _Left:
    """Remaining limits of a file."""

    strikes: int = MAXIMUM_STRIKES
    others: int = MAXIMUM_OTHERS
    meta: int = MAXIMUM_META
    words: int = MAXIMUM_WORDS

    def keep(self, data: bytes) -> None:
        """Count a meta event with these data."""
        self.meta -= 1
        self.words -= len(data)
        if self.meta < 0:
            raise OversizedFileError("tempos and words", MAXIMUM_META)
        if self.words < 0:
            raise OversizedFileError("bytes of words", MAXIMUM_WORDS)


@dataclass(slots=True)
class MidiFile:
    """A MIDI file's header and tracks."""

    file_format: int
    """Format. In 0 and 1 the tracks are simultaneous; in 2 each is a separate piece."""
    ticks_per_quarter: int
    quarter: int | None
    """Microseconds per quarter if ticks are in real time (SMPTE); None if they depend on tempos."""
    tracks: list[TrackEvents]


def parse_file(data: bytes, repairs: Repairs) -> MidiFile:
    """Parse the events of a MIDI file.

    Raises:
        DamagedFileError: The data are not a MIDI file, or the damage has no likely interpretation.
        OversizedFileError: it has more than anyone can mean.
    """
    at = _find_header(data, repairs)
    if len(data) < at + 14:
        raise DamagedFileError("its header is cut off")
    length, file_format, promised, division = struct.unpack(">IHHH", data[at + 4 : at + 14])
    following = at + 8 + length
    if length != 6 and data[following : following + 4] != b"MTrk" and data[at + 14 : at + 18] == b"MTrk":
        repairs.add("the length of its header is wrong; read as 6 bytes")
        following = at + 14
    elif length < 6:
        raise DamagedFileError(f"its header has {counted(length, 'byte')}; a header has 6 or more")
    if file_format > 2:
        repairs.add(f"there is no format {file_format}; read as format 1")
        file_format = 1
    ticks, quarter = _division(division)
    tracks = _tracks(data, following, repairs)
    if promised and not tracks:
        raise DamagedFileError(f"its header promises {counted(promised, 'track')}; there is none")
    if promised != len(tracks):
        repairs.add(f"its header promises {counted(promised, 'track')}; there {_are(len(tracks))}")
    return MidiFile(file_format=file_format, ticks_per_quarter=ticks, quarter=quarter, tracks=tracks)


def _are(count: int) -> str:
    return "is 1" if count == 1 else f"are {count}"


def _find_header(data: bytes, repairs: Repairs) -> int:
    if data.startswith(b"MThd"):
        return 0
    at = data.find(b"MThd", 0, JUNK)
    if at < 0:
        raise DamagedFileError("it does not begin with MThd")
    # A RIFF file (.rmi) contains a complete MIDI file; other data before the header are not part of it.
    if not (data.startswith(b"RIFF") and data[8:12] == b"RMID"):
        repairs.add(f"{counted(at, 'byte')} before its header left out")
    return at


def _division(division: int) -> tuple[int, int | None]:
    """Return the ticks per quarter, and the microseconds per quarter for SMPTE time."""
    if 0 < division < 2**15:
        return division, None
    frames, ticks = _FRAMES.get(division >> 8), division & 0xFF
    if division and frames is None:
        raise DamagedFileError(f"it counts {256 - (division >> 8)} frames per second; allowed: 24, 25, 29, 30")
    if frames is None or not ticks:
        raise DamagedFileError("it does not say how long a tick is")
    if frames == 29:
        return 15 * ticks, 500_500
    if frames * ticks % 2:
        return frames * ticks, 1_000_000
    return frames * ticks // 2, 500_000


def _tracks(data: bytes, at: int, repairs: Repairs) -> list[TrackEvents]:
    tracks: list[TrackEvents] = []
    left = _Left()
    while at < len(data):
        kind = data[at : at + 4]
        if kind == b"MTrk" and at + 8 <= len(data):
            if len(tracks) == MAXIMUM_TRACKS:
                raise OversizedFileError("tracks", MAXIMUM_TRACKS)
            track, at = _track(data, at, len(tracks) + 1, left, repairs)
            tracks.append(track)
            continue
        end = at + 8 + int.from_bytes(data[at + 4 : at + 8])
        if kind.isalpha() and kind != b"MThd" and end <= len(data):
            # Chunks of unknown types must be skipped.
            at = end
            continue
        following = data.find(b"MTrk", at + 1) if kind != b"MThd" else -1
        if following < 0:
            if data[at:].strip(b"\0"):
                repairs.add(f"{counted(len(data) - at, 'byte')} after its last track left out")
            break
        repairs.add("{count} byte{s} between two tracks left out", count=following - at)
        at = following
    return tracks


def _track(data: bytes, at: int, number: int, left: _Left, repairs: Repairs) -> tuple[TrackEvents, int]:
    """Parse the track whose chunk begins at a position, and return it with the position of the next chunk."""
    begin, end = at + 8, at + 8 + int.from_bytes(data[at + 4 : at + 8])
    limit = end
    if not _ends_a_track(data, end):
        following = data.find(b"MTrk", begin)
        limit = following if following >= 0 else len(data)
    track = TrackEvents()
    stop, ended, whole = _walk(data, begin, limit, track, number, left, repairs)
    place = f"track {number}, tick {track.end}"
    if not whole or (not ended and end > len(data)):
        repairs.add("{count} track{s} cut off and read as far as possible", place)
    elif not ended:
        repairs.add("{count} track{s} without an end", place)
    if limit == end and not (ended and stop < end and data[stop : stop + 4] == b"MTrk"):
        return track, end
    if ended or end < len(data):
        repairs.add("the length of {count} track{s} is wrong", f"track {number}")
    return track, stop if ended else limit


def _ends_a_track(data: bytes, at: int) -> bool:
    """Whether a chunk length that ends here is probably right."""
    return at == len(data) or data[at : at + 4] == b"MTrk" or (at < len(data) and data[at - 3 : at] == _END)


def _number(data: bytes, at: int, number: int, tick: int) -> tuple[int, int]:
    """Parse a variable-length quantity, and return it with its end."""
    value = 0
    while True:
        byte = data[at]
        at += 1
        value = value << 7 | byte & 0x7F
        if value >= 2**28:
            raise DamagedFileError(f"track {number}, tick {tick}: a time or length of more than 28 bits")
        if byte < 128:
            return value, at


def _walk(
    data: bytes, at: int, end: int, track: TrackEvents, number: int, left: _Left, repairs: Repairs
) -> tuple[int, bool, bool]:
    """Collect the events between two positions.

    Returns:
        The position at which the events end, whether the track has an end event, and whether no event is truncated.
    """
    add, meta, strikes, others = track.channel.append, track.meta, left.strikes, left.others
    tick = running = port = 0
    ended, whole = False, True
    try:
        while at < end:
            delta = data[at]
            at += 1
            if delta >= 128:
                delta, at = _number(data, at - 1, number, tick)
            tick += delta
            if tick > LATEST_TICK:
                raise DamagedFileError(
                    f"track {number}, tick {tick - delta}: it counts more ticks than fit into 31 bits"
                )
            if strikes < 0:
                raise OversizedFileError("note-ons and note-offs", MAXIMUM_STRIKES)
            if others < 0:
                raise OversizedFileError("events that are no notes", MAXIMUM_OTHERS)
            status = data[at]
            if status >= 0xF0:
                others -= 1
                kind, content, at = _special(data, at, end, number, tick, repairs)
                if at > end:
                    whole = False
                    break
                if kind == _END_OF_TRACK:
                    ended = True
                    break
                if kind == PORT and content:
                    port = content[0] & 127
                elif kind in _KEPT:
                    meta.append((tick, kind, content))
                    left.keep(content)
                continue
            if status >= 128:
                running = status
                at += 1
            elif running:
                # By the specification a meta event ends the running status, but files that continue it are common.
                status = running
            else:
                raise DamagedFileError(f"track {number}, tick {tick}: a data byte without a status before it")
            first = data[at]
            if status >= 0xE0 or status < 0xC0:
                second = data[at + 1]
                at += 2
            else:
                second = 0
                at += 1
            if (first | second) >= 128:
                clipped = (first > 127) + (second > 127)
                repairs.add("{count} data byte{s} above 127 read as 127", f"track {number}, tick {tick}", clipped)
                first, second = min(first, 127), min(second, 127)
            if status < 0xA0:
                strikes -= 1
            else:
                others -= 1
            add(tick << 31 | port << 24 | status << 16 | first << 8 | second)
        else:
            if at > end:
                whole = False
                track.channel.pop()
    except IndexError:
        at, whole = len(data), False
    track.end = tick
    left.strikes, left.others = strikes, others
    return at, ended, whole


def _special(data: bytes, at: int, end: int, number: int, tick: int, repairs: Repairs) -> tuple[int, bytes, int]:
    """Return kind and data of the meta event at a position, -1 and empty for other events, and the end position."""
    status = data[at]
    if status == 0xFF:
        length, begin = _number(data, at + 2, number, tick)
        stop = begin + length
        # Data beyond the end of the track are dropped: many small tracks that each claim the whole file would copy it
        # each time.
        return data[at + 1], data[begin:stop] if stop <= end else b"", stop
    if status in (0xF0, 0xF7):
        # System exclusive messages and escapes, which scores do not contain.
        length, begin = _number(data, at + 1, number, tick)
        return -1, b"", begin + length
    repairs.add("{count} system message{s} left out", f"track {number}, tick {tick}")
    return -1, b"", at + 1 + _SYSTEM.get(status, 0)
