"""Constraints of a continuation of sound."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from muse_tokenizers.base import Constraints

__all__ = ["AudioConstraints"]


@dataclass(frozen=True, kw_only=True, slots=True)
class AudioConstraints(Constraints):
    """Constraints of sound: a length."""

    length_field: ClassVar[str | None] = "seconds"

    seconds: float | None = None
    """Length of the continuation in seconds."""

    @property
    def most_steps(self) -> int:
        return int(400 * (self.seconds or 0.0))
