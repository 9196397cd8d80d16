"""What is known of a domain without its tokenizer: names, files, and usual lengths. Cheap to import."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["USUAL_LENGTHS", "DomainInfo", "OfferedLengths"]


@dataclass(frozen=True, kw_only=True, slots=True)
class OfferedLengths:
    """OfferedLengths on the page, where somebody is waiting, in the unit of the domain."""

    default: float
    """Default length of a continuation."""
    longest: float
    """Longest continuation."""
    longest_prompt: float


USUAL_LENGTHS = {
    "seconds": OfferedLengths(default=20.0, longest=300.0, longest_prompt=1800.0),
    "bytes": OfferedLengths(default=800.0, longest=10_000.0, longest_prompt=1_000_000.0),
}
"""OfferedLengths by unit."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DomainInfo:
    """Names and files of a domain, and what is offered for it. Only the suffixes have no default."""

    title: str = ""
    """Title of the domain on the page: "Music"; empty for its kind."""
    noun: str = "this domain"
    """Name of its content in messages: "music"."""
    content: str = ""
    """Name of the content of its files, beside that of other domains: "MIDI"; empty for its kind."""
    piece_noun: str = "piece"
    """Name of one piece in messages: "score"."""
    object_noun: str = "the object of its domain"
    """Name in messages of the objects that `Domain.piece_of` accepts."""
    counted: str = "tokens"
    """Name of what `Domain.copy_units` counts."""
    tags: tuple[str, ...] = ()
    """Tags of its models on the Hugging Face Hub; empty for its kind."""

    suffixes: frozenset[str]
    """Suffixes of the files that `Domain.read` supports, in lower case with the dot."""
    suffix: str
    """Suffix of the files that `Domain.write` writes."""
    reads: str = ""
    """The files that can be opened, as a phrase after "a"; empty for the suffixes."""
    words: bool = False
    """Whether a prompt may be literal text: what `Domain.loads` accepts, in UTF-8."""
    divisible: bool = False
    """Whether files, with any suffix, may be prepared in parts; see `Domain.read_part`."""
    has_parts: bool = False
    """Whether `Domain.parts` divides a piece, so that its parts can be downloaded one by one."""
    has_sound: bool = False
    """Whether a piece can be heard; see `Domain.sound`."""

    styles: tuple[str, ...] = ("any",)
    """Styles that a recipe can name; the first one stands for all."""

    lengths: OfferedLengths | None = None
    """None for the usual ones of its unit."""

    @property
    def written(self) -> tuple[str, ...]:
        """Suffixes of a piece that is written: its own, and that of its sound."""
        return tuple(dict.fromkeys((self.suffix, ".wav"))) if self.has_sound else (self.suffix,)

    @property
    def opened(self) -> str:
        """`reads`, or else the suffixes."""
        return self.reads or f"file ({', '.join(sorted(self.suffixes))})"
