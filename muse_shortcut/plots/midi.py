"""The picture of a continuation in notes: its roll, the depth shares of each new token, and the sources of one."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from muse_shortcut.generation.trace import Trace
from muse_shortcut.plots.palette import ACCENT, INK, MUTED, PROMPT, depth_colours
from muse_shortcut.plots.roll import Rows, draw_arcs, draw_roll, strongest_sources
from muse_shortcut.plots.style import STYLE, bare, clock_ticks, draw_shares, title_of
from muse_shortcut.plots.timeline import (
    AttendedSpan,
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

_NAMED_SOURCES = 5
_BAR_LEFT, _BAR_WIDTH = 0.46, 0.54
"""Of the bars in the column beside the time axis, as shares of its width."""
_LABEL, _FULL_SIZE = 16, 12
"""Letters before them, at most and in full size."""
_HEADING = 20
"""Letters above them, in full size."""
_ROOM = 0.3
"""Beside a bar, for its number."""
_LETTER = 1 / 150
"""The width of a letter below, as a share of the axis."""
_BINS = 420
"""Of the time axis: what falls into one is drawn as one bar."""
_PROMPT_SHARE = 1.0
"""The most time of prompt that is shown, as a multiple of the continuation's."""
_WHOLE_PROMPT = 1.5
"""Multiple of that time up to which a prompt is shown whole: little would be gained by hiding its beginning."""
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
    left, right = _shown(timeline)
    rows = Rows([note for note in timeline.notes if note.end > left] or timeline.notes)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(12.8, 8.0), dpi=150)
        # Names of drums are longer than those of pitches.
        grid = figure.add_gridspec(
            3, 2, height_ratios=(3.4, 1.25, 1.25), width_ratios=(4.6, 1), hspace=0.16, wspace=0.045,
            left=0.09 if rows.drums else 0.05, right=0.965, top=0.885, bottom=0.065,
        )  # fmt: skip
        roll, share, over_time = (figure.add_subplot(grid[row, 0]) for row in range(3))
        beside, kinds = figure.add_subplot(grid[0, 1]), figure.add_subplot(grid[1, 1])
        colours = depth_colours(len(trace.depths))
        draw_roll(roll, rows, timeline, left, right)
        edges = timeline.edges[trace.prompt_steps :] if trace.steps else np.array([timeline.split_point, timeline.end])
        draw_shares(share, trace, edges, colours)
        _draw_kinds(kinds, trace, tokens, colours)
        beside.set_axis_off()
        if chosen is None:
            over_time.set_axis_off()
        else:
            note = next((note for note in timeline.notes if note.first == trace.prompt_steps + chosen), None)
            if note is not None:
                draw_arcs(roll, rows, timeline, note, sources, colours)
            _draw_sources(over_time, timeline, trace, chosen, sources, colours)
            chances = [(tokens[trace.prompt_steps + chosen][0], float(np.exp(trace.log_probability[chosen, 0])))]
            chances += alternatives_of(trace, tokenizer, chosen, prompt=prompt)
            _describe(beside, chances, sources, colours)
        for axes in (share, over_time):
            axes.set_xlim(left, right)
        title_of(
            figure,
            title,
            "Arcs lead to the sources that one note attended to: width is weight, colour is depth. Below: how each new "
            "token's attention divides among the depths, and the sources in time.",
        )
    return figure


def _shown(timeline: Timeline) -> tuple[float, float]:
    """Return the seconds that are drawn: of a long prompt its end, of others all."""
    room = max(_LEAST_PROMPT, _PROMPT_SHARE * (timeline.end - timeline.split_point))
    left = 0.0 if timeline.split_point <= _WHOLE_PROMPT * room else timeline.split_point - room
    return left, timeline.end + 0.01 * (timeline.end - left)


def _draw_kinds(axes: Axes, trace: Trace, tokens: Sequence[Sequence[Token]], colours: list[str]) -> None:
    """The mean depth share of each kind of new token, the most frequent kinds."""
    kinds = [step[0].kind for step in tokens[trace.prompt_steps :]]
    counts = {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}
    frequent = sorted(counts, key=lambda kind: -counts[kind])[:6]
    share = trace.depth_share.mean(-1)
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.set_axis_off()
    axes.text(0, 1.0, "mean share, by kind of token", color=MUTED, fontsize=8, va="bottom")
    height = 1 / 6
    for row, kind in enumerate(frequent):
        mean = share[[index for index, other in enumerate(kinds) if other == kind]].mean(0)
        middle, left = 1 - (row + 0.5) * height, _BAR_LEFT
        axes.text(0, middle, kind, fontsize=_size(kind), va="center", color=INK)
        for part, colour in zip((_BAR_WIDTH * mean).tolist(), colours, strict=True):
            axes.barh(middle, part, left=left, height=0.68 * height, color=colour, linewidth=0)
            left += part


def _draw_sources(
    axes: Axes, timeline: Timeline, trace: Trace, step: int, sources: list[AttendedSpan], colours: list[str]
) -> None:
    """The sources of the chosen token in time, each as high as its weight; of those in one place the strongest."""
    # When they are, not where their ids have room among those of the moment.
    times = np.array([source.span.start for source in sources])
    weights = np.array([source.by_depth for source in sources])
    left, right = _shown(timeline)
    width = (right - left) / _BINS
    inside = times >= left
    heights = np.zeros((_BINS + 1, len(colours)))
    places = ((times - left) / width).astype(np.int64)
    # The weakest first, so that the strongest of a place stays: a bar is one source, as high as the list says.
    for place, by_depth in zip(places[inside][::-1], weights[inside][::-1], strict=True):
        heights[place] = by_depth
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
    for source in strongest_sources(visible, 2 * _NAMED_SOURCES):
        bar = int((source.span.start - left) / width)
        place = left + (bar + 0.5) * width
        # Names do not stand on one another: the stronger keeps its own.
        half = (right - left) * max(1 / 44, (len(source.span.label) + 1) * _LETTER / 2)
        middle = (
            min(place, line - half)
            if place - half < line < place + half
            else max(place, left + width * _BINS * len(source.span.label) * _LETTER / 2)
        )
        # A bar has the name of the strongest there alone.
        if source.weight < upper[bar, -1] * 0.999:
            continue
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
    axes.set_ylim(0, top * 1.32)
    axes.set_yticks([0, top], ["0", percent(top)])
    clock_ticks(axes, left, right)
    bare(axes)
    heading = f"weight of each source of {own.label}"
    axes.text(0.0, 1.0, heading, transform=axes.transAxes, fontsize=8.5, color=INK, va="top")
    before = float(weights[~inside].sum())
    if before >= 0.005:
        words = f"◂ {percent(before)} before {clock(left)}, together"
        at = (len(heading) + 4) * _LETTER
        axes.text(at, 1.0, words, transform=axes.transAxes, fontsize=8.5, color=MUTED, va="top")


def _describe(axes: Axes, chances: list[tuple[Token, float]], sources: list[AttendedSpan], colours: list[str]) -> None:
    """In words: the chosen token, its probability, the alternatives, and its strongest sources."""
    axes.set(xlim=(0, 1), ylim=(0, 1))
    token = chances[0][0]
    y = 0.985
    heading = f"{_short(token.label)} at {clock(token.start, 2)}"
    size = min(13.0, 13.0 * _HEADING / len(heading))
    axes.text(0, y, heading, color=ACCENT, fontsize=size, fontweight="bold", va="top")
    y -= 0.1
    axes.text(0, y, "probability, and alternatives", color=MUTED, fontsize=8, va="top")
    y -= 0.055
    for other, chance in chances:
        colour = ACCENT if other is token else PROMPT
        length = (_BAR_WIDTH - _ROOM) * chance
        axes.barh(y - 0.018, length, left=_BAR_LEFT, height=0.026, color=colour, linewidth=0)
        axes.text(0, y, _short(other.label), fontsize=_size(other.label), va="top", color=INK)
        axes.text(_BAR_LEFT + length + 0.015, y, percent(chance), fontsize=8, va="top", color=MUTED)
        y -= 0.052
    y -= 0.03
    axes.text(0, y, "strongest sources: weight, time", color=MUTED, fontsize=8, va="top")
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
        axes.text(0, y, _short(source.span.label), fontsize=_size(source.span.label), va="top", color=INK)
        share = f"{percent(source.weight)}  {clock(source.span.start, places)}"
        axes.text(start + 0.015, y, share, fontsize=8, va="top", color=MUTED)
        y -= 0.052


def _short(label: str) -> str:
    """A label that ends before the bars begin."""
    return label if len(label) <= _LABEL else label[: _LABEL - 1] + "…"


def _size(label: str) -> float:
    """Of its letters, so that it ends before the bars begin."""
    return 8.5 * min(1.0, _FULL_SIZE / min(len(label), _LABEL))
