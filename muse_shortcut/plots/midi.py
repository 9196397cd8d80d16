"""The picture of one continuation: its roll, the depth share of each new token, and what one of them looked at."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from muse_shortcut.generation.trace import Trace
from muse_shortcut.plots.palette import ACCENT, FAINT, INK, MUTED, NEW, PAPER, PROMPT, depth_colours
from muse_shortcut.plots.style import STYLE, bare, clock_ticks, draw_shares, title_of
from muse_shortcut.plots.timeline import (
    AttendedSpan,
    Note,
    Timeline,
    alternatives_of,
    clock,
    make_timeline,
    percent,
    sources_of,
    telling_step,
)
from muse_tokenizers.base import Prompt, Token, Tokenizer

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_trace"]

_SHOWN_SOURCES = 12
"""Arcs in the roll, at most."""
_NAMED_SOURCES = 5
_BAR_LEFT, _BAR_WIDTH = 0.46, 0.54
"""Of the bars in the column beside the time axis, as shares of its width."""
_LABEL = 14
"""Letters before them."""
_HEADING = 20
"""Letters above them, in full size."""
_ROOM = 0.3
"""Beside a bar, for its number."""
_LEAST_SHOWN = 0.1
"""A source that has less than this fraction of the strongest one's weight gets no arc and no name."""
_WIDEST = 0.02
"""The share of all attention, at a depth of a source, that gets the widest strand; the strongest's if that is more"""
_LEAST_STRAND = 0.12
"""A depth of a source that has less than this fraction of the widest gets none."""
_LETTER = 1 / 150
"""The width of a letter below, as a share of the axis."""
_LEAST_WIDTH = 1 / 600
"""Of a note, as a share of the axis: two dots and a half of the picture."""
_BINS = 420
"""Of the time axis: what falls into one is drawn as one bar."""
_PROMPT_SHARE = 1.0
"""The most time of prompt that is shown, as a multiple of the continuation's."""
_LEAST_PROMPT = 8.0
"""Seconds of prompt that are shown in any case."""


def draw_trace(
    trace: Trace, tokenizer: Tokenizer[Any], title: str, step: int | None = None, prompt: Prompt[Any] | None = None
) -> Figure:
    """The whole picture of a continuation in a domain of notes.

    Args:
        trace: of the candidate.
        tokenizer: of its ids.
        title: above it.
        step: the new step whose sources are shown; None: the one with the strongest single source.
        prompt: that the trace begins with; None: times are those that the ids say.
    """
    import matplotlib
    from matplotlib.figure import Figure

    tokens = tokenizer.describe(trace.ids, prompt)
    timeline = make_timeline(tokens, trace.prompt_steps)
    chosen = telling_step(trace, timeline) if step is None else step
    sources = [] if chosen is None else sources_of(trace, timeline, chosen)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(12.8, 8.0), dpi=150)
        grid = figure.add_gridspec(
            3, 2, height_ratios=(3.4, 1.25, 1.25), width_ratios=(4.6, 1), hspace=0.16, wspace=0.045,
            left=0.05, right=0.965, top=0.885, bottom=0.065,
        )  # fmt: skip
        roll, share, looked = (figure.add_subplot(grid[row, 0]) for row in range(3))
        beside, kinds = figure.add_subplot(grid[0, 1]), figure.add_subplot(grid[1, 1])
        colours = depth_colours(len(trace.depths))
        left, right = _shown(timeline)
        _draw_roll(roll, timeline, left, right)
        edges = timeline.edges[trace.prompt_steps :] if trace.steps else np.array([timeline.split_point, timeline.end])
        draw_shares(share, trace, edges, colours)
        _draw_kinds(kinds, trace, tokens, colours)
        beside.set_axis_off()
        if chosen is None:
            looked.set_axis_off()
        else:
            _draw_arcs(roll, timeline, trace, chosen, sources, colours)
            _draw_sources(looked, timeline, trace, chosen, sources, colours)
            chances = [(tokens[trace.prompt_steps + chosen][0], float(np.exp(trace.log_probability[chosen, 0])))]
            chances += alternatives_of(trace, tokenizer, chosen, prompt=prompt)
            _describe(beside, chances, sources, colours)
        for axes in (roll, share, looked):
            axes.set_xlim(left, right)
        title_of(
            figure,
            title,
            "In the roll, what one note looked at: wide is much, colour is depth. Below, how much of each new token's "
            "attention lay at each depth, and when the one note looked.",
        )
    return figure


def _shown(timeline: Timeline) -> tuple[float, float]:
    room = max(_LEAST_PROMPT, _PROMPT_SHARE * (timeline.end - timeline.split_point))
    return max(0.0, timeline.split_point - room), timeline.end + 0.01 * (
        timeline.end - max(0.0, timeline.split_point - room)
    )


def _draw_roll(axes: Axes, timeline: Timeline, left: float, right: float) -> None:
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    shown = [note for note in timeline.notes if note.end > left] or list(timeline.notes)
    pitches = [note.pitch for note in shown] or [60]
    low, high = min(pitches) - 3, max(pitches) + 4
    for octave in range(12 * (low // 12), high + 1, 12):
        if octave >= low:
            axes.axhline(octave - 0.5, color=FAINT, linewidth=0.8, zorder=0)
    axes.axvspan(timeline.split_point, right, color="#f6f7f9", zorder=-1, linewidth=0)
    for is_new, colour in ((False, PROMPT), (True, NEW)):
        notes = [note for note in shown if note.is_new == is_new]
        patches = [_patch(Rectangle, note, _LEAST_WIDTH * (right - left)) for note in notes]
        # The edge parts a note from its neighbours. Of a narrow one it would leave nothing.
        widths = [0.4 if patch.get_width() > 5 * _LEAST_WIDTH * (right - left) else 0.0 for patch in patches]
        axes.add_collection(PatchCollection(patches, facecolor=colour, edgecolor=PAPER, linewidth=widths, zorder=2))
    axes.axvline(timeline.split_point, color=INK, linewidth=1.0, zorder=1)
    axes.set_ylim(low, high)
    ticks = [pitch for pitch in range(low, high + 1) if pitch % 12 == 0]
    axes.set_yticks(ticks, [f"C{pitch // 12 - 1}" for pitch in ticks])
    axes.set_xticks([])
    bare(axes)
    axes.spines["bottom"].set_visible(False)
    top = high - 0.3
    axes.text(timeline.split_point, top, "  written by the model", ha="left", va="top", color=NEW, fontsize=9)
    if timeline.split_point > left:
        axes.text(timeline.split_point, top, "given  ", ha="right", va="top", color=MUTED, fontsize=9)


def _patch(rectangle: Any, note: Note, least: float = 0.03) -> Any:
    height = 0.86
    # A drum has no length: it is drawn as a mark.
    length = max(0.09 if note.is_drum else note.end - note.start, 0.03, least)
    return rectangle((note.start, note.pitch - height / 2), length, height)


def _draw_arcs(
    axes: Axes, timeline: Timeline, trace: Trace, step: int, sources: list[AttendedSpan], colours: list[str]
) -> None:
    """Strands from the strongest notes to the chosen one: one a depth, in its colour, as wide as its weight."""
    from matplotlib.patches import FancyArrowPatch, Rectangle
    from matplotlib.patheffects import withStroke

    notes = {note.first: note for note in timeline.notes}
    chosen = notes.get(trace.prompt_steps + step)
    if chosen is None:
        return
    drawn = _worth_showing([source for source in sources if source.span.first in notes], _SHOWN_SOURCES)
    # Where everything is looked at alike, nothing stands out.
    strongest = max([_WIDEST, *(float(source.by_depth.max()) for source in drawn)])
    for source in reversed(drawn):
        note = notes[source.span.first]
        bend = -0.14 if note.pitch <= chosen.pitch else 0.14
        for number, weight in enumerate(source.by_depth.tolist()):
            relative = weight / strongest
            if relative < _LEAST_STRAND:
                continue
            axes.add_patch(
                FancyArrowPatch(
                    (note.start, note.pitch),
                    (chosen.start, chosen.pitch),
                    connectionstyle=f"arc3,rad={bend * (1 + 0.5 * number)}",
                    arrowstyle="-",
                    linewidth=0.5 + 4.5 * relative,
                    color=colours[number],
                    alpha=0.55 + 0.4 * relative,
                    zorder=3,
                    shrinkA=0,
                    shrinkB=0,
                )
            )
        axes.add_patch(_outlined(Rectangle, note, colours[int(source.by_depth.argmax())], 4))
    axes.add_patch(_outlined(Rectangle, chosen, ACCENT, 6))
    label = next(span.label for span in timeline.spans if span.first == chosen.first)
    strands = [((notes[source.span.first].start, float(notes[source.span.first].pitch))) for source in drawn]
    place = _free_place(axes, timeline.notes, chosen, strands, label)
    halo = withStroke(linewidth=2.5, foreground=PAPER)
    axes.annotate(
        label, (chosen.start, chosen.pitch), xytext=place, textcoords="offset points", ha="center", va="center",
        color=ACCENT, fontsize=9, fontweight="bold", zorder=7, path_effects=[halo],
    )  # fmt: skip


def _free_place(
    axes: Axes, notes: Sequence[Note], chosen: Note, strands: list[tuple[float, float]], label: str
) -> tuple[float, float]:
    """Where a label stands on the fewest notes and strands: its middle, in points from the chosen note's beginning."""
    box = axes.get_window_extent()
    dot = 72 / axes.figure.dpi
    left, right = axes.get_xlim()
    low, high = axes.get_ylim()
    across = dot * box.width / (right - left)
    up = dot * box.height / (high - low)
    half, tall = 3.1 * len(label) + 2, 6.0
    # Notes as rectangles, and strands, which are nearly straight, as points on them; all in points.
    least = _LEAST_WIDTH * (right - left)
    rectangles = [
        (
            (note.start - chosen.start) * across, (max(note.end, note.start + least) - chosen.start) * across,
            (note.pitch - chosen.pitch - 0.5) * up, (note.pitch - chosen.pitch + 0.5) * up,
        )
        for note in notes
    ]  # fmt: skip
    for start, pitch in strands:
        for part in np.linspace(0.0, 1.0, 24):
            x, y = part * (start - chosen.start) * across, part * (pitch - chosen.pitch) * up
            rectangles.append((x, x, y, y))
    places = [
        (side * (half + 7), lift) for side in (1, 0, -1) for lift in (0, 13, -13, 24, -24, 38, -38) if side or lift
    ]

    def cost(place: tuple[float, float]) -> tuple[int, float]:
        x, y = place
        over = sum(a < x + half and b > x - half and c < y + tall and d > y - tall for a, b, c, d in rectangles)
        at = chosen.start + x / across, chosen.pitch + y / up
        inside = left + half / across < at[0] < right - half / across and low + tall / up < at[1] < high - 2 * tall / up
        return over + (0 if inside else 1000), abs(x) / 3 + abs(y)

    return min(places, key=cost)


def _worth_showing(sources: list[AttendedSpan], most: int) -> list[AttendedSpan]:
    """The first of sources that are in the order of their weights."""
    return [source for source in sources[:most] if source.weight >= _LEAST_SHOWN * sources[0].weight]


def _outlined(rectangle: Any, note: Note, colour: str, order: int) -> Any:
    patch = _patch(rectangle, note)
    patch.set(facecolor=colour, edgecolor=PAPER, linewidth=0.8, zorder=order)
    return patch


def _draw_kinds(axes: Axes, trace: Trace, tokens: Sequence[Sequence[Token]], colours: list[str]) -> None:
    """The mean depth share of each kind of new token, the most frequent kinds."""
    kinds = [step[0].kind for step in tokens[trace.prompt_steps :]]
    counts = {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}
    frequent = sorted(counts, key=lambda kind: -counts[kind])[:6]
    share = trace.depth_share.mean(-1)
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.set_axis_off()
    axes.text(0, 1.0, "by kind of token", color=MUTED, fontsize=8, va="bottom")
    height = 1 / 6
    for row, kind in enumerate(frequent):
        mean = share[[index for index, other in enumerate(kinds) if other == kind]].mean(0)
        middle, left = 1 - (row + 0.5) * height, _BAR_LEFT
        axes.text(0, middle, kind, fontsize=8.5, va="center", color=INK)
        for part, colour in zip((_BAR_WIDTH * mean).tolist(), colours, strict=True):
            axes.barh(middle, part, left=left, height=0.68 * height, color=colour, linewidth=0)
            left += part


def _draw_sources(
    axes: Axes, timeline: Timeline, trace: Trace, step: int, sources: list[AttendedSpan], colours: list[str]
) -> None:
    """What the chosen token looked at, where it is in time, as high as its weight."""
    # When they are, not where their ids have room among those of the moment.
    times = np.array([source.span.start for source in sources])
    weights = np.array([source.by_depth for source in sources])
    left, right = _shown(timeline)
    width = (right - left) / _BINS
    inside = times >= left
    heights = np.zeros((_BINS + 1, len(colours)))
    places = ((times - left) / width).astype(np.int64)
    np.add.at(heights, places[inside], weights[inside])
    upper = np.cumsum(heights, axis=1)
    for number, colour in enumerate(colours):
        starts = left + width * np.arange(_BINS + 1)
        below = upper[:, number] - heights[:, number]
        axes.bar(starts, heights[:, number], width=width, bottom=below, color=colour, align="edge", zorder=2)
    top = float(upper[:, -1].max()) or 1.0
    named: list[tuple[float, float]] = []
    own = timeline.spans[bisect_right(timeline.spans, trace.prompt_steps + step, key=lambda span: span.first) - 1]
    line = own.start
    visible = [source for source in sources if source.span.start >= left]
    for source in _worth_showing(visible, 2 * _NAMED_SOURCES):
        bar = int((source.span.start - left) / width)
        place = left + (bar + 0.5) * width
        # Names do not stand on one another: the stronger keeps its own.
        half = (right - left) * max(1 / 44, (len(source.span.label) + 1) * _LETTER / 2)
        middle = min(place, line - half) if place - half < line < place + half else place
        if len(named) == _NAMED_SOURCES or any(abs(middle - other) < half + far for other, far in named):
            continue
        named.append((middle, half))
        axes.annotate(
            source.span.label,
            (middle, upper[bar, -1]),
            xytext=(0, 2),
            textcoords="offset points",
            ha="center",
            fontsize=7.5,
            color=INK,
        )
    axes.axvline(line, color=ACCENT, linewidth=1.2, zorder=3)
    axes.set_ylim(0, top * 1.22)
    axes.set_yticks([0, top], ["0", percent(top)])
    clock_ticks(axes, left, right)
    bare(axes)
    before = float(weights[~inside].sum())
    if before >= 0.005:
        axes.text(
            0.0, 0.92, f"◂ {percent(before)} lay before", transform=axes.transAxes, fontsize=8, color=MUTED, va="top"
        )


def _describe(axes: Axes, chances: list[tuple[Token, float]], sources: list[AttendedSpan], colours: list[str]) -> None:
    """In words: the chosen token, what else it could have been, and what it looked at most."""
    axes.set(xlim=(0, 1), ylim=(0, 1))
    token = chances[0][0]
    y = 0.985
    heading = f"{_short(token.label)} at {clock(token.start, 2)}"
    size = min(13.0, 13.0 * _HEADING / len(heading))
    axes.text(0, y, heading, color=ACCENT, fontsize=size, fontweight="bold", va="top")
    y -= 0.1
    axes.text(0, y, "its chance, and the likeliest others", color=MUTED, fontsize=8, va="top")
    y -= 0.055
    for other, chance in chances:
        colour = ACCENT if other is token else PROMPT
        length = (_BAR_WIDTH - _ROOM) * chance
        axes.barh(y - 0.018, length, left=_BAR_LEFT, height=0.026, color=colour, linewidth=0)
        axes.text(0, y, _short(other.label), fontsize=8.5, va="top", color=INK)
        axes.text(_BAR_LEFT + length + 0.015, y, percent(chance), fontsize=8, va="top", color=MUTED)
        y -= 0.052
    y -= 0.03
    axes.text(0, y, "what it looked at most", color=MUTED, fontsize=8, va="top")
    y -= 0.055
    strongest = sources[0].weight if sources else 1.0
    # Whole seconds, unless two places would then look the same.
    times = [source.span.start for source in sources[:6]]
    places = 0 if len({clock(time) for time in times}) == len(set(times)) else 2
    for source in sources[:6]:
        start, scale = _BAR_LEFT, (_BAR_WIDTH - _ROOM) / strongest
        for part, colour in zip((scale * source.by_depth).tolist(), colours, strict=True):
            axes.barh(y - 0.018, part, left=start, height=0.026, color=colour, linewidth=0)
            start += part
        axes.text(0, y, _short(source.span.label), fontsize=8.5, va="top", color=INK)
        share = f"{percent(source.weight)}  {clock(source.span.start, places)}"
        axes.text(start + 0.015, y, share, fontsize=8, va="top", color=MUTED)
        y -= 0.052


def _short(label: str) -> str:
    """A label that ends before the bars begin."""
    return label if len(label) <= _LABEL else label[: _LABEL - 1] + "…"
