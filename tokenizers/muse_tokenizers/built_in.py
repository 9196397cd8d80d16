"""What is known of the built-in domains without importing them.

Commands use it for `--help` and to check options and prompts, before they load anything slow: the modules of the
domains import numpy and symusic. The classes of the domains take their attributes of the same meaning from here. Cheap
to import.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Literal

from muse_tokenizers.domain_info import DomainInfo, OfferedLengths
from muse_tokenizers.suffixes import MIDI, SOUND, TEXT

__all__ = [
    "ANCHORS",
    "BUILT_IN",
    "DEFAULT_LENGTHS",
    "OPTION_DOMAINS",
    "STYLES",
    "TOKENIZER_OPTIONS",
    "UNITS",
    "VOCABULARY",
    "domain_info",
    "refused_option",
]

STYLES = (
    "any", "piano", "keyboard", "chorale", "choir", "song", "quartet", "orchestra", "band", "pop", "rock", "jazz",
    "electronic", "game", "folk", "drums",
)  # fmt: skip
"""Styles of music that a tokenizer in parts knows; "any" where the style is not known."""
ANCHORS = ("dynamics", "register", "density", "balance")
"""What a continuation in parts can hold: velocities, pitches, notes per second, and shares of the players."""
BUILT_IN = {
    "midi": DomainInfo(
        title="Music",
        noun="music",
        content="MIDI",
        piece_noun="score",
        object_noun="a symusic.Score",
        counted="notes",
        tags=("music", "midi"),
        suffixes=MIDI,
        suffix=".mid",
        reads="MIDI file (.mid, .kar, .rmi)",
        has_parts=True,
        has_sound=True,
        styles=STYLES,
    ),
    "audio": DomainInfo(
        title="Sound",
        noun="sound",
        content="sound",
        piece_noun="waveform",
        object_noun="a pair of an array and its sample rate",
        counted="frames",
        tags=("music", "audio"),
        suffixes=frozenset(SOUND),
        suffix=".wav",
        has_sound=True,
        lengths=OfferedLengths(default=5.0, longest=60.0, longest_prompt=600.0),
    ),
    "text": DomainInfo(
        title="Text",
        noun="text",
        content="text",
        piece_noun="text",
        object_noun="a str",
        counted="characters",
        suffixes=TEXT,
        suffix=".txt",
        reads="text (.txt, .md)",
        words=True,
        divisible=True,
    ),
}
"""`Domain.info` by domain; that of the class knows which sound files can be read here."""
UNITS: dict[str, Literal["seconds", "bytes"]] = {"midi": "seconds", "audio": "seconds", "text": "bytes"}
"""`Domain.unit` by domain."""
DEFAULT_LENGTHS = {"seconds": 20.0, "bytes": 800.0}
"""Default length of a continuation, by unit."""
OPTION_DOMAINS = {
    "prompt_seconds": ("midi", "audio"), "seconds": ("midi", "audio"), "bytes": ("text",), "bars": ("midi",),
    "instruments": ("midi",), "key": ("midi",), "tempo": ("midi",), "silence": ("midi",), "repeats": ("midi",),
    "style": ("midi",), "hold": ("midi",), "soundfont": ("midi",), "loudness": ("midi",), "encoding": ("text",),
}  # fmt: skip
"""Options of a continuation that only some domains have."""
TOKENIZER_OPTIONS = {
    "codec": "audio", "codebooks": "audio", "device": "audio",
    "vocabulary_size": "text", "line_ends": "text", "encoding": "text",
}  # fmt: skip
"""Options of the tokenizer of a new store, with the domain that has them."""
VOCABULARY = 4096
"""Default size of a trained vocabulary."""


def domain_info(kind: str) -> DomainInfo:
    """Return what is known of a domain, without importing it if it is built in.

    Raises:
        UnknownTokenizerError, PluginError: There is no such domain, or its package does not work.
    """
    if kind in BUILT_IN:
        return BUILT_IN[kind]
    from muse_tokenizers.loading import domain_class

    return domain_class(kind).info


def refused_option(name: str, domain: str, written: Callable[[str], str] = str) -> str | None:
    """Return why a domain does not have an option, in one sentence; None if it has it.

    Args:
        name: Name of the option.
        domain: Kind of the domain. One of another package has the options that its constraints have.
        written: Returns the option as the user writes it: `--top-k` for `top_k`.

    Raises:
        UnknownTokenizerError, PluginError: As for `domain_info`.
    """
    domains = OPTION_DOMAINS.get(name)
    if domains is None:
        return None
    if domain in BUILT_IN:
        unit, has = UNITS[domain], tuple(one for one, of in OPTION_DOMAINS.items() if domain in of)
    else:
        from muse_tokenizers.loading import domain_class

        found = domain_class(domain)
        unit = found.unit
        has = (
            *(field.name for field in fields(found.constraints_type)),
            *(["prompt_seconds"] if unit == "seconds" else []),
        )
    if name in has:
        return None
    noun = domain_info(domain).noun
    is_length = (name in DEFAULT_LENGTHS or name == "bars") and unit in has
    length = f"; {noun} takes {written(unit)}" if is_length else ""
    others = " and ".join(BUILT_IN[one].noun for one in domains)
    return f"{written(name)} is an option of {others}, not of {noun}{length}"
