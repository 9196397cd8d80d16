"""Draws a piano roll, with a row for each drum below the pitches, and arcs from a note to the notes it attended to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from muse_shortcut.plots.palette import ACCENT, FAINT, INK, MUTED, NEW, PAPER, PROMPT
from muse_shortcut.plots.style import bare
from muse_shortcut.plots.timeline import AttendedSpan, Note, Timeline

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Rows", "draw_arcs", "draw_roll", "free_place", "strongest_sources"]

_SHOWN_SOURCES = 12
"""Largest number of sources with arcs."""
_LEAST_SHOWN = 0.1
"""A source that has less than this fraction of the strongest one's weight gets no arc and no name."""
_WIDEST = 0.02
"""Share of all attention that gets the widest arc; the share of the strongest source and depth, if that is more."""
_LEAST_ARC = 0.12
"""A depth of a source with less than this fraction of the widest arc's share gets no arc."""
_LEAST_WIDTH = 1 / 600
"""Smallest width of a note as a fraction of the axis: 2.5 pixels of the picture."""
_DRUM_ROW = 1.6
"""Height of a drum's row; that of a pitch is 1."""
_DRUM_SECONDS = 0.09
"""Width of the mark of a drum, which has no length, in seconds."""
_NEAR = 6.0
"""Distance in points below which two notes are too close for a visible arc between them."""


class Rows:
    """Places notes on the vertical axis: pitches at their MIDI numbers, and below them one row for each drum."""

    def __init__(self, notes: Sequence[Note]) -> None:
        pitches = [note.pitch for note in notes if not note.is_drum] or ([] if notes else [60])
        self.drums = {note.pitch: note.label for note in sorted(notes, key=lambda note: -note.pitch) if note.is_drum}
        """Names of the drums by pitch, from top to bottom."""
        self.pitches = (min(pitches), max(pitches)) if pitches else None
        """The lowest and the highest pitch; None if there are only drums."""
        self.high = self.pitches[1] + 4.0 if self.pitches else 2.5
        self._first = self.pitches[0] - 3.5 if self.pitches else 0.0
        self._row_of = {pitch: self._first - _DRUM_ROW * row for row, pitch in enumerate(self.drums)}
        self.low = min([*self._row_of.values(), self._first + 0.5]) - (1.2 if self.drums else 0.0)

    def of(self, note: Note) -> float:
        """Return the vertical middle of a note."""
        return self._row_of[note.pitch] if note.is_drum else float(note.pitch)

    def ticks(self) -> list[tuple[float, str]]:
        """Return the positions of the Cs and of the drums, each with its name."""
        drums = [(self._row_of[pitch], name) for pitch, name in self.drums.items()]
        return [(float(pitch), f"C{pitch // 12 - 1}") for pitch in self.octaves] + drums

    @property
    def octaves(self) -> list[int]:
        """The Cs among the visible pitches."""
        low, high = self.pitches or (1, -6)
        return [pitch for pitch in range(low - 3, high + 5) if pitch % 12 == 0]


def draw_roll(axes: Axes, rows: Rows, timeline: Timeline, left: float, right: float) -> None:
    """Draw the notes from `left` to `right`, in seconds."""
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    for pitch in rows.octaves:
        axes.axhline(pitch - 0.5, color=FAINT, linewidth=0.8, zorder=0)
    axes.axvspan(timeline.split_point, right, color="#f6f7f9", zorder=-1, linewidth=0)
    least = _LEAST_WIDTH * (right - left)
    shown = [note for note in timeline.notes if note.end > left] or list(timeline.notes)
    for is_new, colour in ((False, PROMPT), (True, NEW)):
        patches = [_patch(Rectangle, rows, note, least) for note in shown if note.is_new == is_new]
        # The edge parts a note from its neighbours. Of a narrow one it would leave nothing.
        widths = [0.4 if patch.get_width() > 5 * least else 0.0 for patch in patches]
        axes.add_collection(PatchCollection(patches, facecolor=colour, edgecolor=PAPER, linewidth=widths, zorder=2))
    axes.axvline(timeline.split_point, color=INK, linewidth=1.0, zorder=1)
    axes.set(xlim=(left, right), ylim=(rows.low, rows.high))
    ticks = rows.ticks()
    axes.set_yticks([place for place, _ in ticks], [name for _, name in ticks])
    # Names of drums are as small as their rows.
    height = axes.get_window_extent().height * 72 / axes.figure.dpi / (rows.high - rows.low)
    for label in axes.get_yticklabels():
        if label.get_text() in rows.drums.values():
            label.set_fontsize(min(7.5, max(4.5, _DRUM_ROW * height)))
    axes.set_xticks([])
    bare(axes)
    axes.spines["bottom"].set_visible(False)
    top = rows.high - 0.3
    axes.text(timeline.split_point, top, "  generated", ha="left", va="top", color=NEW, fontsize=9)
    if timeline.split_point > left:
        axes.text(timeline.split_point, top, "prompt  ", ha="right", va="top", color=MUTED, fontsize=9)


def _patch(rectangle: Any, rows: Rows, note: Note, least: float = 0.03, height: float = 0.86) -> Any:
    length = max(_DRUM_SECONDS if note.is_drum else note.end - note.start, 0.03, least)
    return rectangle((note.start, rows.of(note) - height / 2), length, height)


def draw_arcs(
    axes: Axes,
    rows: Rows,
    timeline: Timeline,
    chosen: Note,
    sources: list[AttendedSpan],
    colours: list[str],
) -> None:
    """Draw arcs from the strongest notes to the chosen one: one per depth, in its colour, as wide as its weight."""
    from matplotlib.patches import Rectangle
    from matplotlib.patheffects import withStroke

    notes = {note.first: note for note in timeline.notes}
    drawn = strongest_sources([source for source in sources if source.span.first in notes], _SHOWN_SOURCES)
    # Where all weights are alike, nothing stands out.
    strongest = max([_WIDEST, *(float(source.by_depth.max()) for source in drawn)])
    for source in reversed(drawn):
        note = notes[source.span.first]
        near = _is_near(axes, rows, note, chosen)
        for number, weight in enumerate(source.by_depth.tolist()):
            relative = weight / strongest
            if relative < _LEAST_ARC:
                continue
            look = {
                "linewidth": 0.5 + 4.5 * relative, "edgecolor": colours[number], "facecolor": "none",
                "alpha": 0.55 + 0.4 * relative, "zorder": 3,
            }  # fmt: skip
            axes.add_patch((_loop if near else _arc)(axes, rows, note, chosen, number, look))
        # A source below the chosen note is seen around it.
        patch = _patch(Rectangle, rows, note, height=1.9 if near else 0.86)
        colour = colours[int(source.by_depth.argmax())]
        patch.set(facecolor=colour, edgecolor=PAPER, linewidth=0.8, zorder=4)
        axes.add_patch(patch)
    patch = _patch(Rectangle, rows, chosen)
    patch.set(facecolor=ACCENT, edgecolor=PAPER, linewidth=0.8, zorder=6)
    axes.add_patch(patch)
    others = [(notes[source.span.first].start, rows.of(notes[source.span.first])) for source in drawn]
    place = free_place(axes, rows, timeline.notes, chosen, others)
    halo = withStroke(linewidth=2.5, foreground=PAPER)
    axes.annotate(
        chosen.label, (chosen.start, rows.of(chosen)), xytext=place, textcoords="offset points", ha="center",
        va="center", color=ACCENT, fontsize=9, fontweight="bold", zorder=7, path_effects=[halo],
    )  # fmt: skip


def _is_near(axes: Axes, rows: Rows, note: Note, chosen: Note) -> bool:
    """Whether two notes begin at the same point of the picture, as those of two instruments in unison do."""
    across, up = _points(axes)
    return abs(note.start - chosen.start) * across < _NEAR and abs(rows.of(note) - rows.of(chosen)) * up < _NEAR


def _points(axes: Axes) -> tuple[float, float]:
    """Return the number of points per second, and per semitone."""
    box, dot = axes.get_window_extent(), 72 / axes.figure.dpi
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    return dot * box.width / (right - left), dot * box.height / (high - low)


def _arc(axes: Axes, rows: Rows, note: Note, chosen: Note, number: int, look: dict[str, Any]) -> Any:
    from matplotlib.patches import FancyArrowPatch

    # Away from the chosen note's side of the roll, so that it stays inside.
    is_low = rows.of(chosen) < rows.low + 0.3 * (rows.high - rows.low)
    bend = -0.14 if is_low or rows.of(note) <= rows.of(chosen) else 0.14
    return FancyArrowPatch(
        (note.start, rows.of(note)), (chosen.start, rows.of(chosen)), arrowstyle="-",
        connectionstyle=f"arc3,rad={bend * (1 + 0.5 * number)}", shrinkA=0, shrinkB=0, **look,
    )  # fmt: skip


def _loop(axes: Axes, rows: Rows, note: Note, chosen: Note, number: int, look: dict[str, Any]) -> Any:
    """Return a loop to the left of a note's beginning; deeper layers have larger loops."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path
    from matplotlib.transforms import Affine2D, ScaledTranslation

    size = 20.0 + 7.0 * number
    path = Path([(0, 0), (-1.5 * size, 1.1 * size), (-1.5 * size, -1.1 * size), (0, 0)], [1, 4, 4, 4])
    # matplotlib passes any transform itself; its stubs ask for an affine one.
    here = ScaledTranslation(note.start, rows.of(note), axes.transData)  # type: ignore[arg-type]
    points = Affine2D().scale(1 / 72) + axes.figure.dpi_scale_trans
    return PathPatch(path, transform=points + here, **look)


def free_place(
    axes: Axes, rows: Rows, notes: Sequence[Note], chosen: Note, others: list[tuple[float, float]]
) -> tuple[float, float]:
    """Find the place of the chosen note's label that covers the fewest notes and arcs.

    Args:
        axes: The axes, whose limits are set.
        rows: Rows of the notes.
        notes: Notes that should not be covered.
        chosen: The note that is labelled.
        others: Points where the arcs begin.

    Returns:
        The middle of the label, in points from the note's beginning.
    """
    left, right = axes.get_xlim()
    low, high = axes.get_ylim()
    across, up = _points(axes)
    half, tall = 3.1 * len(chosen.label) + 2, 6.0
    # Notes as rectangles, and arcs, which are nearly straight, as points on them; all in points.
    least = _LEAST_WIDTH * (right - left)
    own = rows.of(chosen)
    rectangles = [
        (
            (note.start - chosen.start) * across, (max(note.end, note.start + least) - chosen.start) * across,
            (rows.of(note) - own - 0.5) * up, (rows.of(note) - own + 0.5) * up,
        )
        for note in notes
    ]  # fmt: skip
    for start, place in others:
        for part in np.linspace(0.0, 1.0, 24):
            x, y = part * (start - chosen.start) * across, part * (place - own) * up
            rectangles.append((x, x, y, y))
    places = [
        (side * (half + 7), lift) for side in (1, 0, -1) for lift in (0, 13, -13, 24, -24, 38, -38) if side or lift
    ]

    def cost(place: tuple[float, float]) -> tuple[int, float]:
        x, y = place
        over = sum(a < x + half and b > x - half and c < y + tall and d > y - tall for a, b, c, d in rectangles)
        at = chosen.start + x / across, own + y / up
        inside = left + half / across < at[0] < right - half / across and low + tall / up < at[1] < high - 2 * tall / up
        return over + (0 if inside else 1000), abs(x) / 3 + abs(y)

    return min(places, key=cost)


def strongest_sources(sources: list[AttendedSpan], most: int) -> list[AttendedSpan]:
    """Return the sources that are worth showing, out of sources sorted by weight."""
    return [source for source in sources[:most] if source.weight >= _LEAST_SHOWN * sources[0].weight]
