"""The configuration of a neural codec.

It has a module of its own without imports for type checking: jsonargparse, which reads the fields for `--help`, runs
those imports of the module that defines a class, and the codec's would load torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from muse_tokenizers.errors import CodecError

__all__ = ["CodecShape"]

_BOUNDS = {
    "sample_rate": (8_000, 192_000), "ratios": (1, 32), "filters": (2, 256), "residual_layers": (1, 4),
    "dimension": (1, 1024), "lstm": (1, 8), "codebooks": (1, 64), "bins": (2, 2**16),
}  # fmt: skip
"""Limits of a configuration. Each further residual layer doubles the receptive field: with five, eight frames would not
suffice."""


@dataclass(frozen=True, kw_only=True)
class CodecShape:
    """Configuration of a causal `encodec.EncodecModel` with one channel. The defaults are those of Meta's 24 kHz
    model."""

    sample_rate: int = 24_000
    """Sample rate in Hz."""
    ratios: tuple[int, ...] = (8, 5, 4, 2)
    """Upsampling ratios of the decoder stages; their product is the number of samples per frame."""
    filters: int = 32
    """Channels of the outermost convolutions; they double with each stage."""
    residual_layers: int = 1
    """Residual layers of each stage."""
    dimension: int = 128
    """Dimension of the quantised vectors."""
    lstm: int = 2
    """Number of recurrent layers."""
    codebooks: int = 32
    """Number of codebooks; a tokenizer uses the first K."""
    bins: int = 1024
    """Number of codes per codebook."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            numbers = list(value) if field.name == "ratios" else [value]
            low, high = _BOUNDS[field.name]
            if not numbers or not all(type(number) is int and low <= number <= high for number in numbers):
                allowed = f"whole numbers from {low} to {high}"
                raise CodecError(f"{{{field.name}}} is {value!r}; allowed: {allowed}", options=(field.name,))
        if len(self.ratios) > 8:
            raise CodecError(f"{{ratios}} has {len(self.ratios)} numbers; allowed: up to 8", options=("ratios",))
        if self.bins & (self.bins - 1):
            raise CodecError(f"{{bins}} is {self.bins}; allowed: a power of 2", options=("bins",))

    @property
    def codebook_counts(self) -> tuple[int, ...]:
        """Numbers of codebooks that may be used: 1, 2, 4 and 8, up to the number available."""
        return tuple(count for count in (1, 2, 4, 8) if count <= self.codebooks)

    @property
    def hop(self) -> int:
        """Samples per frame."""
        return math.prod(self.ratios)

    @property
    def frame_rate(self) -> float:
        """Frames per second."""
        return self.sample_rate / self.hop
