"""The bytes of a Standard MIDI File as chunks and events, after its specification (RP-001). Knows nothing of scores.

What is damaged is read as far as other programs read it, and each repair is noted. An event is refused only where
nobody can say what it means: then `DamagedFileError` names track and tick.
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
"""Bytes before a header that are looked through."""
_FRAMES = {232: 24, 231: 25, 227: 29, 226: 30}
"""SMPTE's frames per second, by the first byte of the division; 29 stands for 30000/1001."""
_SYSTEM = {0xF1: 1, 0xF2: 2, 0xF3: 1}
"""Data bytes of the messages of a live line; the others have none."""
TEXT, COPYRIGHT, TRACK_NAME, LYRIC, MARKER, TEMPO, TIME_SIGNATURE, KEY_SIGNATURE = 1, 2, 3, 5, 6, 0x51, 0x58, 0x59
"""Kinds of meta events."""
_KEPT = frozenset((TEXT, COPYRIGHT, TRACK_NAME, LYRIC, MARKER, TEMPO, TIME_SIGNATURE, KEY_SIGNATURE))
PORT, _END_OF_TRACK = 0x21, 0x2F
_END = b"\xff\x2f\x00"
MAXIMUM_TRACKS = 1_000
MAXIMUM_STRIKES = 2_000_000
MAXIMUM_OTHERS = 800_000
"""Note-ons and note-offs of a file, and other events: several times those of four hours of a recorded piano. An event
of two bytes takes a hundred times as much while it is read."""
MAXIMUM_META = 300_000
"""Tempos, metres, keys, names and words of a file that are kept; they take even more."""
MAXIMUM_WORDS = 4 * 2**20
"""Bytes of these."""


class DamagedFileError(Exception):
    """Why bytes are no readable MIDI file, in a few words."""


class OversizedFileError(Exception):
    """What a MIDI file has more of than is read."""

    def __init__(self, what: str, most: int) -> None:
        super().__init__(f"too many {what}; allowed: up to {most:,}")


class Repairs:
    """What was repaired in a file: how often each, and where first."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[int, str]] = {}

    def add(self, what: str, place: str = "", count: int = 1) -> None:
        """Note a repair; `what` may count them, as in "{count} data bytes above 127 set to 127"."""
        before, first = self._found.get(what, (0, place))
        self._found[what] = (before + count, first)

    def lines(self) -> list[str]:
        """One line a kind of repair."""
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
    """Channel messages as one number: tick << 31 | port << 24 | status << 16 | first data byte << 8 | second."""
    meta: list[tuple[int, int, bytes]] = field(default_factory=list)
    """(tick, kind, data) of the events that hold for a piece: tempos, metres, keys, names, words."""
    end: int = 0
    """The tick at which the track ends."""


@dataclass(slots=True)
class _Left:
    """How much more a file may have."""

    strikes: int = MAXIMUM_STRIKES
    others: int = MAXIMUM_OTHERS
    meta: int = MAXIMUM_META
    words: int = MAXIMUM_WORDS

    def keep(self, data: bytes) -> None:
        """A meta event with these data is kept."""
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
    """0 and 1: the tracks sound together; 2: each is a piece of its own."""
    ticks_per_quarter: int
    quarter: int | None
    """Microseconds of a quarter where ticks are counted in real time (SMPTE); None where tempos say it."""
    tracks: list[TrackEvents]


def parse_file(data: bytes, repairs: Repairs) -> MidiFile:
    """The events of a MIDI file.

    Raises:
        DamagedFileError: it is not one, or what is damaged in it has no likely meaning.
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
    # A MIDI file in a RIFF file (.rmi) is whole; what else stands before the header is not a part of it.
    if not (data.startswith(b"RIFF") and data[8:12] == b"RMID"):
        repairs.add(f"{counted(at, 'byte')} before its header left out")
    return at


def _division(division: int) -> tuple[int, int | None]:
    """Ticks of a quarter, and the microseconds of one where it is SMPTE's time."""
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
            # Chunks of unknown kinds are to be passed over.
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
    """The track whose chunk begins at a place, and where the next chunk begins."""
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
    """Whether a length that leads there is probably right."""
    return at == len(data) or data[at : at + 4] == b"MTrk" or (at < len(data) and data[at - 3 : at] == _END)


def _number(data: bytes, at: int, number: int, tick: int) -> tuple[int, int]:
    """A number of variable length, and where it ends."""
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
    """Collect the events between two places.

    Returns:
        Where the events end, whether the track says itself that it does, whether no event is cut off.
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
                # The specification has a meta event end the running status; files that go on with it are common.
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
    """The kind and data of the meta event at a place, -1 and none of any other, and where it ends."""
    status = data[at]
    if status == 0xFF:
        length, begin = _number(data, at + 2, number, tick)
        stop = begin + length
        # What would end beyond its track is left out anyway: many small tracks that claim the whole file would copy it
        # each.
        return data[at + 1], data[begin:stop] if stop <= end else b"", stop
    if status in (0xF0, 0xF7):
        # Exclusive messages, whole or in parts, and what is to be sent as it is: nothing of it is in a score.
        length, begin = _number(data, at + 1, number, tick)
        return -1, b"", begin + length
    repairs.add("{count} system message{s} left out", f"track {number}, tick {tick}")
    return -1, b"", at + 1 + _SYSTEM.get(status, 0)
