"""The bytes of a MIDI file as chunks and events: whether they hold together at all. Knows nothing of scores.

symusic's reader trusts lengths and data bytes, and a file that lies about them can end the whole program. So what it
is given is walked here first, after the Standard MIDI Files specification (RP-001). Runs of channel messages, nearly
all of a file, are walked by one regular expression.
"""

from __future__ import annotations

import re
import struct

__all__ = ["structure_problem"]

_NUMBER = r"[\x80-\xff]{0,3}[\x00-\x7f]"
_DATA = {1: r"[\x00-\x7f]", 2: r"[\x00-\x7f]{2}"}
_STATUS = {1: r"[\xc0-\xdf]", 2: r"[\x80-\xbf\xe0-\xef]"}
_RUN = "|".join(f"(?:{_STATUS[size]}{_DATA[size]}(?:{_NUMBER}{_DATA[size]})*+)" for size in (2, 1))


def _expression(text: str) -> re.Pattern[bytes]:
    return re.compile(text.encode("ascii"), re.DOTALL)


_RUNS = _expression(f"(?:{_NUMBER}(?:{_RUN}))++")
"""Delta times and channel messages. It has no groups: Python 3.11 loses count of those in a possessive repeat."""
_ONE_RUN = _expression(f"{_NUMBER}(?:{_RUN})")
_STATUS_OF_RUN = _expression(f"{_NUMBER}(?:({_STATUS[1]})|({_STATUS[2]}))")
_RUNNING = {size: _expression(f"(?:{_NUMBER}{_DATA[size]})++") for size in (1, 2)}
"""Messages that go on with the status from before a meta event, by their data bytes."""
# Continued exclusive messages (F7) and the messages of a live line (F1 to FE) have no place in the files symusic reads.
_SPECIAL = _expression(f"{_NUMBER}(?:\\xff([\\x00-\\x7f])|\\xf0)({_NUMBER})")
_END_OF_TRACK = 0x2F
_LEAST = {0x51: 3, 0x58: 4, 0x59: 2}
"""The bytes of a tempo, a time signature and a key signature."""


def structure_problem(data: bytes) -> str | None:
    """What is wrong with the bytes of a MIDI file, in a few words; None where they can be read."""
    if len(data) < 14:
        return "its header is cut off"
    length, form, tracks, division = struct.unpack(">IHHH", data[4:14])
    if length != 6 or form > 2:
        return "its header makes no sense"
    if not 0 < division < 2**15:
        return "it does not say how many ticks a quarter has"
    # Files that promise more tracks than they have, or have something after them, are common and harmless.
    at = 14
    while tracks and at < len(data):
        end = at + 8 + int.from_bytes(data[at + 4 : at + 8])
        if at + 8 > len(data) or end > len(data):
            return "a track is cut off"
        if data[at : at + 4] == b"MTrk":
            problem = _track_problem(data, at + 8, end)
            if problem:
                return problem
            tracks -= 1
        at = end
    return None


def _track_problem(data: bytes, at: int, end: int) -> str | None:
    latest: tuple[int, int] | None = None
    running: re.Pattern[bytes] | None = None
    """For the status of `latest`: looked up once, or a track that alternates would be walked again at every event."""
    while at < end:
        runs = _RUNS.match(data, at, end)
        if runs is None and latest:
            # The specification has a meta event end the running status; files that go on with it are common.
            running = running or _RUNNING[_data_bytes(data, *latest)]
            runs = running.match(data, at, end)
        elif runs:
            latest, running = runs.span(), None
        if runs:
            at = runs.end()
            continue
        special = _SPECIAL.match(data, at, end)
        if special is None:
            return "an event is damaged"
        meta, length = special[1], 0
        for byte in special[2]:
            length = length * 128 + byte % 128
        at = special.end() + length
        if at > end or (meta and length < _LEAST.get(meta[0], 0)):
            return "an event is cut off"
        if meta is None:
            latest = running = None
        elif meta[0] == _END_OF_TRACK:
            return None
    return None


def _data_bytes(data: bytes, start: int, end: int) -> int:
    """How many data bytes the messages of the last run between two places have."""
    *_, last = _ONE_RUN.finditer(data, start, end)
    status = _STATUS_OF_RUN.match(data, last.start(), end)
    return 1 if status and status[1] else 2
