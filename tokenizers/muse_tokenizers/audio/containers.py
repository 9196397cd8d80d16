"""Detects the container of a sound file, and headers whose lengths do not fit the file. Decodes nothing.

A recorder that was switched off leaves a WAV file whose header says 0 bytes of sound, or 4 GiB; an incomplete download
has less than the header says. Both are read as far as possible: `Container.patches` has the corrected bytes of the
header.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from muse_tokenizers.audio.frames import follows
from muse_tokenizers.wording import counted

__all__ = ["Container", "PatchedFile", "detect_container", "kind_of_sound", "opened"]

Family = Literal["sndfile", "media"]

_SEARCHED = 4096
"""Number of bytes that are searched for the first frame of an MP3 file without a header."""
_Kind = tuple[str, Family, str | None]
"""Name in messages; decoder that is tried first; name in FFmpeg."""
_MP3: _Kind = ("MP3", "sndfile", "mp3")
_BY_NAME = (".mp3", ".mp2", ".mp1")
_BEGINNINGS: tuple[tuple[bytes, str, Family, str | None], ...] = (
    (rb"RIFF....WAVE|RIFX....WAVE|RF64....WAVE", "WAV", "sndfile", "wav"),
    (rb"riff\x2e\x91\xcf\x11", "W64", "sndfile", "w64"),
    (rb"FORM....AIF[FC]", "AIFF", "sndfile", "aiff"),
    (rb"caff\x00\x01", "CAF", "sndfile", "caf"),
    (rb"\.snd|dns\.", "AU", "sndfile", "au"),
    (rb"fLaC", "FLAC", "sndfile", "flac"),
    (rb"OggS", "OGG", "sndfile", "ogg"),
    (rb"NIST_1A", "NIST SPHERE", "sndfile", None),
    (rb"Creative Voice File\x1a", "VOC", "sndfile", None),
    (rb"\x64\xa3[\x01-\x04]\x00|\x00[\x01-\x04]\xa3\x64", "IRCAM", "sndfile", None),
    (rb"ID3[\x02-\x04]", "MP3", "sndfile", "mp3"),
    (rb"....(ftyp|moov|mdat|wide|free|skip)", "MP4", "media", "mov"),
    (rb"\x1aE\xdf\xa3", "WebM", "media", "matroska"),
    (rb"\xff[\xf0\xf1\xf8\xf9]", "AAC", "media", "aac"),
    (rb"ADIF", "AAC", "media", "aac"),
    (rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "WMA", "media", "asf"),
    (rb"#!AMR", "AMR", "media", "amr"),
    # Layers I to III of MPEG 1, 2 and 2.5 need no header: each frame begins with eleven set bits.
    (rb"\xff[\xe2-\xe7\xf2-\xf7\xfa-\xff]", "MP3", "sndfile", "mp3"),
)
"""Magic bytes; name in messages; decoder that is tried first; name in FFmpeg. No other formats are passed to a decoder:
FFmpeg would open playlists that name other files."""


@dataclass(frozen=True, kw_only=True)
class Container:
    """The container of a file."""

    kind: str
    family: Family
    media_format: str | None
    """Name in FFmpeg; None if FFmpeg is not used for it."""
    patches: tuple[tuple[int, bytes], ...] = ()
    """Corrected bytes of the header, by position."""
    lacks: str | None = None
    """What is wrong with its length, as the end of a sentence that begins with its name."""
    has_index: bool = True
    """For MP4: whether the index of the samples exists."""
    plain: bool = False
    """Whether it is a WAV file of uncompressed samples."""


def detect_container(file: BinaryIO, suffix: str = "") -> Container | None:
    """Detect the container of a file; None if it is not sound.

    Args:
        file: An open file, at any position.
        suffix: Suffix of its name in lower case: an MP3 file may begin with anything.
    """
    file.seek(0)
    beginning = file.read(_SEARCHED)
    known = _beginning(beginning)
    if known is None and suffix in _BY_NAME and re.search(rb"\xff[\xe2-\xff]", beginning):
        known = _MP3
    if known is None:
        return None
    kind, family, media_format = known
    patches, lacks = _check_length(file, kind)
    return Container(
        kind=kind,
        family=family,
        media_format=media_format,
        patches=tuple(patches),
        lacks=lacks,
        has_index=kind != "MP4" or _has_index(file),
        plain=kind == "WAV" and _has_plain_samples(file),
    )


def _beginning(head: bytes) -> _Kind | None:
    for begins, kind, family, media_format in _BEGINNINGS:
        if re.match(begins, head, re.DOTALL):
            return kind, family, media_format
    return None


def kind_of_sound(head: bytes) -> str | None:
    """Return the name of the kind of sound that begins with these bytes; None if it is not certainly sound.

    A sync word counts as a frame of MP3 or AAC only if another one follows at the distance that the frame states.
    """
    known = _beginning(head)
    if known is None or (head[:1] == b"\xff" and not follows(head)):
        return None
    return known[0]


def _check_length(file: BinaryIO, kind: str) -> tuple[list[tuple[int, bytes]], str | None]:
    size = file.seek(0, io.SEEK_END)
    if kind == "OGG":
        return [], None if _has_last_page(file, size) else "is cut off"
    found: _Data | None = None
    if kind == "WAV":
        found = _data_of_wav(file, size)
    elif kind == "AIFF":
        found = _data_of_aiff(file, size)
    elif kind == "CAF":
        found = _data_of_caf(file, size)
    elif kind == "W64":
        found = _data_of_w64(file, size)
    elif kind == "AU":
        found = _data_of_au(file)
    if found is None or found.start >= size:
        return [], None
    there = size - found.start
    if found.declared == 0 and not found.ends_rightly:
        return found.with_length(there), "says that it has no sound, but has some"
    if found.declared > there:
        unknown = found.declared >= found.endless
        lacks = (
            "does not say how long it is"
            if unknown
            else f"is cut off: {there:,} of {counted(found.declared, 'byte')} of sound"
        )
        return found.with_length(there), lacks
    return [], None


@dataclass(frozen=True)
class _Data:
    """Position of the samples in a file, and their length according to the header."""

    start: int
    declared: int
    endless: int
    """Length from which on the header means "unknown"."""
    fields: tuple[tuple[int, str, int], ...]
    """Length fields: position, struct format, bytes of samples per unit."""
    ends_rightly: bool = False
    """Whether valid data follow the samples."""

    def with_length(self, length: int) -> list[tuple[int, bytes]]:
        patches = []
        for place, form, unit in self.fields:
            most = 2 ** (8 * struct.calcsize(form)) // 2 - 1
            patches.append((place, struct.pack(form, min(length // unit, most))))
        return patches


def _chunks(file: BinaryIO, size: int, order: str, at: int = 12) -> Iterator[tuple[bytes, int, int]]:
    """Yield the names, positions and stated lengths of the chunks of a RIFF or IFF file, as far as they go."""
    while at + 8 <= size:
        file.seek(at)
        name, length = struct.unpack(f"{order}4sI", file.read(8))
        yield name, at + 8, length
        at += 8 + length + length % 2


def _follows(file: BinaryIO, size: int, at: int, order: str) -> bool:
    """Whether only complete chunks follow."""
    for name, start, length in _chunks(file, size, order, at):
        if not re.fullmatch(rb"[ -~]{4}", name) or start + length > size:
            return False
        at = start + length + length % 2
    return at >= size


def _data_of_wav(file: BinaryIO, size: int) -> _Data | None:
    file.seek(0)
    order = ">" if file.read(4) == b"RIFX" else "<"
    large = 0
    place = None
    for name, start, length in _chunks(file, size, order):
        if name == b"ds64" and start + 16 <= size:
            file.seek(start + 8)
            (large,) = struct.unpack("<Q", file.read(8))
            place = start + 8
        if name == b"data":
            ends = length == 0 and _follows(file, size, start, order)
            if place is not None and length == 2**32 - 1:
                return _Data(start, large, 2**63, ((place, "<Q", 1),), ends_rightly=large == 0 and start == size)
            return _Data(start, length, 2**31 - 2**16, ((start - 4, f"{order}I", 1),), ends)
    return None


def _has_plain_samples(file: BinaryIO) -> bool:
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    order = ">" if file.read(4) == b"RIFX" else "<"
    for name, start, length in _chunks(file, size, order):
        if name == b"fmt " and length >= 16 and start + length <= size:
            file.seek(start)
            form = file.read(26)
            (tag,) = struct.unpack(f"{order}H", form[:2])
            if tag == 0xFFFE and length >= 26:
                (tag,) = struct.unpack(f"{order}H", form[24:])
            # Formats of integers and floats.
            return tag in (1, 3)
        if name == b"data":
            return False
    return False


def _data_of_aiff(file: BinaryIO, size: int) -> _Data | None:
    frame, frames_at = 0, 0
    for name, start, length in _chunks(file, size, ">"):
        if name == b"COMM" and start + 8 <= size:
            file.seek(start)
            channels, _, bits = struct.unpack(">HIH", file.read(8))
            frame, frames_at = channels * -(-bits // 8), start + 2
        if name == b"SSND" and frame:
            ends = length <= 8 and _follows(file, size, start + length, ">")
            # Eight bytes of the chunk are not samples.
            fields = ((start - 4, ">I", 1), (frames_at, ">I", frame))
            return _Data(start, 0 if length <= 8 else length, 2**31 - 2**16, fields, ends)
    return None


def _data_of_caf(file: BinaryIO, size: int) -> _Data | None:
    at = 8
    while at + 12 <= size:
        file.seek(at)
        name, length = struct.unpack(">4sq", file.read(12))
        if name == b"data":
            # In CAF, a length of -1 means that the samples extend to the end.
            return None if length < 0 else _Data(at + 12, length, 2**62, ((at + 4, ">q", 1),), ends_rightly=True)
        if length < 0:
            return None
        at += 12 + length
    return None


def _data_of_w64(file: BinaryIO, size: int) -> _Data | None:
    at = 40
    while at + 24 <= size:
        file.seek(at)
        name, length = struct.unpack("<16sQ", file.read(24))
        if name.startswith(b"data"):
            return _Data(at + 24, max(0, length - 24), 2**62, (), ends_rightly=True)
        at += max(24, length + -length % 8)
    return None


def _data_of_au(file: BinaryIO) -> _Data | None:
    file.seek(0)
    head = file.read(12)
    if len(head) < 12:
        return None
    start, length = struct.unpack(">II" if head[:1] == b"." else "<II", head[4:])
    # This length means that the samples extend to the end.
    return None if length == 2**32 - 1 else _Data(start, length, 2**32, (), ends_rightly=True)


def _has_index(file: BinaryIO) -> bool:
    size, at = file.seek(0, io.SEEK_END), 0
    while at + 8 <= size:
        file.seek(at)
        length, name = struct.unpack(">I4s", file.read(8))
        if name in (b"moov", b"moof"):
            return True
        if length == 1:
            length = int.from_bytes(file.read(8), "big")
        if length < 8:
            break
        at += length
    return False


def _has_last_page(file: BinaryIO, size: int) -> bool:
    """Whether an Ogg file ends with a complete page that is marked as the last one."""
    file.seek(max(0, size - 2**17))
    end = file.read(2**17)
    place = end.rfind(b"OggS")
    if place < 0 or place + 27 > len(end):
        return False
    table = end[place + 27 : place + 27 + end[place + 26]]
    return bool(end[place + 5] & 4) and place + 27 + end[place + 26] + sum(table) <= len(end)


class PatchedFile:
    """A file with some bytes replaced, with the interface that soundfile needs.

    It is called from C, where an exception cannot propagate: cffi would print it.

    Attributes:
        failure: Why something could not be read.
    """

    def __init__(self, file: BinaryIO, patches: tuple[tuple[int, bytes], ...] = ()) -> None:
        self._file, self._patches = file, patches
        self.name = "patched"
        self.failure: OSError | None = None

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        # Invalid headers lead to positions before the beginning; the position then does not change, which libsndfile
        # detects.
        with suppress(OSError, ValueError):
            self._file.seek(offset, whence)
        return self._file.tell()

    def tell(self) -> int:
        return self._file.tell()

    def read(self, size: int = -1) -> bytes:
        start = self._file.tell()
        try:
            data = bytearray(self._file.read(size))
        except OSError as error:
            self.failure = error
            return b""
        for place, replaced in self._patches:
            for number, byte in enumerate(replaced, place - start):
                if 0 <= number < len(data):
                    data[number] = byte
        return bytes(data)


def opened(file: Path | io.BytesIO) -> BinaryIO:
    """Open a file at its beginning. Raises OSError."""
    if isinstance(file, io.BytesIO):
        return io.BytesIO(file.getvalue())
    return file.open("rb")
