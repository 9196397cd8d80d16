"""One meaning for a colour everywhere, and all of them apart for every kind of colour vision.

Depth is an order, so its colours are one: dark blue for the shallowest, pale yellow for the deepest, apart in lightness
alone, along the axis of blue and yellow that the common kinds of colour blindness leave whole. The one accent is for
what is being explained.
"""

from __future__ import annotations

from itertools import pairwise

__all__ = ["ACCENT", "FAINT", "INK", "MUTED", "NEW", "PAPER", "PROMPT", "colours_of_page", "depth_colours"]

PAPER = "#ffffff"
INK = "#1d2430"
MUTED = "#6b7480"
FAINT = "#dfe3e8"
PROMPT = "#b3bac4"
"""Notes of the prompt."""
NEW = "#3a4454"
"""Notes that were generated."""
ACCENT = "#d1495b"
"""What is being explained."""

_SHALLOW_TO_DEEP = ("#12305a", "#1f5f86", "#4293a0", "#8cc3a0", "#f6d873")
_IN_THE_DARK = ("#3f6fb5", "#4a93b8", "#5fb0b3", "#a3cfa9", "#f9e08a")
"""The same order on a dark ground, where the darkest blue could not be seen."""
_NIGHT = {
    "paper": "#111827", "ink": "#e6e9ee", "muted": "#98a2b0", "faint": "#28344a", "prompt": "#5c6a80", "new": "#c6cedb",
    "accent": "#f07a8b",
}  # fmt: skip
_DAY = {
    "paper": PAPER, "ink": INK, "muted": MUTED, "faint": FAINT, "prompt": PROMPT, "new": NEW, "accent": ACCENT,
}  # fmt: skip


def colours_of_page(depths: int, *, dark: bool) -> dict[str, str | list[str]]:
    """What the page draws with; every name means the same on paper and in the dark."""
    return {**(_NIGHT if dark else _DAY), "depths": depth_colours(depths, dark=dark)}


def depth_colours(count: int, *, dark: bool = False) -> list[str]:
    """Colours of so many depths, shallowest first.

    >>> depth_colours(2)
    ['#12305a', '#f6d873']
    """
    ramp = _IN_THE_DARK if dark else _SHALLOW_TO_DEEP
    if count == 1:
        return [ramp[1]]
    stops = [tuple(int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)) for colour in ramp]
    pairs = list(pairwise(stops))
    colours = []
    for number in range(count):
        place = number / (count - 1) * len(pairs)
        section = min(int(place), len(pairs) - 1)
        low, high = pairs[section]
        mixed = [a + (b - a) * (place - section) for a, b in zip(low, high, strict=True)]
        colours.append("#" + "".join(f"{round(255 * part):02x}" for part in mixed))
    return colours
