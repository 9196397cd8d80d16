"""What is in a file: by its content where that is unambiguous, by its suffix otherwise. Decodes nothing.

A file whose name ends wrongly is read as what it is, and a line says so; whoever wants another domain is told which
one it belongs to.
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
"""Bytes of a file's beginning that show what it is."""
_NOT_READ = (
    (rb"%PDF-", "a PDF"), (rb"\{\\rtf", "RTF"), (rb"PK\x03\x04", "a ZIP archive, as .docx, .odt and .epub are"),
    (rb"\xd0\xcf\x11\xe0", "an old Office file"), (rb"\x1f\x8b", "a gzip archive"), (rb"\x89PNG", "a picture"),
    (rb"\xff\xd8\xff", "a picture"), (rb"RIFF....sfbk", "a soundfont"),
)  # fmt: skip
"""What files begin with that are no domain's."""
_REFUSED = {"midi": "is not a MIDI file", "audio": "is not sound that can be read", "text": "is no text"}
_SOUND_BY_SUFFIX = {
    ".wav": "WAV", ".rf64": "WAV", ".flac": "FLAC", ".ogg": "OGG", ".oga": "OGG", ".opus": "OGG", ".mp3": "MP3",
    ".mp2": "MP3", ".aiff": "AIFF", ".aif": "AIFF", ".aifc": "AIFF", ".w64": "W64", ".caf": "CAF", ".au": "AU",
    ".m4a": "MP4", ".m4b": "MP4", ".mp4": "MP4", ".3gp": "MP4", ".webm": "WebM", ".weba": "WebM", ".mka": "WebM",
    ".aac": "AAC", ".wma": "WMA", ".amr": "AMR",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Content:
    """What a file is."""

    domain: str | None
    """None: none that is read."""
    called: str


def content_of(head: bytes) -> Content | None:
    """What a file is that begins like this; None where that is not sure."""
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
    """The bytes that `content_of` wants; none of what is no plain file or cannot be read."""
    try:
        if path.is_file():
            with path.open("rb") as file:
                return file.read(LOOKED_AT)
    except (OSError, ValueError):
        # Whoever reads it says why.
        pass
    return b""


def kind_of_file(path: Path) -> str | None:
    """ "midi", "audio" or "text"; None where neither content nor suffix shows it."""
    by_suffix = kind_by_suffix(path)
    content = content_of(head_of(path))
    # Almost anything may be written in text: what has a suffix of its own is not meant to be continued.
    if content is None or content.domain is None or (content.domain == "text" and by_suffix is None and path.suffix):
        return by_suffix
    return content.domain


def is_misnamed(path: Path, domain: str) -> bool:
    """Whether a file is of a domain though its name says otherwise, or nothing: many texts are called so."""
    if kind_by_suffix(path) is None and (path.suffix or domain == "text"):
        return False
    content = content_of(head_of(path))
    return content is not None and content.domain == domain


def check_content(head: bytes, domain: str, name: str, warn: Warn) -> None:
    """Say what a file is before it is read, where its name says otherwise.

    Args:
        head: what `head_of` gives.
        domain: as which it is to be read.
        name: what a message calls it; its suffix counts.
        warn: called with a line where it is another kind than its suffix says.

    Raises:
        UnreadablePieceError: it is of another domain, or of none.
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
