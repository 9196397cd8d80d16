"""Determines what a file is, by its content if that is unambiguous, and otherwise by its suffix. Decodes nothing.

A file with a wrong suffix is read as what it is, with a warning; a file of another domain is refused with the name of
that domain.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from pathlib import Path

from muse_tokenizers.audio.containers import kind_of_sound
from muse_tokenizers.errors import UnreadablePieceError, Warn
from muse_tokenizers.suffixes import SOUND, kind_by_suffix
from muse_tokenizers.text.encodings import is_surely_text

__all__ = [
    "LOOKED_AT", "Content", "check_content", "content_of", "describe_foreign", "head_of", "is_misnamed", "kind_of_file",
]  # fmt: skip

LOOKED_AT = 2**16
"""Number of bytes at the beginning of a file that identify it."""
_BEGINNINGS = (b"MThd", b"RIFF", b"RIFX", b"RF64", b"FORM", b"fLaC", b"OggS", b"ID3", b".snd", b"caff")
"""First bytes of MIDI and sound that are letters."""
_TO_MIDI = "export it as MIDI (in MuseScore: File > Export)"
_FROM_GUITAR_PRO = "export it as MIDI (in Guitar Pro or MuseScore: File > Export)"
_FROM_ITS_PROGRAM = "export it as MIDI from its program"
_TO_TEXT = "save it as plain text (.txt)"
_UNPACK = "unpack it first"
_NOT_READ = (
    (rb"%PDF-", "a PDF", None),
    (rb"\{\\rtf", "RTF", _TO_TEXT),
    (rb"\xd0\xcf\x11\xe0", "an old Office file", _TO_TEXT),
    (rb"\x89PNG|\xff\xd8\xff|GIF8[79]a|RIFF....WEBP", "a picture", None),
    (rb"RIFF....sfbk", "a soundfont", "it has instruments, not a piece: choose it as the soundfont"),
    (rb".FICHIER GUITAR PRO|BCF[SZ]", "a Guitar Pro score", _FROM_GUITAR_PRO),
    (rb"\x0fSIBELIUS", "a Sibelius score", _FROM_ITS_PROGRAM),
    (rb"ENIGMA BINARY FILE", "a Finale score", _FROM_ITS_PROGRAM),
    (rb"FLhd", "an FL Studio project", _FROM_ITS_PROGRAM),
    (rb"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (rb"Rar!\x1a\x07", "a RAR archive", _UNPACK),
)  # fmt: skip
"""Magic bytes of formats that are not supported, with their names and advice."""
_IN_ZIP = (
    (rb".*\.mscx", "a MuseScore score", _TO_MIDI),
    (rb".*score\.gpif", "a Guitar Pro score", _FROM_GUITAR_PRO),
    (rb"NotationMetadata\.xml", "a Finale score", _FROM_ITS_PROGRAM),
    (rb"mimetype|OEBPS/.*|word/.*|\[Content_Types\]\.xml", "a document (such as .docx, .odt or .epub)", _TO_TEXT),
    (rb"META-INF/container\.xml|.*\.musicxml", "a MusicXML score", _TO_MIDI),
    (rb".*\.npy", "a NumPy archive", None),
)
"""The same, by the names of the files in a ZIP archive; the first match counts."""
_MARKUP = (
    (rb"<score-(partwise|timewise)[\s>]", "a MusicXML score", _TO_MIDI),
    (rb"<museScore[\s>]", "a MuseScore score", _TO_MIDI),
    (rb"<mei[\s>]", "an MEI score", _TO_MIDI),
    (rb"^\s*(<!--.*?-->\s*)?(<!doctype\s+html|<html)", "a web page (HTML)", "download the file that it links to"),
)
"""Text that is rarely meant as a prompt; it is accepted only if the text domain is chosen."""
_REFUSED = {
    "midi": "is not a MIDI file",
    "audio": "is not a sound file that can be read",
    "text": "is not text",
}


@dataclass(frozen=True, kw_only=True)
class Content:
    """The content of a file."""

    domain: str | None
    """Domain of the content; None if it is not supported."""
    called: str
    advice: str | None = None
    """What to do with a file that is rarely, or never, meant to be read as it is."""

    @property
    def is_text(self) -> bool:
        """Whether it is text, of whatever format."""
        return self.domain == "text"


def content_of(head: bytes) -> Content | None:
    """Identify content by its first bytes; None if they are ambiguous."""
    for begins, called, advice in _NOT_READ:
        if re.match(begins, head, re.DOTALL):
            return Content(domain=None, called=called, advice=advice)
    if head.startswith(b"PK\x03\x04"):
        return _in_zip(head)
    if head.startswith(b"\x1f\x8b"):
        return _in_gzip(head)
    if re.match(rb"MThd|RIFF....RMID", head, re.DOTALL):
        return Content(domain="midi", called="MIDI")
    if is_surely_text(head[:LOOKED_AT], goes_on=len(head) >= LOOKED_AT):
        return _marked_up(head) or Content(domain="text", called="text")
    sound = kind_of_sound(head)
    return None if sound is None else Content(domain="audio", called=sound)


def _in_zip(head: bytes) -> Content:
    # Each member begins with a header that has its name, and the first ones show what the archive is.
    names = [
        head[found.end() : found.end() + int.from_bytes(found[1], "little")]
        for found in re.finditer(rb"PK\x03\x04.{22}(..)..", head, re.DOTALL)
    ]
    for pattern, called, advice in _IN_ZIP:
        if any(re.fullmatch(pattern, name) for name in names):
            return Content(domain=None, called=called, advice=advice)
    return Content(domain=None, called="a ZIP archive", advice=_UNPACK)


def _in_gzip(head: bytes) -> Content:
    try:
        begins = zlib.decompressobj(31).decompress(head, 4096)
    except zlib.error:
        begins = b""
    if b"<Ableton" in begins:
        return Content(domain=None, called="an Ableton Live set", advice=_FROM_ITS_PROGRAM)
    return Content(domain=None, called="a gzip archive", advice=_UNPACK)


def _marked_up(head: bytes) -> Content | None:
    # UTF-16 has a zero byte beside each of these letters.
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip(b"\xff\xfe").replace(b"\0", b"")
    if not text.lstrip().startswith(b"<"):
        return None
    for pattern, called, advice in _MARKUP:
        if re.search(pattern, text, re.DOTALL | re.IGNORECASE):
            return Content(domain="text", called=called, advice=advice)
    return None


def describe_foreign(path: Path) -> str | None:
    """Describe a file of an unsupported format, with advice: "is a MusicXML score; export it as MIDI (...)".

    Returns:
        None for every other file.
    """
    content = content_of(head_of(path))
    if content is None or (content.domain is not None and content.advice is None):
        return None
    return f"is {content.called}{'' if content.advice is None else f'; {content.advice}'}"


def _content_named(head: bytes, path: Path) -> Content | None:
    """Identify content by its first bytes and its name: what is called sound or MIDI, and begins as such a file, is a
    damaged file of that kind, even if its bytes are letters."""
    content = content_of(head)
    if content is None or content.domain != "text" or kind_by_suffix(path) not in ("midi", "audio"):
        return content
    return None if head.startswith(_BEGINNINGS) else content


def head_of(path: Path) -> bytes:
    """Read the bytes that `content_of` needs; empty if the path is not a regular file or cannot be read."""
    try:
        if path.is_file():
            with path.open("rb") as file:
                return file.read(LOOKED_AT)
    except (OSError, ValueError):
        # The reader reports the reason.
        pass
    return b""


def kind_of_file(path: Path) -> str | None:
    """Return "midi", "audio" or "text"; None if neither content nor suffix shows it."""
    by_suffix = kind_by_suffix(path)
    content = _content_named(head_of(path), path)
    if content is None or content.domain is None:
        return by_suffix
    if content.domain == "text" and content.advice is not None:
        return "text" if by_suffix == "text" else None
    # Almost any format may be text: a file with a suffix of its own is not meant as a prompt.
    return by_suffix if content.domain == "text" and by_suffix is None and path.suffix else content.domain


def is_misnamed(path: Path, domain: str) -> bool:
    """Whether the content of a file is of a domain that its suffix does not show; any suffix is valid for text."""
    if kind_by_suffix(path) is None and (path.suffix or domain == "text"):
        return False
    content = _content_named(head_of(path), path)
    return content is not None and content.domain == domain and content.advice is None


def check_content(head: bytes, domain: str, name: str, warn: Warn) -> None:
    """Check the content of a file before it is read.

    Args:
        head: First bytes of the file, from `head_of`.
        domain: Domain as which the file will be read.
        name: Name of the file in messages; its suffix is checked.
        warn: Called with one line if the content does not match the suffix.

    Raises:
        UnreadablePieceError: The content belongs to another domain, or to none.
    """
    content = _content_named(head, Path(name))
    if content is None:
        return
    if content.domain != domain:
        choose = None if content.domain is None else f"choose {content.domain} for it"
        advice = content.advice or choose
        raise UnreadablePieceError(
            f"{name} {_REFUSED[domain]}: it is {content.called}{'' if advice is None else f'; {advice}'}"
        )
    suffix = Path(name).suffix.lower()
    sound = SOUND.get(suffix)
    if kind_by_suffix(Path(name)) not in (None, domain) or (
        domain == "audio" and sound is not None and sound != content.called
    ):
        warn(f"{name} is {content.called}, although its name ends in {suffix}; reading it as {content.called}")
