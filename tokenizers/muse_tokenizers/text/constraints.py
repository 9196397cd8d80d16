"""Constraints of a continuation of text."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from muse_tokenizers.base import Constraints

__all__ = ["TextConstraints"]


@dataclass(frozen=True, kw_only=True, slots=True)
class TextConstraints(Constraints):
    """Constraints of text: a length."""

    length_field: ClassVar[str | None] = "bytes"

    bytes: int | None = None
    """Length of the continuation in bytes."""

    def with_length(self, length: float) -> TextConstraints:
        return replace(self, bytes=round(length))

    @property
    def most_steps(self) -> int:
        return self.bytes or 0
