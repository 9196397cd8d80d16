"""Frames of MP3 and AAC without a container: their headers and lengths."""

from __future__ import annotations

__all__ = ["follows"]

_BIT_RATES = {
    (1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""Bit rates in kbit/s by version (2 includes 2.5) and layer, from index 1 on: ISO 11172-3 and 13818-3, 2.4.2.3."""
_SAMPLE_RATES = (44_100, 48_000, 32_000)
"""Sample rates of version 1 in Hz; those of version 2 are half, and of 2.5 a quarter."""


def follows(data: bytes) -> bool:
    """Whether data begins with a frame that is followed by another one of the same kind."""
    length = _length(data[:6])
    if length is None or len(data) < length + 2:
        return False
    # The last bit indicates a checksum.
    return data[length] == 0xFF and data[length + 1] & 0xFE == data[1] & 0xFE


def _length(head: bytes) -> int | None:
    """Return the length of a frame in bytes; None if these bytes do not begin a frame."""
    if len(head) < 6 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    layer = 4 - (head[1] >> 1 & 3)
    if layer == 4:
        # AAC in ADTS: ISO 13818-7, 6.2.
        length = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
        return length if head[1] & 0xF0 == 0xF0 and length > 7 else None
    coded, number, rate, padding = head[1] >> 3 & 3, head[2] >> 4, head[2] >> 2 & 3, head[2] >> 1 & 1
    if coded == 1 or number in (0, 15) or rate == 3:
        return None
    version = 1 if coded == 3 else 2
    bits = 1000 * _BIT_RATES[version, layer][number - 1]
    hertz = _SAMPLE_RATES[rate] >> {3: 0, 2: 1, 0: 2}[coded]
    if layer == 1:
        return (12 * bits // hertz + padding) * 4
    return (72 if (version, layer) == (2, 3) else 144) * bits // hertz + padding
