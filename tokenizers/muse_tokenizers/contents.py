"""Determines what a file is, by its content if that is unambiguous, and otherwise by its suffix. Decodes nothing.

A file with a wrong suffix is read as what it is, with a warning; a file of another domain is refused with the name of
that domain.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from muse_tokenizers.audio.containers import kind_of_sound
from muse_tokenizers.errors import UnreadablePieceError, Warn
from muse_tokenizers.suffixes import kind_by_suffix
from muse_tokenizers.text.encodings import is_surely_text

__all__ = ["LOOKED_AT", "Content", "check_content", "content_of", "head_of", "is_misnamed", "kind_of_file"]

LOOKED_AT = 2**16
"""Number of bytes at the beginning of a file that identify it."""
_NOT_READ = (
    (rb"%PDF-", "a PDF"), (rb"\{\\rtf", "RTF"), (rb"PK\x03\x04", "a ZIP archive, as .docx, .odt and .epub are"),
    (rb"\xd0\xcf\x11\xe0", "an old Office file"), (rb"\x1f\x8b", "a gzip archive"), (rb"\x89PNG", "a picture"),
    (rb"\xff\xd8\xff", "a picture"), (rb"RIFF....sfbk", "a soundfont"),
)  # fmt: skip
"""Magic bytes of formats that belong to no domain."""
_REFUSED = {"midi": "is not a MIDI file", "audio": "is not sound that can be read", "text": "is no text"}
_SOUND_BY_SUFFIX = {
    ".wav": "WAV", ".rf64": "WAV", ".flac": "FLAC", ".ogg": "OGG", ".oga": "OGG", ".opus": "OGG", ".mp3": "MP3",
    ".mp2": "MP3", ".aiff": "AIFF", ".aif": "AIFF", ".aifc": "AIFF", ".w64": "W64", ".caf": "CAF", ".au": "AU",
    ".m4a": "MP4", ".m4b": "MP4", ".mp4": "MP4", ".3gp": "MP4", ".webm": "WebM", ".weba": "WebM", ".mka": "WebM",
    ".aac": "AAC", ".wma": "WMA", ".amr": "AMR",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Content:
    """The content of a file."""

    domain: str | None
    """Domain of the content; None if it is not supported."""
    called: str


def content_of(head: bytes) -> Content | None:
    """Identify content by its first bytes; None if they are ambiguous."""
    for begins, called in _NOT_READ:
        if re.match(begins, head, re.DOTALL):
            return Content(domain=None, called=called)
    if re.match(rb"MThd|RIFF....RMID", head, re.DOTALL):
        return Content(domain="midi", called="MIDI")
    if is_surely_text(head[:LOOKED_AT], goes_on=len(head) >= LOOKED_AT):
        return Content(domain="text", called="text")
    sound = kind_of_sound(head)
    return None if sound is None else Content(domain="audio", called=sound)


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
    content = content_of(head_of(path))
    # Almost any format may be text: a file with a suffix of its own is not meant as a prompt.
    if content is None or content.domain is None or (content.domain == "text" and by_suffix is None and path.suffix):
        return by_suffix
    return content.domain


def is_misnamed(path: Path, domain: str) -> bool:
    """Whether the content of a file is of a domain that its suffix does not show; any suffix is valid for text."""
    if kind_by_suffix(path) is None and (path.suffix or domain == "text"):
        return False
    content = content_of(head_of(path))
    return content is not None and content.domain == domain


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
    content = content_of(head)
    if content is None:
        return
    if content.domain != domain:
        choose = f"; choose {content.domain} for it" if content.domain is not None else ""
        raise UnreadablePieceError(f"{name} {_REFUSED[domain]}: it is {content.called}{choose}")
    suffix = Path(name).suffix.lower()
    sound = _SOUND_BY_SUFFIX.get(suffix)
    if kind_by_suffix(Path(name)) not in (None, domain) or (
        domain == "audio" and sound is not None and sound != content.called
    ):
        warn(f"{name} is {content.called}, though its name ends in {suffix}; it is read as what it is")
