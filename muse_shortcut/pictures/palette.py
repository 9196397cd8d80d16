"""One meaning for a colour everywhere, and all of them apart for every kind of colour vision.

Depth is an order, so its colours are one: dark blue for the shallowest, pale yellow for the deepest, apart in lightness
alone, along the axis of blue and yellow that the common kinds of colour blindness leave whole. The one accent is for
what is being explained.
"""

from __future__ import annotations

from itertools import pairwise

__all__ = ["ACCENT", "FAINT", "INK", "MUTED", "NEW", "PAPER", "PROMPT", "depth_colours"]

PAPER = "#ffffff"
INK = "#1d2430"
MUTED = "#6b7480"
FAINT = "#dfe3e8"
PROMPT = "#b3bac4"
"""Notes that were given."""
NEW = "#3a4454"
"""Notes that were written."""
ACCENT = "#d1495b"
"""What is being explained."""

_SHALLOW_TO_DEEP = ("#12305a", "#1f5f86", "#4293a0", "#8cc3a0", "#f6d873")


def depth_colours(count: int) -> list[str]:
    """Colours of so many depths, shallowest first.

    >>> depth_colours(2)
    ['#12305a', '#f6d873']
    """
    if count == 1:
        return [_SHALLOW_TO_DEEP[1]]
    stops = [tuple(int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)) for colour in _SHALLOW_TO_DEEP]
    pairs = list(pairwise(stops))
    colours = []
    for number in range(count):
        place = number / (count - 1) * len(pairs)
        section = min(int(place), len(pairs) - 1)
        low, high = pairs[section]
        mixed = [a + (b - a) * (place - section) for a, b in zip(low, high, strict=True)]
        colours.append("#" + "".join(f"{round(255 * part):02x}" for part in mixed))
    return colours
